"""Whether somebody who is about to decide over the sessions of all users (ASVS 7.5.3), or to end another session of
their own (7.5.2), has lately proved who they are.

A stolen session, or a browser that was left open, is not enough to save, to switch back or to give a store up: the
password must have been entered in the last ``REAUTHENTICATE_SECONDS``, at the login or on the page. It is checked by
``authenticate()``, as at the login: so by the project's own backends, and those that count failures hear of it.

A user without a password here comes by single sign-on: no form of ours can check that, so the login itself must be as
young. “Move the rest now” asks nobody: it logs nobody out, leads only where somebody has saved with a password, and may
take longer than any such time.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from django.contrib.auth import authenticate
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables

from sessionpersist import audit, conf
from sessionpersist.configuration.logins import NOTE, note_of
from sessionpersist.configuration.throttling import PASSWORDS

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django_stubs_ext import StrOrPromise as Text

FIELD = "your_password"
ENTERED = "_sessionpersist_entered"  # on a request, where its password was right

LOGIN_CONFIGURATION: Text = gettext_lazy("Login Configuration")
LOG_IN_AGAIN: Text = gettext_lazy(
    "This affects the sessions of all users, and you logged in too long ago: log out, log in again, and repeat it."
)
ENTER: Text = gettext_lazy("Enter your password.")
WRONG: Text = gettext_lazy("This is not your password.")
TOO_OFTEN: Text = gettext_lazy(
    "Too many wrong passwords. Wait {minutes} minutes, then try again; or log out and log in again."
)


class Reauthentication:
    """What one request has to prove. The templates show it beside the button.

    ``about`` is what the log of attempts names. ``advice`` is what to do where there is no password to ask for, and the
    login is too old. ``logged_in``: when that was (Unix time), where the caller knows it: the session notes it of staff
    and of who entered a password.
    """

    def __init__(
        self,
        request: HttpRequest,
        *,
        about: Text = LOGIN_CONFIGURATION,
        advice: Text = LOG_IN_AGAIN,
        logged_in: float = 0,
    ) -> None:
        self._request = request
        self._user: Any = request.user
        self._about, self.advice, self._logged_in = about, advice, logged_in
        self.error: Text = ""
        self.too_often = False

    @property
    def by_password(self) -> bool:
        """Whether there is a password to ask for."""
        return conf.reauthenticate_seconds() is not None and bool(self._user.has_usable_password())

    @property
    def left(self) -> float:
        """How many seconds nothing has to be proved."""
        seconds = conf.reauthenticate_seconds()
        if seconds is None:
            return float("inf")
        note = note_of(self._request, self._user)
        proved = note.get("password", 0) if self.by_password else note.get("login", self._logged_in)
        left = float(proved) + seconds - time()
        # Clocks of nodes differ; but one that was wrong could have dated it so far ahead that it counts for days.
        return left if 0 < left <= 2 * seconds else 0.0

    @property
    def due(self) -> bool:
        """Whether there is something to prove now."""
        return self.left <= 0

    @sensitive_variables("password")
    def confirm(self, action: str) -> bool:
        """Return whether this request may do it; if not, ``error`` says why."""
        if not self.due:
            return True
        password = self._request.POST.get(FIELD, "")
        if not self.by_password or not password:
            self.error = ENTER if self.by_password else self.advice
            return False
        return self._check(password, action)

    @sensitive_variables("password")
    def _check(self, password: str, action: str) -> bool:
        """Check it unless too many were wrong: noted first, so that guesses made at the same moment are counted."""
        message = _("Entered a wrong password to confirm “{action}”.").format(action=action)
        noted = PASSWORDS.note(self._user, message, str(self._about))
        self.too_often = noted is None
        right = noted is not None and is_password_of(self._request, password)
        audit.password_again(self._user.pk, action, right=right, refused=self.too_often)
        if noted is None:
            self.error = str(TOO_OFTEN).format(minutes=PASSWORDS.seconds // 60)
        elif not right:
            self.error = WRONG
        else:
            noted.delete()
            note = note_of(self._request, self._user) | {"user": str(self._user.pk)}
            self._request.session[NOTE] = note | {"password": int(time())}
            setattr(self._request, ENTERED, True)
        return right


def renew_key(request: HttpRequest) -> None:
    """Give the session a new key where the password has just been entered: whoever else knows the old one has nothing
    from that. Called last, as until the answer is there the browser goes by the old key."""
    if getattr(request, ENTERED, False):
        setattr(request, ENTERED, False)
        request.session.cycle_key()


@sensitive_variables("password")
def is_password_of(request: HttpRequest, password: str) -> bool:
    """Return whether who sends this request could log in with this password."""
    user: Any = request.user
    found = authenticate(request, username=user.get_username(), password=password)
    return found is not None and found.pk == user.pk
