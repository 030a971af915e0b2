"""How a session gets into its user's roster: what one object of the engine remembers of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, TypeVar

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY
from django.contrib.auth import SESSION_KEY as USER_ID

from sessionpersist import conf
from sessionpersist.exceptions import SessionLimitReached, StoreUnavailable
from sessionpersist.handover import routing
from sessionpersist.handover.driving import Rule, drive
from sessionpersist.roster.devices import UNSEEN, Seen
from sessionpersist.roster.limit import Limit, entered, relisted, renamed
from sessionpersist.roster.records import (
    EXTENDED_EVERY,
    HEADROOM,
    SETTLED,
    Entry,
    Owner,
    new_entry,
)
from sessionpersist.session.policy import AS_DJANGO, EXPIRY, LIFE, is_remembered
from sessionpersist.session.reasons import Reason
from sessionpersist.stores.base import Outcome, Saving, now_ms
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import ROSTER_UNREAD

T = TypeVar("T")

FRESH = SETTLED / 3000  # seconds for which an entry is surely taken for one that may be about to be saved


Tell = Callable[[Entry, Reason], None]  # that a session of the same user was ended


def user_of(data: Mapping[str, Any]) -> str:
    """Return the id of the user whose session this is, as the session has it; "" for nobody's."""
    found = data.get(USER_ID)
    return "" if found is None else str(found)


def forget_user(data: dict[str, Any]) -> None:
    """Have a session be nobody's."""
    for name in (USER_ID, BACKEND_SESSION_KEY, HASH_SESSION_KEY):
        data.pop(name, None)


def is_listed() -> bool:
    """Return whether rosters are kept."""
    return bool(conf.get("ROSTER")) or limit() is not None


def limit() -> Limit | None:
    """Return the limit in force."""
    return Limit.of(routing.current_policy())


def _entry(key: str, data: Mapping[str, Any], expires_at: int, seen: Seen = UNSEEN) -> Entry:
    """Return the entry of a session as it is about to be saved."""
    # In whole seconds, as expiries are: some time has passed since the end was reckoned.
    life = int(data.get(LIFE, round((expires_at - now_ms()) / 1000) * 1000))
    return new_entry(
        key,
        life,
        device=seen.device,
        place=seen.place,
        remembered=is_remembered(data),
        own_expiry=bool(data.get(EXPIRY)),
    )


class Entering:
    """``seen`` is what the login came with. ``moves_from`` is the stored key that this session had before."""

    seen = UNSEEN
    moves_from: str | None = None
    gone: frozenset[str] = frozenset()  # stored keys that were removed in a transaction
    adopts = False  # it is a session of before, which is no login
    # What was entered last: the stored key, the user, and the revision, as everybody's end forgets rosters, too.
    _entered: tuple[str, str, int] | None = None
    _until = 0.0  # on the monotonic clock: for so long that holds without another look

    def sees(self, seen: Seen, key: str | None, user_id: str) -> bool:
        """Note what the login came with; return whether that session of the user is listed already, and that is to be
        added."""
        is_listed = self._entered is not None and self._entered[:2] == (key, user_id)
        adds, self.seen = is_listed and seen != self.seen, seen
        if adds:
            self._entered = None
        return adds

    def enter(
        self,
        key: str,
        data: Mapping[str, Any],
        expires_at: int,
        tell: Tell,
        session: Saving | None = None,
    ) -> Outcome | None:
        """List a session that is about to be saved with its user; or that has been just now, if so much time has passed
        that its entry may have been taken for dead.

        ``session`` is how it is to be saved over an earlier version, if it is. Return what became of that; None where
        it is yet to be saved; MISSING where it has been ended, be it under the key that it had before.

        Raises SessionLimitReached, StoreUnavailable.
        """
        store = routing.current_store()
        entered, begun = (key, user_of(data), store.revision()), monotonic()
        if (self._entered == entered and begun < self._until) or not is_listed():
            return None
        outcome = self._listed(key, data, expires_at, tell, session)
        # What was entered in a transaction may be rolled back, and the session saved again.
        self._entered, self._until = entered, begun if store.in_transaction() else begun + FRESH
        return outcome

    def _listed(
        self,
        key: str,
        data: Mapping[str, Any],
        expires_at: int,
        tell: Tell,
        session: Saving | None,
    ) -> Outcome | None:
        entry = _entry(key, data, expires_at, self.seen)
        owner = Owner.of(user_of(data))
        try:
            return self._written(owner, entry, expires_at, tell, session)
        except StoreUnavailable as error:
            if limit() is not None:
                raise
            # A store that is still draining may be down. Whoever can be served by the new one can log in there.
            lines.say(ROSTER_UNREAD, f"A user's list of sessions could not be read for a login: {error}")
            return self._written(owner, entry, expires_at, tell, blind=True)

    def _written(
        self,
        owner: Owner,
        entry: Entry,
        expires_at: int,
        tell: Tell,
        session: Saving | None = None,
        *,
        blind: bool = False,
    ) -> Outcome | None:
        store, over = routing.current_store(), dict[str, Entry]()
        if self.moves_from is not None:
            alive = run(renamed(store, owner, self.moves_from, entry, expires_at, blind=blind))
            return None if alive else Outcome.MISSING
        try:
            policy = AS_DJANGO if self.adopts else routing.current_policy()
            gone = self.gone
            return run(
                entered(
                    store, owner, entry, expires_at, policy, over, blind=blind, gone=gone, session=session
                )
            )
        finally:
            for each in over.values():
                tell(each, Reason.SIGNED_IN_ELSEWHERE)

    def extend(self, key: str, data: Mapping[str, Any], before: int, after: int) -> None:
        """Have the roster live as long as this session, whose end has moved; where there is none, list the session.

        That is due now and then, as a roster outlives its sessions by far.
        """
        if before // EXTENDED_EVERY == after // EXTENDED_EVERY or not is_listed():
            return
        store, owner = routing.current_store(), Owner.of(user_of(data))
        try:
            if not store.touch(owner.keys[0], after + HEADROOM):
                run(entered(store, owner, _entry(key, data, after), after, AS_DJANGO, {}))
        except StoreUnavailable as error:
            # The session itself is saved. The roster has time until long after the next one that is due.
            lines.say(ROSTER_UNREAD, f"A user's list of sessions could not be extended: {error}")

    def enlist(self, key: str, data: Mapping[str, Any], expires_at: int) -> None:
        """List a session that was saved by an earlier release. That is no login, and nobody is refused or ended."""
        if is_listed():
            store, owner = routing.current_store(), Owner.of(user_of(data))
            run(entered(store, owner, _entry(key, data, expires_at), expires_at, AS_DJANGO, {}))

    def relist(
        self, key: str, data: Mapping[str, Any], expires_at: int, lives: tuple[int, int], *, saved: bool
    ) -> None:
        """Have the roster know that a session has another life: before it is ``saved`` the shorter of both, and after
        that the new one, if it is longer. So at no moment does the session look as if it were not in use."""
        before, after = lives
        if before == after or (saved and after < before) or not is_listed():
            return
        entry = _entry(key, data, expires_at)._replace(life=after if saved else min(lives))
        run(relisted(routing.current_store(), Owner.of(user_of(data)), key, expires_at, entry))

    def refused(self, error: SessionLimitReached, data: dict[str, Any]) -> SessionLimitReached:
        """Return the error with what a page needs that lets the user end another session; this one is nobody's now."""
        told = SessionLimitReached(user_of(data), str(data.get(BACKEND_SESSION_KEY, "")))
        forget_user(data)
        told.__cause__ = error
        return told


def run(rule: Rule[T]) -> T:
    """Run a rule about rosters in this thread."""
    return drive(rule, routing.current_view)
