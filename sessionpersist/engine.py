"""``SESSION_ENGINE = "sessionpersist.engine"``: Django's way to its sessions.

The engine turns Django's session API into the verbs of a store. It knows no driver and does not choose the store;
``routing`` does. The session key stays here: stores see its hash, and payloads that only this key opens.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeGuard, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, CreateError, UpdateError
from django.http import HttpRequest

from sessionpersist import audit
from sessionpersist.awaiting import in_loop, in_thread, sleep
from sessionpersist.exceptions import SessionLimitReached, StoreUnavailable
from sessionpersist.handover import logouts, routing
from sessionpersist.handover.driving import backoff
from sessionpersist.roster import entering
from sessionpersist.roster.devices import Seen
from sessionpersist.roster.entering import Entering, user_of
from sessionpersist.roster.records import FORGOTTEN, HASHED, KEPT, Entry, recorded_user, storable_user_id
from sessionpersist.session import adoption, merging, serialising
from sessionpersist.session.held import Held
from sessionpersist.session.policy import LIFE, Policy
from sessionpersist.session.reasons import Reason
from sessionpersist.session.sealing import Opened, Sealer, beside
from sessionpersist.session.serving import serving
from sessionpersist.session.timed import Timed, sealed_end
from sessionpersist.signals import tell_ended, tell_started
from sessionpersist.stores.base import (
    Outcome,
    Record,
    Rotation,
    Saving,
    check_size,
    new_version,
    now_ms,
    revision_of,
    token_of,
)
from sessionpersist.stores.secret import Secret, SecretBytes
from sessionpersist.stores.transactions import outside
from sessionpersist.telemetry import lines, recorder
from sessionpersist.telemetry.lines import SESSION_PROLONGED, SESSION_UNOPENED, SESSION_UNREADABLE
from sessionpersist.telemetry.recorder import MERGES
from sessionpersist.upkeep import sockets

ATTEMPTS = 60  # to save over parallel saves; one of the contenders succeeds each time
KEY_LENGTH = 32
UNREAD = -1  # as a life, which is 0 or more
KEY_CHARACTERS = bytes(ord(VALID_KEY_CHARS[byte % len(VALID_KEY_CHARS)]) for byte in range(256))
UNEVEN = bytes(range(256 - 256 % len(VALID_KEY_CHARS), 256))  # bytes that would favour the first characters

P = ParamSpec("P")
T = TypeVar("T")


class SessionStore(Timed):
    """One session. ``outage`` is the error of a store that could not be asked, for the middleware to see.

    ``ended_reason`` is why the session that was asked for is over, where that is known.
    """

    outage: StoreUnavailable | None = None
    refusal: SessionLimitReached | None = None  # of a login, for the middleware to see
    ended_reason: Reason | None = None
    saved_with_response = False  # the middleware will see to that
    _missed: str | None = None  # the key under which load() has found nothing
    _before: Held | None = None  # what was held before the last save, which a rollback may take back
    _sealer: Sealer | None = None
    _key_is_new = False  # drawn by this object
    _logs_out: str | None = None  # the id of the user who is logging out
    _moves = False  # to a new key, with the next save
    _life_before: int | None = UNREAD  # of the session as it was read, until it is saved
    _reading: asyncio.Lock | None = None

    def __init__(self, session_key: str | None = None) -> None:
        # What Django's own does, which would look up the serializer by its name for each session.
        self._session_key = Secret(session_key) if isinstance(session_key, str) else session_key
        self.accessed = self.modified = False
        self.serializer = serialising.chosen()
        self._entering = Entering()

    @property
    def session_key(self) -> str | None:
        """The key of the session. One that is about to move to a new key does so now: it may be looked for there.

        Once the request has been served it is the key under which the session is, moved or not. Raises as save() does.
        """
        if self._moves and self.saved_with_response:
            # Where a view on a loop asks, as none of the middleware does, Django lets nobody ask a database.
            outside(self._move) if on_a_loop() else self._move()
        return self._session_key

    @property
    def key_in_store(self) -> str | None:
        """The key under which the store has the session, which may be about to move to another one."""
        return self._session_key

    def is_empty(self) -> bool:
        """Return whether there is nothing to save: no key, and no content."""
        return not self._moves and super().is_empty()

    def load(self) -> dict[str, Any]:
        """Read the session; where there is none, the object becomes a new, empty one. Creates nothing."""
        found = self._read(self._session_key) or self._adopted(self._session_key)
        if found is None:
            self._missed, self._session_key, self._held = self._session_key, None, None
            return {}
        self._held, data = found
        return data

    @property
    def is_over(self) -> bool:
        """Whether the browser came with a session, and there is none. Known once it has been looked for."""
        return self._missed is not None

    def exists(self, session_key: str | None) -> bool:
        """Return whether there is a live session with that key. False for None and for anything that is not a text."""
        return is_key(session_key) and self._read(Secret(session_key)) is not None

    def create(self) -> None:
        """Save as a new session under a fresh random key. It is not looked up first: a clash is next to impossible, and
        the store would refuse it. One that was about to move to such a key is there then."""
        if self._moves:
            self._move()
        else:
            self._create()

    def save(self, must_create: bool = False) -> None:
        """Save the session: a changed one over the version that was read, an unchanged one as a new expiry only.

        Raises CreateError (``must_create`` and the key is taken), UpdateError (the session was deleted elsewhere),
        StoreUnavailable, SessionTooLarge.
        """
        if routing.holds_up_the_loop():
            return in_thread(self.save, must_create)  # once for all that it asks
        if self._moves or self._session_key is None:
            return self.create()
        data = self._get_session(no_load=must_create)
        if must_create:
            self._save_new(data)
            return None
        if self._session_key is None:  # loaded just now, and deleted before that
            self._get_or_create_session_key()  # as Django has it: one that leads nowhere, and no way back to the old
            raise UpdateError
        if self._held is None:
            self._held = self._base_of_unread()
        plain = self._with_life(data)
        if plain == self._held.plain and (self._is_used or not self.modified):
            return self._slide(data, plain)
        return self._save_over(data, plain)

    def delete(self, session_key: str | None = None) -> None:
        """Delete the session with that key; without a key, this session. Anything that is not a key deletes nothing.

        A session that is not there is deleted, too: it may be gone from the primary only, by a logout that no replica
        has confirmed. Only the store can say that it will not come back.
        """
        if self._moves and session_key is not None and session_key == self._session_key:
            self._move()  # it is another one by now
        key = (self._session_key or self._missed) if session_key is None else session_key
        if self._moves and session_key is None:
            self._moves, self._session_key = False, new_key()  # which leads nowhere, and nobody knows
        if is_key(key):
            key = session_key = Secret(key)
            name = self._sealer_of(key).stored_key
            try:
                removed = self._removed(name, is_own=key == self._session_key)
            except StoreUnavailable:
                # It holds all the same: it is carried out once the store is back.
                self._ask(logouts.write_down, name)
                removed, self.outage = True, None
            if removed:
                self._audit_end(name)
            self._ask(adoption.remove, key)

    def cycle_key(self) -> None:
        """Move the session to a new key. What another request saved under the old key meanwhile comes along.

        Nobody's session, in a request that is being served, moves when it is saved with the response, in one exchange
        with what else has changed, such as its user at a login; or before that, when somebody asks for its key. A limit
        that refuses a login needs the key before. That of a user may be ended meanwhile under the key that it has.
        """
        data, limit = self._get_session(), entering.limit()
        self._moves = self.modified = self._key_is_new = True
        if not self.saved_with_response or user_of(data) or (limit is not None and limit.refuses):
            self._move()

    def move_at_once(self) -> None:
        """Have the session move whenever it gets a new key, now if it is about to: not as it is saved."""
        self.saved_with_response = False
        if self._moves:
            self._move()

    def seen_from(self, request: HttpRequest) -> None:
        """Note what the roster of the user is to say of a login by this request; say it at once where the login is
        listed already, as somebody has asked for its key."""
        key = self._session_key and self._sealer_of(self._session_key).stored_key
        if self._entering.sees(Seen.of(request), key, user_of(getattr(self, "_session_cache", {}))):
            self._enter(self._session_cache, "")

    def note_login(self, user_id: str) -> None:
        """A user has just logged in: take a key that nobody can have known before.

        Django draws a new key where the session was nobody's or another user's. It keeps the key where the same user
        logs in again, although somebody else may know it. A login that does not put the user into this session, such
        as one by a token, changes nothing here.

        Raises SessionLimitReached where the policy refuses one session more, before anything is saved.
        """
        if getattr(self, "_session_cache", {}).get(USER_ID) != user_id:
            return
        self._logs_in = True
        if self._session_key is not None and not self._key_is_new:
            self.cycle_key()
        if (limit := entering.limit()) is not None and limit.refuses:
            if self._session_key is None or self._moves:
                self.create()
            else:
                self._enter(self._session_cache, self._held.user_id if self._held else "")

    def note_logout(self, user_id: object) -> None:
        """A user is about to log out."""
        self._logs_out = str(user_id)

    async def _aget_session(self, no_load: bool = False) -> dict[str, Any]:
        """Return the dictionary of the session, as Django has it. Tasks of one request that ask at the same time read
        it once: a second reading would replace what has been put into the first."""
        if no_load or hasattr(self, "_session_cache"):
            return await super()._aget_session(no_load)  # type: ignore[call-arg] # which its types lack
        self._reading = self._reading or asyncio.Lock()
        async with self._reading:
            return await super()._aget_session()

    async def _on_loop(self, operation: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Run an operation for a coroutine. What a subclass of a project's makes of it may ask a database, so that is
        run in a thread, as Django has it."""
        if type(self) is SessionStore:
            return await routing.on_loop(operation, *arguments, **named)
        return await sync_to_async(operation)(*arguments, **named)

    async def aload(self) -> dict[str, Any]:
        """See load()."""
        return await self._on_loop(self.load)

    async def aexists(self, session_key: str | None) -> bool:
        """See exists()."""
        return await self._on_loop(self.exists, session_key)

    async def acreate(self) -> None:
        """See create()."""
        await self._on_loop(self.create)

    async def asave(self, must_create: bool = False) -> None:
        """See save()."""
        await self._on_loop(self.save, must_create)

    async def adelete(self, session_key: str | None = None) -> None:
        """See delete()."""
        await self._on_loop(self.delete, session_key)

    async def acycle_key(self) -> None:
        """See cycle_key(). On a loop nobody could move the session when its key is asked for, so it moves at once."""
        await self._on_loop(self.cycle_key)
        if self._moves:
            await self._on_loop(self._move)

    @classmethod
    async def aclear_expired(cls) -> None:
        """See clear_expired()."""
        if cls is SessionStore:
            await routing.on_loop(cls.clear_expired)
        else:
            await sync_to_async(cls.clear_expired)()

    @classmethod
    def clear_expired(cls) -> None:
        """Delete the expired sessions of the current store."""
        routing.current_store().clear_expired()

    def _get_or_create_session_key(self) -> str:
        """Return the key, drawn first if there is none: in Django's engines, the one that the session will have."""
        if self._moves:
            self._move()
        return str(super()._get_or_create_session_key())  # type: ignore[misc] # which its types lack

    def _move(self) -> None:
        """Save the session under a new key, and delete what lies under the old one."""
        old_key, held, self._moves = self._session_key, self._held, False
        old_name = self._sealer_of(old_key).stored_key if old_key else None
        if held and held.user_id and held.user_id == user_of(self._session):
            self._entering.moves_from = old_name
        try:
            left = self._create(held, old_name) is Rotation.LEFT
        except UpdateError:  # it is over
            raise
        except Exception:
            # It is where it was, and must not be saved there: somebody may know that key.
            self._session_key, self._moves = old_key, True
            raise
        finally:
            self._entering.moves_from = None
        if old_key and left:
            self._retire(old_key, held)

    def _create(self, before: Held | None = None, old_name: str | None = None) -> Rotation:
        """Save as a new session under a fresh key, in place of the one under the old stored key, if there is any;
        ``before`` is what was held of it.

        Raises UpdateError where everybody was logged out since that was read.
        """
        while True:
            self._session_key = new_key()
            data, base = self._get_session(no_load=True), before and before.version
            try:
                done = self._save_new(data, before, base, old_name)
            except CreateError:
                if user_of(data):
                    self._require_not_ended()
                continue
            except SessionLimitReached:
                self._session_key = None  # nothing was saved under it
                raise
            self.modified = self._key_is_new = True
            return done

    def _require_not_ended(self) -> None:
        """Raise UpdateError where a new key is taken because this very session was ended: it is listed before it is
        saved."""
        record = self._ask(routing.current_store().get, self._name())
        if record is not None and record.ended:
            self.ended_reason = Reason(record.reason)
            raise UpdateError

    def _save_new(
        self,
        data: dict[str, Any],
        before: Held | None = None,
        base: int | None = None,
        old_name: str | None = None,
    ) -> Rotation:
        """Save as a new session, with the version ``base`` of what it is made out of; if that has a stored key of its
        own, it is deleted with the same exchange. Raises CreateError where the key is taken."""
        plain, begun, earlier = self._with_life(data), self._begun(before), None
        while True:
            # The stamp comes first, so that the session is listed and created under one revision.
            record, held = self._record(plain, begun)
            self._require(base)  # once the record has its stamp: see RoutedStore.create
            along = None if earlier else self._along(record, base, old_name)
            if self._enter(data, "", along, record.expires_at) is Outcome.SAVED:
                done = Rotation.DONE
                break
            if earlier and (found := self._saved_already(earlier)):
                held, done = found, Rotation.LEFT
                break
            if (done := self._put_new(record, base, old_name)) is not Rotation.TAKEN:
                break
            if revision_of(record.version) != routing.current_store().revision():
                earlier = held
            elif along is None or not self._saved_already(held):
                raise CreateError
            else:
                done = Rotation.LEFT
                break
        self._held = held
        if old_name:
            audit.moved(old_name, self._name())
        self._note_saved("", began=self._entering.moves_from is None and not self._entering.adopts)
        return done

    def _saved_already(self, held: Held) -> Held | None:
        """Return what was saved of this new session with its list, as a switch came or with an answer that was lost;
        None where it is yet to be saved.

        Listed under an earlier revision, it may also have been ended then, which raises CreateError: the mark is where
        sessions were then, and a new session is looked for nowhere else.
        """
        found = self._ask(routing.current_store().get, self._name())
        if found is None:
            return None
        if token_of(found.version) != token_of(held.version):
            raise CreateError
        return held._replace(version=found.version)

    def _along(self, record: Record, base: int | None, old_name: str | None) -> Saving | None:
        """Return how a new session can be saved along with the list of its user; None for nobody's, and where the list
        comes first. Of one that moves within the list it must be known that it lives."""
        if not user_of(self._session_cache) or self._entering.moves_from is not None:
            return None
        if old_name is not None and base is None:
            return None
        name = self._name()
        return Saving(name, record, base, old_name) if old_name else Saving(name, record, None)

    def _put_new(self, record: Record, base: int | None, old_name: str | None) -> Rotation:
        store, name = routing.current_store(), self._name()
        if old_name is None:
            return Rotation.DONE if self._ask(store.create, name, record, base) else Rotation.TAKEN
        return self._ask(store.rotate, old_name, base, name, record)

    def _slide(self, data: dict[str, Any], plain: bytes) -> None:
        assert self._held is not None
        if (expires_at := self._expires_at()) > self._held.end or self._is_too_late(expires_at):
            return self._save_over(data, plain)
        self._require(self._held.version)
        if not self._ask(routing.current_store().touch, self._name(), expires_at):
            raise self._gone()
        self._held = self._held._replace(expires_at=max(expires_at, self._held.expires_at))
        return None

    def _save_over(self, data: dict[str, Any], plain: bytes) -> None:
        """Replace the version that was read; where another request has replaced it, merge and try again."""
        assert self._held is not None
        for attempt in range(ATTEMPTS):
            record, held = self._record(plain, self._begun(self._held))
            name, version = self._name(), self._held.version
            session = Saving(name, record, version)
            outcome = self._enter(data, self._held.user_id, session, record.expires_at)
            self._relist(data, saved=False)
            if outcome is None:
                outcome = self._ask(routing.current_store().replace, name, record, version)
            if outcome is Outcome.SAVED:
                self._before, self._held = self._held, held
                return self._note_saved(self._before.user_id)
            if outcome is Outcome.MISSING:
                raise self._gone()
            pause(attempt)
            self._merge_newer(data)
            plain = self._with_life(data)
        self.outage = StoreUnavailable(f"The session was being changed by others {ATTEMPTS} times in a row.")
        raise self.outage

    def _gone(self) -> UpdateError:
        """Return what to raise for a session that was ended since it was read, and note why, as far as that is known.

        Raises StoreUnavailable.
        """
        self._read(self._session_key)
        return UpdateError()

    def _require(self, version: int | None) -> None:
        """Raise UpdateError where everybody was logged out since that version was written."""
        if version is not None and routing.current_view().forgets(version):
            self.ended_reason = Reason.EVERYBODY
            raise UpdateError

    def _enter(
        self,
        data: dict[str, Any],
        before: str,
        session: Saving | None = None,
        expires_at: int | None = None,
    ) -> Outcome | None:
        """Have the session listed for its user, if that is another one than ``before``. ``session`` is how it is to be
        saved; return what became of that, None where it is yet to be saved. See Entering.enter()."""
        user_id = user_of(data)
        if user_id in ("", before):
            return None
        until = self._expires_at() if expires_at is None else expires_at
        try:
            outcome = self._entering.enter(self._name(), data, until, self._tell_ended, session)
        except SessionLimitReached as error:
            self.refusal = self._entering.refused(error, data)
            raise self.refusal from None
        except StoreUnavailable as error:
            self.outage = error
            raise
        if session is None and outcome is Outcome.MISSING:
            raise UpdateError
        return outcome

    def _note_saved(self, before: str, *, began: bool = True) -> None:
        """The session is saved; it was the user's ``before``. ``began``: with another user, one has logged in."""
        assert self._held is not None
        user_id, was = self._held.user_id, self._before
        if user_id and user_id == before and was is not None:
            self._relist(self._session_cache, saved=True)
            self._go_on_listing(was, self._held)
        if user_id and user_id != before:
            self._enter_again(before, self._held.expires_at)
            if began:
                tell_started(type(self), user_id)
        self._life_before = UNREAD
        if self._logs_in and user_id:
            self._logs_in = False
            audit.login(self._name(), storable_user_id(user_id))

    def _enter_again(self, before: str, expires_at: int) -> None:
        """See that the session is listed, if it has been saved so late that somebody may have taken it off before."""
        try:
            self._enter(self._session_cache, before, expires_at=expires_at)
        except SessionLimitReached:
            self._ask(routing.current_store().delete, self._name())
            raise

    def _go_on_listing(self, was: Held, held: Held) -> None:
        """Have the roster list a session that was saved by an earlier release, and live as long as the session."""
        key = self._name()
        if was.recorded.startswith(HASHED):
            self._entering.extend(key, self._session_cache, was.end, held.end)
            return
        self._ask(self._entering.enlist, key, self._session_cache, held.expires_at)

    def _relist(self, data: dict[str, Any], *, saved: bool) -> None:
        """See Entering.relist()."""
        assert self._held is not None
        before, after = self._life_before, data.get(LIFE)
        if before == after or not self._held.user_id or self._held.user_id != user_of(data):
            return
        lives = self._life_or_age(before), self._life_or_age(after)
        self._ask(self._entering.relist, self._name(), data, self._expires_at(), lives, saved=saved)

    def _tell_ended(self, entry: Entry, reason: Reason) -> None:
        """Say that another session of this user was ended for this one."""
        audit.ended(entry.keys[0])
        tell_ended(type(self), reason, user_of(self._session_cache))

    def _removed(self, name: str, *, is_own: bool) -> bool:
        """Remove a session from the store; return whether it was there, as far as that is known. Under a limit the
        session of a user leaves a mark for a moment, so that it does not count as one that is about to be saved."""
        store, held = routing.current_store(), self._held
        if store.locks_others_out():
            self._entering.gone |= {name}
        if held is None or not held.user_id or not is_own or entering.limit() is None:
            return self._ask(store.delete, name)
        self._ask(store.end, name, now_ms() + FORGOTTEN)
        return True

    def _audit_end(self, name: str) -> None:
        user_id, self._logs_out = self._logs_out, None
        if user_id is None:
            audit.ended(name)
        else:
            audit.logout(name, storable_user_id(user_id))
            tell_ended(type(self), Reason.BY_USER, user_id)

    def _merge_newer(self, data: dict[str, Any]) -> None:
        found = self._read(self._session_key)
        if found is None:
            raise UpdateError
        newer, theirs = found
        if self._before is not None and newer.version == self._before.version:
            self._held = self._before  # the last save was rolled back
        self._merge(data, theirs, self._held)
        self._held = newer

    def _merge(self, data: dict[str, Any], theirs: dict[str, Any], held: Held | None) -> None:
        base = self._deserialized(held.plain) if held else {}
        # As it will be read: a tuple that was saved is a list in the base and in theirs, and nobody changed it.
        ours = self._deserialized(self._serialized(data))
        merged = merging.three_way(base or {}, data if ours is None else ours, theirs, self._serialized)
        recorder.add(MERGES)
        data.clear()
        data.update(merged)

    def _base_of_unread(self) -> Held:
        """A session that was cleared without having been read: read what the clearing is to replace."""
        found = self._read(self._session_key)
        if found is None:
            raise UpdateError
        return found[0]

    def _retire(self, old_key: str, held: Held | None) -> None:
        """Delete a session that has moved to another key. What others have saved there since it was held comes
        along."""
        old_name = self._sealer_of(old_key).stored_key
        for _ in range(ATTEMPTS):
            found = self._read(old_key)
            if found is None:
                return
            newer, theirs = found
            self._merge(self._session_cache, theirs, held)
            held = newer
            self.save()
            if self._ask(routing.current_store().delete, old_name, held.version):
                return
        self._ask(routing.current_store().delete, old_name)

    def _read(self, session_key: str | None) -> tuple[Held, dict[str, Any]] | None:
        """Return a live session as (what the store holds, dictionary); None where there is none to be had."""
        if session_key is None:
            return None
        store, sealer = routing.current_store(), self._sealer_of(session_key)
        record = self._ask(store.get, sealer.stored_key)
        if record is None:
            return None
        if record.ended:
            self._note_end(session_key, Reason(record.reason))
            return None
        opened = self._opened(sealer, record)
        data = None if opened is None else self._deserialized(opened[0])
        if opened is None or data is None:
            return None
        if (reason := self._ended_by_policy(data, record)) is not None:
            # For good: a policy that allows more, a moment later or on another node, must not bring it back.
            self._ask(store.end, sealer.stored_key, now_ms() + KEPT, int(reason))
            self._note_end(session_key, reason)
            return None
        plain, end = opened
        user, recorded = data.get(USER_ID), record.user_id
        return Held(record.version, plain, record.created_at, end, record.expires_at, user, recorded), data

    def _opened(self, sealer: Sealer, record: Record) -> Opened | None:
        """Open a record; None, and a line in the security log, where it is not what this app has put there."""
        try:
            opened = sealer.unseal(record.payload, beside(record.version, record.created_at, record.user_id))
        except StoreUnavailable as error:  # compressed by what this node lacks
            self.outage = error
            raise
        if opened is None:
            lines.say(
                SESSION_UNOPENED,
                "A stored session could not be opened: damaged, foreign, or sealed with another SECRET_KEY.",
            )
        elif opened[1] <= now_ms():
            lines.say(
                SESSION_PROLONGED,
                "A stored session is over, though its store says otherwise: somebody has prolonged it.",
            )
            return None
        return opened

    def _note_end(self, session_key: str, reason: Reason) -> None:
        if session_key == self._session_key:
            self.ended_reason = reason

    def _adopted(self, session_key: str | None) -> tuple[Held, dict[str, Any]] | None:
        """Take over a session from the engine used before, if there is one; as ``_read`` then."""
        view = routing.current_view()
        if view.floor:
            return None  # everybody was logged out, there too
        base = new_version(view.number)  # what is found is of now
        data = self._ask(adoption.find, session_key) if session_key else None
        if session_key is None or data is None:
            # If it was there, a parallel request may have taken it over since this one looked.
            return self._read(session_key) if adoption.engine() else None
        self._session_cache = data  # what the expiry is reckoned from
        self._entering.adopts = True
        try:
            self._save_new(data, base=base)
        except UpdateError:
            return None
        except CreateError:  # a parallel request was faster, or it was logged out
            return self._read(session_key)
        finally:
            self._entering.adopts = False
        if not self._ask(adoption.is_still_there, session_key):
            # It was logged out between the two.
            self._ask(routing.current_store().delete, self._sealer_of(session_key).stored_key)
            return None
        self._ask(adoption.remove, session_key)
        assert self._held is not None
        return self._held, data

    def _policy(self) -> Policy:
        """See Timed. Raises StoreUnavailable."""
        try:
            return routing.current_policy()
        except StoreUnavailable as error:
            self.outage = error
            raise

    def _ask(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Call a verb of a store, or of anything else that may be down; an outage is noted for the middleware, wherever
        the error ends."""
        if serving.get() is None:
            sockets.note_use()
        try:
            return call(*arguments, **named)
        except StoreUnavailable as error:
            self.outage = error
            raise

    def _name(self) -> str:
        """Return the stored key of this session."""
        return self._sealer_of(self._session_key).stored_key

    def _sealer_of(self, session_key: str | None) -> Sealer:
        """Return what seals under that key; made once, as a request asks for one session again and again.

        Raises UpdateError for None: each caller has seen to that, unless another task has flushed it meanwhile.
        """
        if self._sealer is None or self._sealer.session_key != session_key:
            if session_key is None:
                raise UpdateError
            self._sealer = Sealer(session_key)
        return self._sealer

    def _record(self, plain: bytes, created_at: int) -> tuple[Record, Held]:
        """Seal the session as it is to be stored; with what this object holds once it is."""
        sealer, user = self._sealer_of(self._session_key), self._session_cache.get(USER_ID)
        view = routing.current_view()
        version, recorded, expires_at = new_version(view.number), recorded_user(user), self._expires_at()
        end = sealed_end(expires_at, self._session_cache.get(LIFE))
        held = Held(version, plain, created_at, end, expires_at, user, recorded)
        # Beside nodes of 0.2.0 as those can open it.
        bound = None if view.mixed else beside(version, created_at, recorded)
        payload = sealer.seal(plain, bound, end)
        check_size(payload)
        return Record(payload, version, created_at, expires_at, recorded), held

    def _with_life(self, data: dict[str, Any]) -> bytes:
        """Serialise the session as it is to be saved: with the life that the policy gives it, if any."""
        if self._life_before == UNREAD:
            self._life_before = data.get(LIFE)
        self._set_life(data)
        return self._serialized(data)

    def _life_or_age(self, life: int | None) -> int:
        return self._cookie_age() if life is None else life

    def _serialized(self, data: dict[str, Any]) -> bytes:
        return serialising.dumps(self.serializer, data)

    def _deserialized(self, plain: bytes) -> dict[str, Any] | None:
        try:
            data = serialising.loads(self.serializer, plain)
        except Exception as error:  # noqa: BLE001 - whatever a serializer of the project's raises over foreign bytes
            data = error
        if isinstance(data, dict):
            return data
        # Only the type: the text of the error may quote what is in the session.
        name = type(data).__name__
        sentence = f"A stored session could not be read by {settings.SESSION_SERIALIZER} ({name})."
        lines.say(SESSION_UNREADABLE, sentence, error=name)
        return None


def on_a_loop() -> bool:
    """Return whether a loop runs in this thread, and this is not what ``awaiting.py`` runs there."""
    return asyncio._get_running_loop() is not None and not in_loop()


def is_key(session_key: object) -> TypeGuard[str]:
    """Return whether a session may have that key: any text but an empty one."""
    return isinstance(session_key, str) and session_key != ""


def new_key() -> str:
    """Return a random session key: 32 of Django's 36 characters, 165 bits, all equally likely.

    Django's own ``get_random_string`` gives the same and takes longer than a whole save in memory.
    """
    while len(key := SecretBytes(os.urandom(48).translate(KEY_CHARACTERS, UNEVEN))) < KEY_LENGTH:
        pass  # one time in 10**18
    return Secret(key[:KEY_LENGTH].decode())


def pause(attempt: int) -> None:
    """Wait before another attempt to save over parallel saves."""
    sleep(backoff(attempt))
