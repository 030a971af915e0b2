"""Who is signed in where, and how to end it: for a project's own pages, commands and jobs.

A user is given as an object of the project's user model, or as its primary key. Each function has a twin for async
code, which begins with an a: ``await sessions.aof(user)``. All raise StoreUnavailable where the store can't be asked.

What is listed is what ``SESSIONPERSIST["ROSTER"]`` has had listed. Sessions of before appear once they are saved, or
after ``manage.py sessions enter``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import Model
from django.http import HttpRequest

from sessionpersist import audit
from sessionpersist.engine import SessionStore
from sessionpersist.handover import everybody, routing
from sessionpersist.roster import devices, records
from sessionpersist.roster.entering import is_listed, run
from sessionpersist.roster.records import Entry, Owner, Standing
from sessionpersist.session.policy import MOST_SESSIONS
from sessionpersist.session.reasons import Reason
from sessionpersist.session.sealing import stored_key
from sessionpersist.signals import tell_ended

__all__ = [
    "Listed",
    "UserSession",
    "aend",
    "aend_all",
    "aend_everybody",
    "aend_others",
    "alisted",
    "aof",
    "are_listed",
    "end",
    "end_all",
    "end_everybody",
    "end_others",
    "listed",
    "of",
]


@dataclass(frozen=True)
class UserSession:
    """One session of a user, as it may be shown to that user and to staff.

    ``id`` names it for ``end()``, and leads to no cookie. ``device`` and ``place`` are "" where they are unknown;
    ``place`` is a network, such as ``203.0.113.0/24``. ``last_use`` is known to within the time that uses are noted in.
    """

    id: str
    device: str
    place: str
    begun: datetime
    last_use: datetime
    current: bool
    remembered: bool


class Listed(NamedTuple):
    """The live sessions of a user; ``more``: there are others, too many to list."""

    sessions: list[UserSession]
    more: bool


def of(user: object, current: SessionBase | None = None) -> list[UserSession]:
    """Return the live sessions of a user: ``current`` first, if it is among them, then the last used. At most 200."""
    return listed(user, current).sessions


def listed(user: object, current: SessionBase | None = None) -> Listed:
    """The same as of(), and whether there are more. See also ``are_listed``."""
    found, more = _standing(user)
    mine = _stored_key_of(current)
    sessions = [_shown(each, mine) for each in found if each.live]
    sessions.sort(key=lambda each: (each.current, each.last_use), reverse=True)
    return Listed(sessions[:MOST_SESSIONS], more or len(sessions) > MOST_SESSIONS)


def are_listed() -> bool:
    """Return whether logins are listed at all: ``SESSIONPERSIST["ROSTER"]`` is on, or there is a limit."""
    return is_listed()


def end(user: object, session_id: str, *, reason: Reason = Reason.BY_USER) -> bool:
    """End one session of a user, by its ``id``. False: that user has no such session, and nothing was ended."""
    return bool(_ended(user, lambda entry: entry.id == session_id, reason))


def end_others(request: HttpRequest, *, reason: Reason = Reason.BY_USER) -> int:
    """End the sessions of the user of a request but for the one that it came with, and return how many there were."""
    return end_all(request.user, but=request.session, reason=reason)


def end_all(user: object, *, but: SessionBase | None = None, reason: Reason = Reason.BY_STAFF) -> int:
    """End the sessions of a user, ``but`` for one, and return how many there were."""
    kept = _stored_key_of(but)
    return len(_ended(user, lambda entry: kept not in entry.keys, reason, at_once=True))


def end_unsaved(user: object) -> None:
    """End what was entered for a user and is no session, or none yet: a login whose view has crashed counts at the
    limit for a minute, as it may be about to be saved."""
    found, _ = _standing(user)
    unsaved = {each.entry.id for each in found if not each.live}
    _ended(user, lambda entry: entry.id in unsaved, Reason.SIGNED_IN_ELSEWHERE)


def all_ended_at(user: object) -> int:
    """Return when end_all() or end_others() was last called for a user while there was a limit: Unix time in
    milliseconds; 0: never, as far as is known."""
    return run(records.read(routing.current_store(), Owner.of(id_of(user)))).all_ended_at


def end_everybody(ended_by: str = "") -> None:
    """End the sessions of everybody, in every store and on every node, when a switch would activate. Whoever asks for
    it has to log in again, too. ``ended_by`` is a user name, for the history and the audit log.

    It asks no store, and holds where one is down. Raises what the database of the configuration raises.
    """
    everybody.end_everybody(ended_by)
    tell_ended(SessionStore, Reason.EVERYBODY, "")


async def aof(user: object, current: SessionBase | None = None) -> list[UserSession]:
    """See of()."""
    return await routing.on_loop(of, user, current)


async def alisted(user: object, current: SessionBase | None = None) -> Listed:
    """See listed()."""
    return await routing.on_loop(listed, user, current)


async def aend(user: object, session_id: str, *, reason: Reason = Reason.BY_USER) -> bool:
    """See end()."""
    return await routing.on_loop(end, user, session_id, reason=reason)


async def aend_others(request: HttpRequest, *, reason: Reason = Reason.BY_USER) -> int:
    """See end_others()."""
    user = await request.auser() if hasattr(request, "auser") else request.user
    return await aend_all(user, but=request.session, reason=reason)


async def aend_all(user: object, *, but: SessionBase | None = None, reason: Reason = Reason.BY_STAFF) -> int:
    """See end_all()."""
    return await routing.on_loop(end_all, user, but=but, reason=reason)


async def aend_everybody(ended_by: str = "") -> None:
    """See end_everybody()."""
    await sync_to_async(end_everybody)(ended_by)


def id_of(user: object) -> str:
    """Return the id of a user as sessions have it. Raises ValueError for a user who has none: nobody, or not saved."""
    meta: Any = getattr(user, "_meta", None)
    found = meta.pk.value_to_string(user) if isinstance(user, Model) else user
    if found in (None, "") or getattr(user, "pk", user) is None:
        raise ValueError("A user without a primary key has no sessions.")
    return str(found)


def _standing(user: object) -> tuple[list[Standing], bool]:
    """Return what is listed for a user and is not dead, and whether there is more than is listed."""
    store, owner = routing.current_store(), Owner.of(id_of(user))
    held = run(records.read(store, owner))
    return run(records.all_standing(store, owner, routing.current_policy(), held.entries)), held.more


def _stored_key_of(session: SessionBase | None) -> str | None:
    return stored_key(session.session_key) if session is not None and session.session_key else None


def _shown(found: Standing, mine: str | None) -> UserSession:
    entry = found.entry
    begun, last_use = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (entry.begun, found.last_use))
    current = mine in entry.keys
    device = devices.in_words(entry.device)
    return UserSession(entry.id, device, entry.place, begun, last_use, current, entry.remembered)


def _ended(
    user: object, chosen: Callable[[Entry], bool], reason: Reason, *, at_once: bool = False
) -> dict[str, Entry]:
    user_id, over = id_of(user), dict[str, Entry]()
    store, owner, policy = routing.current_store(), Owner.of(user_id), routing.current_policy()
    try:
        run(records.ended(store, owner, policy, chosen, reason, over, at_once=at_once))
    finally:
        for each in over.values():
            audit.ended(each.keys[0])
            tell_ended(SessionStore, reason, user_id)
    return over
