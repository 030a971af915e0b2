"""How many sessions there are in each store; the sessions of a user; and when everybody is logged out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist import conf, sessions
from sessionpersist.configuration.panels.handover import read_handover
from sessionpersist.configuration.panels.status import read_status
from sessionpersist.configuration.panels.words import left_in_words
from sessionpersist.configuration.store_sentences import said, store_name
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import times
from sessionpersist.handover.draining import COUNT_AT_MOST, Left
from sessionpersist.models import EVERYBODY, Node, Revision
from sessionpersist.stores import open_store
from sessionpersist.stores.settings import StoreSettings

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise as Text

NOT_LISTED = gettext_lazy(
    "This site keeps no list of who is signed in where: SESSIONPERSIST['ROSTER'] is False."
)


@dataclass(frozen=True)
class StoreCount:
    """How many live sessions a store holds; None where it can't be asked: ``problem``. ``moving``: it was used before,
    and what is still there moves to the one in force."""

    store: str
    left: Left | None = None
    problem: str = ""
    moving: bool = False

    @property
    def count(self) -> str:
        """The number in words, such as “at least 50,000”."""
        return "" if self.left is None else left_in_words(self.left)


@dataclass(frozen=True)
class SessionRow:
    """One session of a user, as the page shows it."""

    id: str
    device: str
    place: str
    begun: datetime
    last_use: datetime
    remembered: bool
    current: bool


@dataclass(frozen=True)
class UserSessions:
    """The live sessions of a user, last used first. ``problem``: why they can't be shown. ``node``: they are those of
    this node, as each has a store of its own. ``more``: there are others, too many to list."""

    rows: Sequence[SessionRow] = ()
    problem: Text = ""
    node: str = ""
    more: bool = False


@dataclass(frozen=True)
class Everybody:
    """When everybody was last logged out, or will be, and by whom."""

    at: datetime
    by: str
    pending: bool


def read_counts() -> list[StoreCount]:
    """Count the sessions of the store in force and of those that are draining, no further than is quick."""
    moving = [
        StoreCount(each.store, each.left, each.problem, moving=True)
        for each in read_handover(count=True).moving
    ]
    return [_counted(read_status().settings), *moving]


def _counted(settings: StoreSettings) -> StoreCount:
    name = store_name(settings)
    if settings.per_node:
        name = _("{store} of this node, {node}").format(store=name, node=conf.node_name())
    try:
        count = open_store(settings).count(COUNT_AT_MOST)
    except StoreUnavailable as error:
        return StoreCount(name, problem=said(error))
    return StoreCount(name, Left(count, count >= COUNT_AT_MOST, count))


def read_user(user: Any, current: Any = None) -> UserSessions:
    """Return where a user is signed in; ``current`` is the session of whoever looks."""
    if not sessions.are_listed():
        return UserSessions(problem=NOT_LISTED)
    try:
        found = sessions.listed(user, current)
    except StoreUnavailable as error:
        return UserSessions(problem=said(error))
    node = conf.node_name() if read_status().settings.per_node else ""
    return UserSessions([_row(each) for each in found.sessions], node=node, more=found.more)


def _row(each: sessions.UserSession) -> SessionRow:
    begun, last_use = times.local(each.begun), times.local(each.last_use)
    device = each.device or _("Unknown device")
    return SessionRow(each.id, device, each.place, begun, last_use, each.remembered, each.current)


def warning_of_earlier_release() -> str:
    """Say which nodes do not know what it is that everybody is logged out; empty where all do."""
    earlier = Node.objects.of_earlier_release(EVERYBODY)
    names = sorted(set(earlier.values_list("name", flat=True)))
    text = _(
        "An older release still runs on {nodes}. It knows nothing of this: sessions that are used there do not end. "
        "Once it is gone, log everybody out again."
    )
    return text.format(nodes=", ".join(names)) if names else ""


def read_everybody() -> Everybody | None:
    """Return the last time that everybody was logged out; None where nobody has done that."""
    ends = Revision.objects.filter(ends_earlier=True).exclude(activates_at=None).order_by("-pk")
    last = ends.values_list("activates_at", "saved_by", Now()).first()
    if last is None:
        return None
    at, by, now = last
    return Everybody(times.noted(at), by, at > now)
