"""The current store with draining ones behind it: the same contract.

During a handover a session is *found* in the current store or in a draining one, and *carried*: written to the
current store, then deleted where it was. Five rules make that safe; ``tests/handover`` explores their interleavings.

1. Nothing is carried while processes may still differ about which store is current (``hold``). Until then a session
   in a draining store is read where it is, and who wants to save it waits.
2. Of two copies the one of the later era is right: every write is stamped with the revision in force (see
   ``new_version``), and a carry is a write. In a store that was emptied since, what is older is a leftover.
3. A logout writes an ended record in the current store *before* it deletes at the sources, so it holds even where a
   source is down. An ended record ends every search, in whichever store it is met.
4. Who finds the session in no store looks once more: it may have been carried in between.
5. What was written under this view, or a later one, is never deleted at a source: it was written to the current store,
   so the two are one place under two names, and it is the only copy.

A source that is down is StoreUnavailable for every session that is not in the current store, never "no session".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sessionpersist.exceptions import SessionTooLarge, StoreUnavailable
from sessionpersist.stores.base import (
    ENDED,
    Drainable,
    Outcome,
    Record,
    Store,
    now_ms,
    restamped,
    revision_of,
)

ATTEMPTS = 25  # to carry a session that others change or carry at the same time

logger = logging.getLogger("sessionpersist")


@dataclass(frozen=True)
class Role:
    """A store's part in a handover.

    ``number`` is the revision under which it is current, or was last. ``floor`` is the oldest revision since it was
    last empty: what is older in it was forgotten there, and is not a session.
    """

    store: Drainable
    number: int
    floor: int

    def get(self, key: str) -> Record | None:
        """Return the record, unless it is a leftover."""
        record = self.store.get(key)
        return None if record is None or self.is_leftover(record) else record

    def is_leftover(self, record: Record) -> bool:
        return not record.ended and revision_of(record.version) < self.floor


Found = tuple[Role, Record]


class HandoverStore(Store):
    def __init__(
        self,
        current: Role,
        sources: Sequence[Role] = (),
        hold: Callable[[], bool] = lambda: False,
        longest_life: int = 14 * 86400 * 1000,
        in_transaction: Callable[[], bool] = lambda: False,
        look_outside: Callable[[Callable[[], Record | None]], Record | None] = lambda get: None,
        renamed: bool = False,
    ) -> None:
        """``sources`` are the draining stores, newest first, none of them the current one as far as this process knows.
        ``hold`` says whether processes may differ about which store is current. ``longest_life`` of a session is in
        milliseconds. ``renamed``: the current store was a draining one under another name, and other processes may
        still take it for that, so that logouts must leave their mark."""
        self.current, self.sources = current, tuple(sources)
        self.hold, self.longest_life = hold, longest_life
        self.unsettled = (
            bool(sources) or renamed
        )  # there may be sessions that don't bear the stamp of this view
        # What a view reads in a transaction that is rolled back would be gone from both stores: it moves later.
        self.in_transaction = in_transaction
        # And it may see its database as it was before somebody carried the session there: only a miss needs to care.
        self.look_outside = look_outside

    def get(self, key: str) -> Record | None:
        if not self.unsettled:
            return self.current.get(key)
        for _ in range(ATTEMPTS):
            found = self._locate(key)
            if found is None:
                return self.look_outside(lambda: self.get(key))
            role, record = found
            if record.ended or self._stays(role, record) or self.in_transaction():
                return record
            try:
                if carried := self._carry(key, role, record):
                    return carried
            except SessionTooLarge:
                return record  # the current store has no room for it: it stays where it is, and is read there
        raise StoreUnavailable("A session was being moved by others again and again.")

    def create(self, key: str, record: Record) -> bool:
        if self.current.store.create(key, record):
            return True
        held = self.current.store.get(key)
        if held is None or not self.current.is_leftover(held):
            return False
        return self.current.store.replace(key, record, held.version) is Outcome.SAVED

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        if not self.unsettled or revision_of(expected) >= self.current.number:
            outcome = self.current.store.replace(key, record, expected)
            if outcome is Outcome.SAVED or not self.unsettled:
                return outcome
        found = self._locate(key)
        if found is None or found[1].ended:
            return Outcome.MISSING
        if found[1].version != expected:
            return Outcome.CONFLICT
        return self._replace_found(key, record, found)

    def touch(self, key: str, expires_at: int) -> bool:
        if not self.unsettled:
            return self.current.store.touch(key, expires_at)
        if self.current.floor == self.current.number and self.current.store.touch(key, expires_at):
            return True
        for _ in range(ATTEMPTS):
            record = self.get(key)
            if record is None or record.ended:
                return False
            found = self._locate(key)
            if found is not None and found[0].store.touch(key, expires_at):
                return True  # else it was carried between the two
        raise StoreUnavailable("A session was being moved by others again and again.")

    def delete(self, key: str, version: int | None = None) -> bool:
        if not self.unsettled:
            return self.current.store.delete(key, version)
        if version is not None:
            return self._end_version(key, version)
        self.end(key, now_ms() + self.longest_life)
        return True

    def end(self, key: str, expires_at: int) -> None:
        self.current.store.end(key, expires_at)
        for source in self.sources:
            try:
                source.store.delete(key)
            except StoreUnavailable as error:
                # The ended record stands in the way of what lies there.
                logger.info(
                    "A session that was logged out could not be deleted in a draining store: %s", error
                )

    def clear_expired(self) -> int:
        return self.current.store.clear_expired()

    def close(self) -> None:
        for role in (self.current, *self.sources):
            role.store.close()

    def move_many(self, source: Role, batch: Mapping[str, Record]) -> int:
        """Bring records of a source over, for a drain; return how many live sessions were carried."""
        plain = self._plain(source, batch)
        moved = {
            key: record._replace(version=restamped(record.version, self.current.number))
            for key, record in plain.items()
        }
        created = self.current.store.create_many(moved) if moved else set()
        if created:
            for key in source.store.delete_many({key: plain[key].version for key in created}):
                self._clear_source(key, source, plain[key], moved[key])
        rest = (each for each in batch.items() if each[0] not in created)
        return len(created) + sum(self._move(key, source, record) for key, record in rest)

    def _plain(self, source: Role, batch: Mapping[str, Record]) -> dict[str, Record]:
        """Return the sessions that no other draining store knows: for these a carry is a create in the current store
        and a delete in this one, unless somebody interferes."""
        found = {
            key: record
            for key, record in batch.items()
            if not record.ended and not source.is_leftover(record) and self._is_of_source(record)
        }
        for other in self.sources:
            if other is not source and found:
                for key in other.store.get_many(found.keys()):
                    del found[key]
        return found

    def _move(self, key: str, source: Role, record: Record) -> bool:
        """Bring one record over in the way that a request would; True where it was a live session."""
        if record.ended:
            # It must go on standing in the way of what an older source may still hold, or the current store from
            # the last time that it was current.
            if source is not self.sources[-1] or self.current.floor < self.current.number:
                self.current.store.end(key, record.expires_at)
            return False
        if not self._is_of_source(record):
            return False
        # A leftover, too, is asked for: under another name of this place it may be a session.
        leftover, held = source.is_leftover(record), self.get(key)
        if held is None and not leftover:
            return False
        if held is not None and not held.ended and self._is_of_source(held):
            return False  # not carried: by now processes may differ about the current store
        source.store.delete(key, record.version)
        return held is not None and not held.ended and not leftover

    def _locate(self, key: str) -> Found | None:
        """Return the right copy of a session and where it is, or the ended record that says that there is none."""
        held = self.current.get(key)
        if held is not None and (held.ended or self._is_settled(self.current, held)):
            return self.current, held
        copies = [] if held is None else [(self.current, held)]
        for source in self.sources:
            record = source.get(key)
            if record is not None and record.ended:
                return source, record
            if record is not None:
                copies.append((source, record))
        if copies:
            return max(
                copies, key=lambda copy: revision_of(copy[1].version)
            )  # of equals the first: the newest store
        return self._locate_moved(key)

    def _locate_moved(self, key: str) -> Found | None:
        """Look once more for a session that was nowhere: it may have been carried from a store that had not been read
        to one that had. With each reading it is one store nearer to the current one."""
        roles = (self.current, *self.sources)
        for end in range(len(self.sources), 0, -1):
            for role in roles[:end]:
                record = role.get(key)
                if record is not None:
                    return role, record
        return None

    def _is_settled(self, role: Role, record: Record) -> bool:
        """Whether a record is where it belongs, so that no source needs to be asked."""
        if role is not self.current:
            return False
        return not self.unsettled or revision_of(record.version) >= self.current.number

    def _stays(self, role: Role, record: Record) -> bool:
        """Whether a record is not to be carried: it is where it belongs, or processes may differ about where that is,
        or it can't have been written at a source."""
        return self._is_settled(role, record) or not self._is_of_source(record) or self.hold()

    def _is_of_source(self, record: Record) -> bool:
        """Whether a record was written before this view began. What was written since went to the current store: read
        at a source, it says that the two are one place under two names. Or it was written under a later revision, which
        says that this view has passed."""
        return revision_of(record.version) < self.current.number

    def _carry(self, key: str, role: Role, record: Record) -> Record | None:
        """Move a live record into the current store and return it; None where somebody else came first."""
        moved = record._replace(version=restamped(record.version, self.current.number))
        if not self._put(key, role, record, moved):
            return None
        if role is self.current or self.in_transaction():
            # What is at the sources stays: a rollback takes back what was put, and the later of two copies counts.
            return moved
        for source in self.sources:
            cleared = self._clear_source(key, source, record, moved)
            if cleared is None:
                return None
            moved = cleared
        return moved

    def _put(self, key: str, role: Role, record: Record, moved: Record) -> bool:
        store = self.current.store
        if role is self.current:  # current once more: only its stamp is old
            return store.replace(key, moved, record.version) is Outcome.SAVED
        if store.create(key, moved):
            return True
        held = store.get(key)
        if held is None or held.ended or self._is_settled(self.current, held):
            return False
        if self.current.is_leftover(held) or revision_of(held.version) < revision_of(record.version):
            return store.replace(key, moved, held.version) is Outcome.SAVED
        return False

    def _clear_source(self, key: str, source: Role, record: Record, moved: Record) -> Record | None:
        """Delete what was carried at a source, and return the record as it is now in the current store; None where
        this view turns out to have passed.

        What a process that knows of no switch has saved there meanwhile comes along, unless somebody has already built
        on what was carried.
        """
        for _ in range(ATTEMPTS):
            if source.store.delete(key, record.version):
                break
            later = source.store.get(key)
            if later is None:
                break
            if later.ended:
                # Somebody was logged out as this was under way: so it is here, unless others have saved to it.
                self.current.store.replace(key, later, moved.version)
                return None
            if not self._is_of_source(later):
                return moved if revision_of(later.version) == self.current.number else None
            if not source.is_leftover(later) and revision_of(later.version) >= revision_of(record.version):
                brought = self._bring(key, later, record, moved)
                if brought is None:
                    break
                moved = brought
            record = later
        return moved

    def _bring(self, key: str, later: Record, record: Record, moved: Record) -> Record | None:
        """Have a later copy in the current store instead of the one that was moved; None where that has changed."""
        if later.payload == record.payload:  # only its expiry may be another; here it may have been moved too
            self.current.store.touch(key, later.expires_at)
            return moved
        again = later._replace(version=restamped(later.version, self.current.number))
        return again if self.current.store.replace(key, again, moved.version) is Outcome.SAVED else None

    def _replace_found(self, key: str, record: Record, found: Found) -> Outcome:
        """Save over a session that is not settled yet, after carrying it."""
        role, held = found
        if self._stays(role, held):
            return Outcome.CONFLICT  # the caller waits until it may be carried, reads, and saves again
        carried = self._carry(key, role, held)
        if carried is None or carried.payload != held.payload:  # else a later save came along with the carry
            return Outcome.CONFLICT
        return self.current.store.replace(key, record, carried.version)

    def _end_version(self, key: str, version: int) -> bool:
        found = self._locate(key)
        if found is None or found[1].version != version:
            return False
        role, record = found
        held: Record | None = record
        if not self._is_settled(role, record):
            held = None if self._stays(role, record) else self._carry(key, role, record)
        if held is None or held.payload != record.payload:
            return False
        # Copies that a carry was kept from deleting at the sources stay there: without a version that would be wrong
        # under a view that has passed. The ended record stands in their way.
        until = max(record.expires_at, now_ms() + self.longest_life)
        ended = Record(b"", ENDED, record.created_at, until)
        return self.current.store.replace(key, ended, held.version) is Outcome.SAVED
