"""What holds under one view: how a session is found, and how it is carried to the current store.

A session is found in the current place or in a draining one, and carried: written to the current place, then deleted
where it was. Six rules make that safe; ``tests/handover`` explores their interleavings.

1. Of two copies the one of the later era is right: every write is stamped with the revision in force (see
   ``new_version``), and a carry is a write. In a place that was emptied since, what is older is a leftover.
2. A logout writes an ended record in the current place before it deletes at the sources, so it holds even where a
   source is down. An ended record ends every search, in whichever place it is met.
3. A session that was found nowhere is looked for once more: it may have been carried in between.
4. What was written under this view, or a later one, is never deleted at a source: it was written to the current place,
   so the two are one place under two names, and it is the only copy.
5. What was written before everybody was last logged out (the ``floor`` of a view) is no session, in whichever place.
   Nothing is written over it or made out of it, and no write may have an older stamp than what it replaces.
6. A source that is down is StoreUnavailable for every session that is not in the current place, never "no session".

When an answer counts is said in ``rules.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sessionpersist.exceptions import SessionTooLarge, StoreUnavailable
from sessionpersist.handover.driving import Outside, Rule, call
from sessionpersist.session.reasons import Reason
from sessionpersist.stores.base import (
    ENDED,
    INITIAL,
    RANDOM_BITS,
    Drainable,
    Outcome,
    Record,
    ended_record,
    now_ms,
    restamped,
    revision_of,
)
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import LEFT_BEHIND

ATTEMPTS = 25  # to carry a session that others change or carry at the same time
BUSY = "A session was being moved by others again and again."


@dataclass(frozen=True)
class Place:
    """A place in a handover: where the records of one revision, or of several, really lie.

    ``number`` is the revision under which it is current, or was last. ``floor`` is the oldest revision since it was
    last empty: what is older in it was forgotten there, and is not a session.
    """

    store: Drainable
    number: int
    floor: int

    def is_leftover(self, record: Record) -> bool:
        return not record.ended and revision_of(record.version) < self.floor

    def get(self, key: str) -> Rule[Record | None]:
        """Return the record, unless it is a leftover."""
        record = yield from call(self.store.get, key)
        return None if record is None or self.is_leftover(record) else record

    def create(self, key: str, record: Record) -> Rule[bool]:
        """Write a new record, over a leftover too."""
        if (yield from call(self.store.create, key, record)):
            return True
        held = yield from call(self.store.get, key)
        if held is None or not self.is_leftover(held):
            return False
        return (yield from self.replace(key, record, held.version)) is Outcome.SAVED

    def replace(self, key: str, record: Record, expected: int) -> Rule[Outcome]:
        return call(self.store.replace, key, record, expected)

    def touch(self, key: str, expires_at: int) -> Rule[bool]:
        return call(self.store.touch, key, expires_at)

    def delete(self, key: str, version: int | None = None) -> Rule[bool]:
        return call(self.store.delete, key, version)

    def end(self, key: str, expires_at: int, reason: int = 0) -> Rule[None]:
        return call(self.store.end, key, expires_at, reason)


class Found(NamedTuple):
    """The right copy of a session and where it is, or the ended record that says that there is none."""

    place: Place
    record: Record


class View(ABC):
    """What a process holds to be in force as it begins an operation: the current place, and those that drain into it.

    Its verbs are those of a store, as rules.
    """

    ended: frozenset[str] = frozenset()  # sessions that were logged out while their store did not answer
    mixed = False  # whether nodes of 0.2.0 serve the site, too, to whom an ended record with a reason is none
    # Between these times of the monotonic clock nothing drains, no switch is near, and what is known is fresh.
    steady_from = steady_until = 0.0

    def __init__(
        self,
        current: Place,
        sources: Sequence[Place] = (),
        *,
        longest_life: int = 14 * 86400 * 1000,
        renamed: bool = False,
        floor: int = INITIAL,
    ) -> None:
        """``sources`` are the draining places, newest first. ``longest_life`` of a session is in milliseconds.
        ``renamed``: the current place was a draining one under another name, and other processes may still take it for
        that, so that logouts must leave their mark. ``floor`` is the revision with which everybody was last logged
        out."""
        self.current, self.sources, self.longest_life = current, tuple(sources), longest_life
        self.number, self.floor = current.number, floor
        self.oldest = max(current.floor << RANDOM_BITS, ENDED + 1)  # a lesser version is a leftover, or ended
        # Whether there may be sessions that don't bear the stamp of this view.
        self.unsettled = bool(sources) or renamed

    @property
    @abstractmethod
    def stale(self) -> bool:
        """Whether the configuration could not be read for so long that another revision may be in force."""

    @abstractmethod
    def undecided(self) -> float:
        """Seconds until all processes agree on the revision; 0 away from an activation."""

    def in_transaction(self) -> bool:
        """Whether what is written to the current store may be rolled back."""
        return False

    def locks_others_out(self) -> bool:
        """Whether others would have to wait for what is written to the current store, until a transaction ends."""
        return False

    def may_see_the_past(self) -> bool:
        """Whether this thread may see the current store as it was before somebody carried a session there."""
        return False

    def get(self, key: str) -> Rule[Record | None]:
        """Return the record, after carrying it. One that is only read in a transaction stays where it is: rolled back,
        it would be gone from both places. So does one that the current store has no room for."""
        if not self.unsettled:
            record = yield from self.current.get(key)
            return record or (yield from self.forgotten(key))
        for _ in range(ATTEMPTS):
            found = yield from self.locate(key)
            if found is None and self.may_see_the_past():
                seen: Record | None = yield Outside(self.get(key))
                return seen
            if found is None:
                return (yield from self.forgotten(key))
            if found.record.ended or self.stays(found) or self.in_transaction():
                return found.record
            try:
                carried = yield from self.carry(key, found)
            except SessionTooLarge:
                return found.record
            if carried:
                return carried
        raise StoreUnavailable(BUSY)

    def forgets(self, version: int) -> bool:
        """Whether a record of that version was written before everybody was last logged out. It is no session any more:
        nothing may be made out of what was read of it."""
        return version != ENDED and revision_of(version) < self.floor

    def forgotten(self, key: str) -> Rule[Record | None]:
        """Return an ended record in place of a session that was found nowhere, where everybody was logged out with it;
        its user is told so."""
        held = (yield from call(self.current.store.get, key)) if self.floor else None
        if held is None or not self.forgets(held.version):
            return None
        return ended_record(held.expires_at, Reason.EVERYBODY)

    def replace(self, key: str, record: Record, expected: int) -> Rule[Outcome]:
        """Save over a session, after carrying it. A conflict where it can't be carried yet, or changed on the way."""
        if self.forgets(expected):
            return Outcome.MISSING
        if not self.unsettled or revision_of(expected) >= self.number:
            outcome = yield from self.current.replace(key, record, expected)
            if outcome is Outcome.SAVED or not self.unsettled:
                return outcome
        found = yield from self.locate(key)
        if found is None or found.record.ended:
            return Outcome.MISSING
        held = (yield from self._held(key, found)) if found.record.version == expected else None
        if held is None:
            return Outcome.CONFLICT
        return (yield from self.current.replace(key, record, held.version))

    def touch(self, key: str, expires_at: int) -> Rule[bool]:
        # In a place that is not entered for the first time a copy may lie that is not the right one.
        if not self.unsettled or self.current.floor == self.number:
            touched = yield from self.current.touch(key, expires_at)
            if touched or not self.unsettled:
                return touched
        for _ in range(ATTEMPTS):
            record = yield from self.get(key)
            if record is None or record.ended:
                return False
            found = yield from self.locate(key)
            if found is not None and (yield from found.place.touch(key, expires_at)):
                return True  # else it was carried between the two
        raise StoreUnavailable(BUSY)

    def delete(self, key: str, version: int | None = None) -> Rule[bool]:
        """Delete a session; where any may lie elsewhere, leave an ended record in its place."""
        if not self.unsettled:
            return (yield from self.current.delete(key, version))
        if version is not None:
            return (yield from self._end_version(key, version))
        yield from self.end(key, self.holding(0))
        return True

    def holding(self, expires_at: int) -> int:
        """Until when an ended record has to stay: where the session may lie elsewhere, for as long as it could live."""
        return max(expires_at, now_ms() + self.longest_life) if self.unsettled else expires_at

    def end(self, key: str, expires_at: int, reason: int = 0) -> Rule[None]:
        """Leave an ended record in place of a session."""
        yield from self.current.end(key, expires_at, 0 if self.mixed else reason)
        for source in self.sources:
            try:
                yield from source.delete(key)
            except StoreUnavailable as error:
                # The ended record stands in the way of what lies there.
                lines.say(
                    LEFT_BEHIND,
                    f"A session that was logged out could not be deleted in a draining store: {error}",
                )

    def _end_version(self, key: str, version: int) -> Rule[bool]:
        """Copies that a carry was kept from deleting at the sources stay there: without a version that would be wrong
        under a view that has passed. The ended record stands in their way."""
        found = yield from self.locate(key)
        if found is None or found.record.version != version:
            return False
        held = yield from self._held(key, found)
        if held is None:
            return False
        until = max(found.record.expires_at, now_ms() + self.longest_life)
        ended = Record(b"", ENDED, found.record.created_at, until)
        return (yield from self.current.replace(key, ended, held.version)) is Outcome.SAVED

    def _held(self, key: str, found: Found) -> Rule[Record | None]:
        """Return a session as it is in the current place, after carrying it; None where it can't be had as it was."""
        if self.is_settled(found):
            return found.record
        carried = None if self.stays(found) else (yield from self.carry(key, found))
        return carried if carried is not None and carried.payload == found.record.payload else None

    def locate(self, key: str) -> Rule[Found | None]:
        """Return the right copy of a session and where it is, or the ended record that says that there is none."""
        copies: list[Found] = []
        for place in (self.current, *self.sources):
            record = yield from place.get(key)
            if record is not None:
                found = Found(place, record)
                if record.ended or self.is_settled(found):
                    return found
                copies.append(found)
        if copies:
            # Of equals the first: the newest place.
            return max(copies, key=lambda copy: revision_of(copy.record.version))
        return (yield from self.locate_moved(key))

    def locate_moved(self, key: str) -> Rule[Found | None]:
        """Look once more for a session that was nowhere: it may have been carried from a place that had not been read
        to one that had. With each reading it is one place nearer to the current one."""
        places = (self.current, *self.sources)
        for end in range(len(self.sources), 0, -1):
            for place in places[:end]:
                record = yield from place.get(key)
                if record is not None:
                    return Found(place, record)
        return None

    def is_settled(self, found: Found) -> bool:
        """Whether a record is where it belongs, so that no source needs to be asked."""
        return found.place is self.current and revision_of(found.record.version) >= self.number

    def is_of_source(self, record: Record) -> bool:
        """Whether a record was written before this view began. What was written since went to the current place: read
        at a source, it says that the two are one place under two names. Or it was written under a later revision, which
        says that this view has passed."""
        return revision_of(record.version) < self.number

    def stays(self, found: Found) -> bool:
        """Whether a record is not to be carried: it is where it belongs, or can't have been written at a source."""
        return self.is_settled(found) or not self.is_of_source(found.record)

    def carry(self, key: str, found: Found) -> Rule[Record | None]:
        """Move a live record to the current place and return it; None where somebody else came first."""
        moved = found.record._replace(version=restamped(found.record.version, self.number))
        if not (yield from self.put(key, found, moved)):
            return None
        if found.place is self.current or self.in_transaction():
            # What is at the sources stays: a rollback takes back what was put, and the later of two copies counts.
            return moved
        for source in self.sources:
            cleared = yield from self.clear_source(key, source, found.record, moved)
            if cleared is None:
                return None
            moved = cleared
        return moved

    def put(self, key: str, found: Found, moved: Record) -> Rule[bool]:
        if found.place is self.current:  # current once more: only its stamp is old
            return (yield from self.current.replace(key, moved, found.record.version)) is Outcome.SAVED
        if (yield from self.current.create(key, moved)):
            return True
        held = yield from self.current.get(key)
        if held is None or held.ended or revision_of(held.version) >= revision_of(found.record.version):
            return False
        return (yield from self.current.replace(key, moved, held.version)) is Outcome.SAVED

    def clear_source(self, key: str, source: Place, record: Record, moved: Record) -> Rule[Record | None]:
        """Delete what was carried at a source, and return the record as it is now in the current place; None where
        this view turns out to have passed.

        What a process that knows of no switch has saved there meanwhile comes along, unless somebody has already built
        on what was carried.
        """
        for _ in range(ATTEMPTS):
            if (yield from source.delete(key, record.version)):
                break
            later = yield from call(source.store.get, key)
            if later is None:
                break
            if later.ended:
                # Somebody was logged out as this was under way: so it is here, unless others have saved to it.
                yield from self.current.replace(key, later, moved.version)
                return None
            if not self.is_of_source(later):
                return moved if revision_of(later.version) == self.number else None
            if revision_of(later.version) >= max(source.floor, revision_of(record.version)):
                merged = yield from self.bring_along(key, later, moved)
                if merged is None:
                    break
                moved = merged
            record = later
        return moved

    def bring_along(self, key: str, later: Record, moved: Record) -> Rule[Record | None]:
        """Have what a source holds by now in the current place, where ``moved`` was put; return what is there then, or
        None where somebody has already built on it, or ended it."""
        if self.is_same_write(later, moved):
            # A copy that was carried to the source. Somebody may have touched the one in the current place, and a touch
            # doesn't change the version: written over, it would be lost.
            if not (yield from self.current.touch(key, later.expires_at)):
                return None
            return moved._replace(expires_at=max(moved.expires_at, later.expires_at))
        again = later._replace(version=restamped(later.version, self.number))
        saved = (yield from self.current.replace(key, again, moved.version)) is Outcome.SAVED
        return again if saved else None

    def is_same_write(self, one: Record, other: Record) -> bool:
        """Whether both are copies of one save. They may still differ in how long they live, as a touch is no save."""
        return one.payload == other.payload
