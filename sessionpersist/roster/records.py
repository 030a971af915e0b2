"""The roster of a user: one more record of the store, which lists where that user is signed in.

It lies under a key that is made of the site's secret and the user, sealed under a key of the site, and is changed by
``create`` and ``replace`` only: expiry, breaker, handover and clusters apply to it as to any session.

**A roster is a superset.** A session is entered before it is saved with its user. A logout and an expiry write nothing;
readers ask the store which of the entries live, and writers drop those that don't. So an entry can be

- *live*: the store has its session, and that is this user's;
- *pending*: it was entered a moment ago and may be about to be saved, so it counts;
- *dead*: it was ended, or has been gone for an hour (``FORGOTTEN``). It can't come to life any more.

Between the two, an entry is not taken for one that is about to be saved any more (``SETTLED``); but a process may have
slept, or have another idea of the time. Whoever takes it off ends it first, so that it can't be saved after all.

What changes a roster is a rule, as those of the handover are (see ``handover/driving.py``): it does no I/O itself.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

from django.conf import settings
from django.core.signing import JSONSerializer
from django.utils.encoding import force_bytes

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover.driving import Outside, Rule, Wait, backoff, call
from sessionpersist.session.policy import EXPIRY, LIFE, REMEMBER, UNLIMITED, End, Policy, end_of
from sessionpersist.session.reasons import Reason
from sessionpersist.session.sealing import Sealer, beside
from sessionpersist.session.serialising import dumps, loads
from sessionpersist.stores.base import (
    LONGEST_USER_ID,
    ROSTER,
    Outcome,
    Record,
    Saving,
    new_version,
    now_ms,
    revision_of,
    storable_time,
)
from sessionpersist.stores.secret import Secret, SecretBytes, secret_keys
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import ROSTER_UNOPENED

T = TypeVar("T")

ATTEMPTS = 60  # to change a roster that others change at the same time; one of them succeeds each time
SETTLED = 60_000  # milliseconds after which a session that was entered should have been saved
FORGOTTEN = 3_600_000  # milliseconds after which nobody can be about to save it any more
DAY = 86_400_000  # milliseconds
KEPT = DAY  # for which an ended session stays in the store, to say why it ended
HEADROOM = 30 * DAY  # by which a roster outlives the sessions in it
EXTENDED_EVERY = 10 * DAY  # of the end of a session that goes on and on: how often its roster is told
CHECKED_FROM = (
    16  # entries; from here on a login looks which of them are dead, each time that they have doubled
)
HASHED = "hmac:"  # in front of what a record says of its user, so that it can't be taken for an id
LABEL = b"sessionpersist.roster.v1"


class Store(Protocol):
    """What a roster asks of the store in force."""

    def get(self, key: str) -> Record | None: ...
    def get_many(self, keys: Collection[str]) -> dict[str, Record]: ...
    def create(self, key: str, record: Record) -> bool: ...
    def replace(self, key: str, record: Record, expected: int) -> Outcome: ...
    def touch(self, key: str, expires_at: int) -> bool: ...
    def end(self, key: str, expires_at: int, reason: int = 0) -> None: ...
    def end_and_replace(
        self, ended: Mapping[str, int], until: int, key: str, record: Record, expected: int
    ) -> Outcome: ...
    def save_both(self, first: Saving, second: Saving) -> tuple[Outcome, Outcome | None]: ...
    def revision(self) -> int: ...
    def may_see_the_past(self) -> bool: ...
    def in_transaction(self) -> bool: ...
    def locks_others_out(self) -> bool: ...


class Entry(NamedTuple):
    """One session of a user. Times are Unix times in milliseconds.

    ``id`` is for pages and the API: a stored key is never shown. ``keys`` are stored keys, the newest first: there is
    more than one while the session moves to a new key, and it lives if any of them does. ``at`` is when the newest was
    entered. ``life`` is by how much the session expires after its last use; while that changes, the shorter of both, so
    that nobody takes it for unused. ``own_expiry``: it was given one of its own, and has no idle time-out.
    """

    id: str
    keys: tuple[str, ...]
    begun: int
    at: int
    life: int
    device: str = ""
    place: str = ""
    remembered: bool = False
    own_expiry: bool = False


class Roster(NamedTuple):
    """``more``: the user has more sessions than are listed. ``check_at``: with so many entries the dead are dropped.
    ``all_ended_at`` is when all sessions of the user were last ended at once, where a login that was refused before
    could still be completed; Unix time in milliseconds."""

    entries: tuple[Entry, ...] = ()
    more: bool = False
    check_at: int = CHECKED_FROM
    all_ended_at: int = 0


EMPTY = Roster()


class Standing(NamedTuple):
    """An entry that is not dead, and when it was last used. ``live``: there is such a session. ``over``: it does not
    count, though it might live again: the policy has ended it for this reason, or it was not saved in time."""

    entry: Entry
    last_use: int
    live: bool
    over: Reason | None = None


@dataclass(frozen=True)
class Owner:
    """A user, as records and rosters name one: under the newest secret key of the site first, then its predecessors."""

    hashes: tuple[str, ...]
    plain: str = ""  # as records of earlier releases have it; "" where only a hash is known

    @classmethod
    def of(cls, user_id: object) -> Owner:
        """Return the user of an id, which may be of any type that a user's primary key can have."""
        return _owner(storable_user_id(user_id), secret_keys())

    @classmethod
    def of_record(cls, record: Record) -> Owner | None:
        """Return whose session a record is; None for nobody's. Which secret key its hash was made with is not known."""
        if not record.user_id:
            return None
        if not record.user_id.startswith(HASHED):
            return cls.of(record.user_id)
        return cls((record.user_id,) * len(secret_keys()))

    @cached_property
    def keys(self) -> list[str]:
        """Where the roster may lie. It is written under the first of them; under the second where the first can't be
        read (see ``changed``); the others are the same two by earlier secret keys of the site."""
        pairs = list(zip(self.hashes, secret_keys(), strict=True))
        return [key for pair in pairs for key in (roster_key(*pair), roster_key(*pair, b"spare:"))]

    def owns(self, record: Record | None) -> bool:
        """Whether it is a live session of this user."""
        if record is None or record.ended:
            return False
        return record.user_id in self.hashes or (self.plain != "" and record.user_id == self.plain)


@lru_cache(maxsize=256)  # a login asks for the owner of its record, and of its roster
def _owner(text: str, secrets: tuple[Secret | SecretBytes, ...]) -> Owner:
    return Owner(tuple(user_hash(text, secret) for secret in secrets), text)


def storable_user_id(user_id: object) -> str:
    """Return the id of a user as a short text: at most 255 printable ASCII characters. Of any other id it is a digest,
    the same for the same user: ``sha256:`` and 32 hexadecimal digits."""
    text = "" if user_id is None else str(user_id)
    if len(text) <= LONGEST_USER_ID and text.isascii() and text.isprintable():
        return text
    return "sha256:" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def recorded_user(user_id: object) -> str:
    """Return what a record says of its user: a keyed hash, so that a store does not tell who is signed in; "" for
    nobody."""
    owner = Owner.of(user_id)
    return owner.hashes[0] if owner.plain else ""


def user_hash(text: str, secret: str | bytes) -> str:
    return HASHED + hmac.digest(_site_key(secret), b"user:" + text.encode(), "sha256").hex()[:32]


def roster_key(hashed: str, secret: str | bytes, which: bytes = b"roster:") -> str:
    """Return the stored key of a roster, which no session has (see ``is_roster``)."""
    return ROSTER + hmac.digest(_site_key(secret), which + hashed.encode(), "sha256").hex()[:63]


@lru_cache(maxsize=32)
def _site_key(secret: str | bytes) -> bytes:
    return SecretBytes(hmac.digest(SecretBytes(force_bytes(secret)), LABEL, "sha256"))


def new_entry(
    key: str,
    life: int,
    *,
    device: str = "",
    place: str = "",
    remembered: bool = False,
    own_expiry: bool = False,
) -> Entry:
    """Return the entry of a session that begins now, under this stored key."""
    now = now_ms()
    return Entry(os.urandom(8).hex(), (key,), now, now, life, device, place, remembered, own_expiry)


# What the bytes of a roster mean.


def sealed(key: str, roster: Roster, version: int, created_at: int) -> bytes:
    """Seal a roster under the key of the site; what stands beside it is authenticated with it."""
    rows = [tuple(each) for each in roster.entries]
    plain = dumps(JSONSerializer, [1, roster.more, roster.check_at, rows, roster.all_ended_at])
    return _sealer(key).seal(plain, _beside(key, version, created_at))


def opened(key: str, record: Record | None) -> Roster:
    """Return the roster of a record; an empty one where there is none, or where it can't be opened."""
    if record is None or record.ended:
        return EMPTY
    found = _sealer(key).unseal(record.payload, _beside(key, record.version, record.created_at))
    roster = None if found is None else _decoded(found[0])
    if roster is None:
        lines.say(
            ROSTER_UNOPENED,
            "A roster could not be opened: damaged, foreign, or sealed with another SECRET_KEY.",
        )
        return EMPTY
    return roster


def _decoded(plain: bytes) -> Roster | None:
    try:
        # Another release may know more, or less.
        form, more, check_at, rows, *rest = loads(JSONSerializer, plain)
        entries = tuple(Entry(row[0], tuple(row[1]), *row[2 : len(Entry._fields)]) for row in rows)
        all_ended_at = int(rest[0]) if rest else 0
    except (ValueError, TypeError, LookupError):
        return None
    return Roster(entries, bool(more), int(check_at), all_ended_at) if form == 1 else None


@lru_cache(maxsize=64)  # a login opens the roster and seals it again
def _sealer(key: str) -> Sealer:
    return Sealer(Secret(f"{LABEL.decode()}:{key}"))


def _beside(key: str, version: int, created_at: int) -> bytes:
    return key.encode() + beside(version, created_at, "")


# Which entries live.


def standing(
    entry: Entry, records: Mapping[str, Record], owner: Owner, policy: Policy, now: int
) -> Standing | None:
    """Return how an entry stands by what the store has under its keys, which may be fewer then; None where it is
    dead."""
    found = {key: records.get(key) for key in entry.keys}
    waits = now - entry.at < FORGOTTEN
    possible = [
        key for key, record in found.items() if owner.owns(record) or (waits and not _has_ended(record))
    ]
    if not possible:
        return None
    entry = entry._replace(keys=tuple(possible))
    owned = [record for record in found.values() if record is not None and owner.owns(record)]
    if not owned:
        over = None if now - entry.at < SETTLED else Reason.UNKNOWN
        return Standing(entry, entry.at, live=False, over=over)
    record = max(owned, key=lambda each: each.expires_at)
    last_use = max(min(record.expires_at - entry.life, now), entry.begun)
    end = _end_of(entry, record, policy, now)
    over = end.reason if end.at <= now else None
    return Standing(entry, last_use, live=over is None, over=over)


def _end_of(entry: Entry, record: Record, policy: Policy, now: int) -> End:
    """Return when a session ends by the policy, as the engine judges it when it is read."""
    session: dict[str, Any] = {REMEMBER: entry.remembered, EXPIRY: entry.own_expiry}
    if policy.has_times:
        session[LIFE] = entry.life
    cookie_age = int(settings.SESSION_COOKIE_AGE * 1000)
    return end_of(policy, session, record.created_at, record.expires_at, now, cookie_age)


def _has_ended(record: Record | None) -> bool:
    return record is not None and record.ended


def all_standing(
    store: Store, owner: Owner, policy: Policy, entries: Collection[Entry]
) -> Rule[list[Standing]]:
    """Ask the store which entries are not dead."""
    if not entries:
        return []
    records = yield from call(store.get_many, [key for each in entries for key in each.keys])
    now = now_ms()
    return [found for each in entries if (found := standing(each, records, owner, policy, now)) is not None]


# Reading and changing a roster.


class Held(NamedTuple):
    """The record that a change replaces, and what is listed in all."""

    record: Record | None
    roster: Roster


@dataclass
class Along:
    """What is done along with the writing of a roster.

    ``keys`` are sessions that are ended before, by their stored keys, with the reasons. ``live`` are entries of those,
    by their ids, and go to ``over`` once it is done. ``session`` is one to be saved after, with the same exchange where
    that can be, and ``outcome`` what became of it; None where it was left alone.
    """

    over: dict[str, Entry]
    session: Saving | None = None
    outcome: Outcome | None = None
    keys: dict[str, int] = field(default_factory=dict)
    live: dict[str, Entry] = field(default_factory=dict)

    def add(self, found: Standing, reason: Reason) -> None:
        self.keys |= dict.fromkeys(found.entry.keys, int(reason))
        if found.live:
            self.live[found.entry.id] = found.entry

    def begin(self) -> None:
        self.keys, self.live = {}, {}

    def done(self) -> None:
        self.over |= self.live


Change = Callable[[Roster], Rule[tuple[Roster, T]]]


def read(store: Store, owner: Owner) -> Rule[Roster]:
    """Return the roster of a user."""
    return (yield from _held(store, owner, {})).roster


def changed(
    store: Store,
    owner: Owner,
    until: int,
    change: Change[T],
    *,
    blind: bool = False,
    beside: dict[str, Record | None] | None = None,
    along: Along | None = None,
) -> Rule[T]:
    """Change the roster of a user: compare and set, again and again until nobody else came between.

    ``change`` is a rule: it is given the roster, and returns the new one and an answer, which this returns. It may be
    run several times, and ask the store. ``until`` is how long the sessions in the roster live at least. ``blind``: it
    can't be read at this moment, as a store that drains is down; what is entered then is listed beside it. What lies
    under the keys in ``beside`` is read together with the roster, unless that is blind, and put there. ``along`` is
    what is done along with it; ``change`` fills it with those who are to be ended. Raises StoreUnavailable.
    """
    beside, along = {} if beside is None else beside, along or Along({})

    def again() -> Rule[T]:
        along.session = None  # which belongs into the transaction
        return changed(store, owner, until, change, blind=blind, beside=beside, along=along)

    if store.locks_others_out():
        # A view may take its time, and other logins of that user would time out. What a rollback leaves behind is an
        # entry of a session that is never saved.
        result: T = yield Outside(again())
        return result
    at, revision = owner.keys[1 if blind else 0], store.revision()
    held = Held(None, EMPTY) if blind else (yield from _held(store, owner, beside))
    for attempt in range(ATTEMPTS):
        along.begin()
        new, answer = yield from change(held.roster)
        if new == held.roster and not along.keys:
            return answer
        if (yield from _written(store, at, held.record, new, until, revision, along)):
            return answer
        if store.may_see_the_past():
            # A transaction may go on seeing the roster as it was before another login.
            answer = yield Outside(again())
            return answer
        yield Wait(backoff(attempt))
        revision = store.revision()
        held = (yield from _spare(store, at)) if blind else (yield from _held(store, owner, beside))
    raise StoreUnavailable(f"The list of a user's sessions was being changed {ATTEMPTS} times in a row.")


def _held(store: Store, owner: Owner, beside: dict[str, Record | None]) -> Rule[Held]:
    """What lies elsewhere is left there: a node that does not know the new secret key yet goes on listing there."""
    keys = owner.keys
    records = yield from call(store.get_many, [*keys, *beside])
    for key in beside:
        beside[key] = records.get(key)
    roster, *others = [opened(key, records[key]) for key in keys if key in records] or [EMPTY]
    for other in others:
        roster = merged(roster, other)
    return Held(_live(records.get(keys[0])), roster)


def _spare(store: Store, key: str) -> Rule[Held]:
    record = yield from call(store.get, key)
    return Held(_live(record), opened(key, record))


def _live(record: Record | None) -> Record | None:
    """Return the record, unless it has ended: one that was forgotten when everybody was logged out can be written over
    as if it were not there."""
    return None if record is None or record.ended else record


def merged(one: Roster, other: Roster) -> Roster:
    """Return a roster that lists what either does."""
    entries = list(one.entries)
    for each in other.entries:
        known = next((at for at, entry in enumerate(entries) if is_same(entry, each)), None)
        if known is None:
            entries.append(each)
        else:
            older, newer = sorted((entries[known], each), key=lambda entry: entry.at)
            keys = dict.fromkeys((*newer.keys, *older.keys))
            entries[known] = newer._replace(id=entries[known].id, keys=tuple(keys))
    all_ended_at = max(one.all_ended_at, other.all_ended_at)
    return Roster(tuple(entries), one.more or other.more, one.check_at, all_ended_at)


def is_same(one: Entry, other: Entry) -> bool:
    """Whether both are entries of one session."""
    return not set(one.keys).isdisjoint(other.keys)


def united(key: str, one: Record, other: Record, revision: int) -> Record:
    """Return a roster that lists what either of two records does that lie under this key in two stores."""
    roster, version = merged(opened(key, one), opened(key, other)), new_version(revision)
    expires_at = max(one.expires_at, other.expires_at)
    payload = sealed(key, roster, version, one.created_at)
    return Record(payload, version, one.created_at, expires_at)


def _written(
    store: Store, key: str, held: Record | None, roster: Roster, until: int, revision: int, along: Along
) -> Rule[bool]:
    """Write a roster in place of what was held under a revision. It counts under that one only: that there was none,
    when another store was in force, says nothing of now."""
    version, created_at = new_version(revision), now_ms() if held is None else held.created_at
    expires_at = storable_time(max(until + HEADROOM, 0 if held is None else held.expires_at))
    record = Record(sealed(key, roster, version, created_at), version, created_at, expires_at)
    listed = Saving(key, record, None if held is None else held.version)
    if along.keys:
        outcome = yield from _saved_after_ending(store, listed, along)
    elif along.session is not None:
        outcome, along.outcome = yield from call(store.save_both, listed, along.session)
    else:
        outcome = yield from _saved(store, listed)
    # A record that is created as a switch comes may lie where nobody looks, if another process has made one already in
    # the new store: what is new is brought there, but a roster has a name that others know.
    return outcome is Outcome.SAVED and (held is not None or store.revision() == revision_of(version))


def _saved(store: Store, listed: Saving) -> Rule[Outcome]:
    """What ``stores.base.saved`` does, as a rule: each verb is yielded."""
    key, record, expected, _ = listed
    if expected is not None:
        return (yield from call(store.replace, key, record, expected))
    return Outcome.SAVED if (yield from call(store.create, key, record)) else Outcome.CONFLICT


def _saved_after_ending(store: Store, listed: Saving, along: Along) -> Rule[Outcome]:
    key, record, expected, _ = listed
    until = now_ms() + KEPT
    try:  # where that fails, they may have been ended, and nobody would tell
        if expected is not None:
            return (yield from call(store.end_and_replace, along.keys, until, key, record, expected))
        for each, reason in along.keys.items():
            yield from call(store.end, each, until, reason)
    finally:
        along.done()
    return (yield from _saved(store, listed))


def ended(
    store: Store,
    owner: Owner,
    policy: Policy,
    chosen: Callable[[Entry], bool],
    reason: Reason,
    over: dict[str, Entry],
    *,
    at_once: bool = False,
) -> Rule[None]:
    """End the chosen sessions of a user, and take them off the roster; those that were live are put into ``over``, by
    their ids. ``at_once``: a login that was refused until now must not be completed, either.

    One that moves to a new key meanwhile has changed the roster: then both keys are ended. One that is taken off has
    been ended under each key that it could have, so it can't come back.
    """

    def change(roster: Roster) -> Rule[tuple[Roster, None]]:
        ending = [each for each in roster.entries if chosen(each)]
        found = yield from all_standing(store, owner, policy, ending)
        for each in found:
            yield from end_entry(store, each.entry, reason)
            if each.live:
                over[each.entry.id] = each.entry
        kept = tuple(each for each in roster.entries if not chosen(each))
        all_ended_at = now_ms() if at_once and policy.max_sessions != UNLIMITED else roster.all_ended_at
        return roster._replace(entries=kept, all_ended_at=all_ended_at), None

    yield from changed(store, owner, now_ms(), change)


def end_entry(store: Store, entry: Entry, reason: Reason) -> Rule[None]:
    for key in entry.keys:
        yield from call(store.end, key, now_ms() + KEPT, int(reason))
