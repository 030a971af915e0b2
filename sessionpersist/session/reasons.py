"""Why a session is over: what an ended record says, and what its user is told."""

from __future__ import annotations

import enum

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Reason(enum.IntEnum):
    """A byte of an ended record: numbers stay what they are. Those of later releases are read as UNKNOWN."""

    UNKNOWN = 0
    SIGNED_IN_ELSEWHERE = 1  # the user has signed in elsewhere, and this was one session too many
    BY_USER = 2
    BY_STAFF = 3
    EVERYBODY = 4
    PASSWORD_CHANGED = 5
    IDLE = 6
    ABSOLUTE = 7
    EXPIRED = 8  # nothing is known but that the browser came with a session, and there is none
    ACCOUNT_OFF = 9

    @classmethod
    def _missing_(cls, value: object) -> Reason:
        return cls.UNKNOWN

    @property
    def text(self) -> str | Promise:
        """What the user is told, in a sentence; translatable."""
        return TEXTS[self]


TEXTS: dict[Reason, str | Promise] = {
    Reason.UNKNOWN: _("You have been logged out."),
    Reason.SIGNED_IN_ELSEWHERE: _(
        "You have been logged out here because you logged in on another device, and only so many "
        "sessions at a time are allowed."
    ),
    Reason.BY_USER: _("You have been logged out here from another of your sessions."),
    Reason.BY_STAFF: _("An administrator has ended your session."),
    Reason.EVERYBODY: _("Everybody has been logged out. Please log in again."),
    Reason.PASSWORD_CHANGED: _("You have been logged out here because your password was changed."),
    Reason.IDLE: _("You have been logged out because you had not been active for a while."),
    Reason.ABSOLUTE: _("You have been logged out because you had been logged in for a long time."),
    Reason.EXPIRED: _("Your session is over. Please log in again."),
    Reason.ACCOUNT_OFF: _("You have been logged out because your account was switched off."),
}
