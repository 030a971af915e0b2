"""In-Memory: a memory-mapped store, shared by all processes of this node.

A dictionary in the process would be faster and wrong: the next request goes to another worker. Live sessions are never
culled; expired ones are cleared a few at a time as new ones come.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self, TypeVar, TypeVarTuple

import lmdb
from django.conf import settings as django_settings

from sessionpersist import conf
from sessionpersist.exceptions import ForeignRecord, StoreMisconfigured, StoreUnavailable
from sessionpersist.stores.base import (
    PLACE,
    ROSTER,
    Check,
    Outcome,
    Probed,
    Record,
    Rotation,
    Saving,
    ended_record,
    new_place,
    note_foreign,
    now_ms,
    place_of,
)
from sessionpersist.stores.connecting import apart
from sessionpersist.stores.memory import folder, former
from sessionpersist.stores.memory.records import (
    LONGEST,
    decoded,
    encoded,
    head_of,
    is_live,
    with_expiry,
)
from sessionpersist.stores.memory.shared_map import (
    RESERVE,
    LetGo,
    SharedMap,
    Transaction,
    WriteInSignalHandler,
    let_go,
    shared_map,
)
from sessionpersist.stores.secret import secret_keys
from sessionpersist.stores.settings import MemorySettings
from sessionpersist.stores.texts import printable

FILE = "sessions.lmdb"
SAVED = Outcome.SAVED
PLACE_KEY, OF_ROSTERS = PLACE.encode(), ROSTER.encode()
BATCH = 100  # records that one clearing looks at, and one transaction deletes
PAGE = 100  # records that a scan reads at a time
PAGE_BYTES = 1024 * 1024  # after which a page ends: bounded memory
MANY = 1000  # records that a count looks at in one transaction
CLEAR_EVERY = 60.0  # seconds between the end of one clearing and the next, in a process
TRIES = 20  # at a map that is closed or outgrown at that very moment: by each fork of another thread, for one
FAILURES = (
    WriteInSignalHandler,
    lmdb.Error,
    sqlite3.Error,
    OSError,
    ArithmeticError,
    ValueError,
    TypeError,
    struct.error,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Found(NamedTuple):
    """A record of a page: its key, its head (None: it is foreign), and as much of its value as was asked for."""

    key: bytes
    head: tuple[int, int, int, int] | None
    value: bytes


class MemoryStore(Probed):
    blocks = False
    name = "In-Memory"

    def __init__(
        self, directory: Path, site: str, timeout: float, secrets: Sequence[str | bytes] = ()
    ) -> None:
        """``directory`` should be memory-backed; ``site`` tells this site's folder from another's of the same user;
        ``secrets`` are the secret keys of the site, the newest first."""
        self.newest, self.folder = folder.folders(directory, site, secrets)
        self.timeout = timeout
        self._map: SharedMap | None = None
        self._clear_at = time.monotonic() + CLEAR_EVERY
        self._cleared_to = b""

    @classmethod
    def of(cls, settings: MemorySettings) -> Self:
        return cls.inside(conf.memory_dir())

    @classmethod
    def inside(cls, directory: Path) -> Self:
        """Return the store of this site below a folder."""
        default = django_settings.DATABASES.get("default", {})
        names = [str(default.get(key, "")) for key in ("ENGINE", "NAME", "HOST", "PORT")]
        site = [conf.key_prefix(), str(getattr(django_settings, "ROOT_URLCONF", "")), *names]
        return cls(directory, "\0".join(site), conf.timeout_seconds(), secret_keys())

    def get(self, key: str) -> Record | None:
        value = self._asked(SharedMap.get, key.encode(), LONGEST)
        if value is None:
            return None
        try:
            record = decoded(value)
        except ForeignRecord:
            note_foreign(self.name)
            return None
        return record if record.expires_at > now_ms() else None

    def create(self, key: str, record: Record) -> bool:
        name, now, value = key.encode(), now_ms(), self._encoded(record)

        return self._added(
            lambda shared, transaction: created(shared, transaction, name, value, now), len(value), now
        )

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        name, now, value = key.encode(), now_ms(), self._encoded(record)

        return self._written(
            lambda shared, transaction: replaced(shared, transaction, name, value, expected, now)
        )

    def touch(self, key: str, expires_at: int) -> bool:
        name, now, until = key.encode(), now_ms(), int(expires_at)

        def change(shared: SharedMap, transaction: Transaction) -> bool:
            held = transaction.get(name)
            head = None if held is None else head_of(held)
            if held is None or head is None or not is_live(head, now):
                return False
            if head[2] < until:
                shared.put(transaction, name, with_expiry(held, until), held)
            return True

        return self._written(change)

    def delete(self, key: str, version: int | None = None) -> bool:
        name, now = key.encode(), now_ms()
        return self._written(lambda shared, transaction: delete_live(transaction, name, now, version))

    def end(self, key: str, expires_at: int, reason: int = 0) -> None:
        name, value = key.encode(), self._encoded(ended_record(expires_at, reason))
        self._written(lambda shared, transaction: transaction.put(name, value))

    def rotate(self, old_key: str, version: int | None, new_key: str, record: Record) -> Rotation:
        old, new, now, value = old_key.encode(), new_key.encode(), now_ms(), self._encoded(record)

        def change(shared: SharedMap, transaction: Transaction) -> Rotation:
            if not created(shared, transaction, new, value, now):
                return Rotation.TAKEN
            return Rotation.DONE if delete_live(transaction, old, now, version) else Rotation.LEFT

        return self._added(change, len(value), now)

    def end_and_replace(
        self, ended: Mapping[str, int], until: int, key: str, record: Record, expected: int
    ) -> Outcome:
        name, now, value = key.encode(), now_ms(), self._encoded(record)
        ends = {each.encode(): self._encoded(ended_record(until, why)) for each, why in ended.items()}

        def change(shared: SharedMap, transaction: Transaction) -> Outcome:
            for each, end in ends.items():
                transaction.put(each, end)
            return replaced(shared, transaction, name, value, expected, now)

        return self._written(change)

    def save_both(self, first: Saving, second: Saving) -> tuple[Outcome, Outcome | None]:
        now = now_ms()
        one, other = (
            (each.key.encode(), self._encoded(each.record), each.expected, each.old_key.encode())
            for each in (first, second)
        )

        def change(shared: SharedMap, transaction: Transaction) -> tuple[Outcome, Outcome | None]:
            outcome = saved(shared, transaction, now, *one)
            return outcome, saved(shared, transaction, now, *other) if outcome is Outcome.SAVED else None

        new = sum(len(value) for _, value, expected, old in (one, other) if old or expected is None)
        return self._added(change, new, now) if new else self._written(change)

    def clearing(self) -> Iterator[int]:
        self._asked(SharedMap.forget_the_dead)
        after = b""
        while page := self._page(after, BATCH):
            yield self._clear(page, now_ms())
            after = page[-1].key

    def scan(self) -> Iterator[tuple[str, Record | None]]:
        after = b""
        while page := self._page(after, PAGE, LONGEST):
            now = now_ms()
            for key, head, value in page:
                if head is None:
                    yield key.decode(errors="replace"), None
                elif head[2] > now:
                    yield key.decode(errors="replace"), decoded(value)
            after = page[-1].key

    def count(self, at_most: int | None = None, *, rosters: bool = False) -> int:
        total, after, now = 0, b"", now_ms()
        while (at_most is None or total < at_most) and (page := self._page(after, MANY)):
            total += sum(
                is_live(head, now) and (rosters or not key.startswith(OF_ROSTERS)) for key, head, _ in page
            )
            after = page[-1].key
        return total if at_most is None else min(total, at_most)

    def prepare(self) -> None:
        """Open the map, which makes all that it needs."""
        self._asked(lambda shared: None)

    def place(self) -> str | None:
        return place_of(self._asked(SharedMap.get, PLACE_KEY, LONGEST))

    def connection_checks(self) -> Iterable[Check]:
        yield "Open", self.prepare

    def close(self) -> None:
        """Close the map, which other stores of this process may have in use, too: they open it again."""
        self._map = None
        let_go(self.folder / FILE)

    def _added(self, change: Callable[[SharedMap, Transaction], T], size: int, now: int) -> T:
        """Have a function add a record to the map, which takes so many bytes; some that have expired make room."""
        if time.monotonic() > self._clear_at or not self._asked(SharedMap.has_room, size):
            self._clear_a_few(now)
        return self._written(change)

    def _written(self, change: Callable[[SharedMap, Transaction], T]) -> T:
        """Have a function change the map in one transaction."""
        return self._asked(SharedMap.write, change, time.monotonic() + self.timeout)

    def _asked(self, verb: Callable[[SharedMap, *Ts], T], *given: *Ts) -> T:
        try:
            for _ in range(TRIES):
                try:
                    return verb(self._opened(), *given)
                except LetGo:
                    pass  # by another thread, a moment ago
                except (lmdb.MapResizedError, lmdb.BadRslotError):
                    self.close()  # as it opens, it takes the size that another process needed
            raise TimeoutError
        except FAILURES as error:
            raise self._told(error) from error

    def _encoded(self, record: Record) -> bytes:
        try:
            return encoded(record)
        except FAILURES as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> Exception:
        """Return what to raise instead; a refusal of one write says nothing against reads."""
        if self._is_full(error):
            full = f"The In-Memory store in {self.folder} is full: there is no room left."
            return StoreUnavailable(full, answered=True)
        if isinstance(error, TimeoutError):
            return StoreUnavailable(
                f"The In-Memory store in {self.folder} is locked by another process, for {self.timeout:g} seconds now."
            )
        if isinstance(error, lmdb.LockError):
            return StoreMisconfigured(
                f"The In-Memory store in {self.folder} is in use by a process of another container with the number of "
                "this one, so the two can't tell each other's locks. Set SESSIONPERSIST['MEMORY_DIR'] to a folder of "
                "this container alone."
            )
        answered = not isinstance(error, lmdb.Error | sqlite3.Error | OSError)
        said = type(error).__name__ if answered else printable(error)  # it may quote a value
        return StoreUnavailable(f"The In-Memory store in {self.folder} failed: {said}.", answered=answered)

    def _is_full(self, error: Exception) -> bool:
        number = error.code if isinstance(error, lmdb.Error) else getattr(error, "errno", None)
        if number == errno.EIO:  # LMDB's word for a write of which only a part had room
            system = os.statvfs(self.folder)
            return system.f_bavail * system.f_frsize < RESERVE
        return number in (errno.ENOSPC, errno.EDQUOT) or isinstance(error, lmdb.MapFullError)

    def _opened(self) -> SharedMap:
        found = self._map
        if found is None or not found.is_current():
            give_up = time.monotonic() + self.timeout
            # For a coroutine in a thread: it waits for other processes with a lock in its hands.
            self._map = found = apart(partial(self._open, give_up), give_up)
        return found

    def _open(self, give_up: float) -> SharedMap:
        folder.make_private(self.folder, self.newest)
        opened = shared_map(self.folder / FILE, give_up, self._begin)
        former.forget(self.folder, self.timeout)
        return opened

    def _begin(self, transaction: Transaction) -> None:
        """Give a new map the id of its place, and what an older release has left in this folder."""
        if transaction.get(PLACE_KEY) is not None:
            return
        place = former.take(self.folder, self.timeout)
        if place is not None:
            for key, record in former.records(self.folder, self.timeout):
                transaction.put(key.encode(), encoded(record))
        transaction.put(PLACE_KEY, (place or new_place()).encode())

    def _page(self, after: bytes, most: int, size: int = 0) -> list[Found]:
        """Return some of the records after a key, with their values where these are not longer than ``size``."""

        def page(transaction: Transaction) -> list[Found]:
            found: list[Found] = []
            cursor, room = transaction.cursor(), PAGE_BYTES
            going = cursor.set_range(after + b"\0")
            while going and len(found) < most and room > 0:
                key, value = cursor.item()
                if key != PLACE_KEY:
                    found.append(
                        Found(bytes(key), head_of(value), bytes(value) if len(value) <= size else b"")
                    )
                    room -= len(found[-1].value)
                going = cursor.next()
            return found

        return self._asked(SharedMap.read, page)

    def _clear_a_few(self, now: int) -> None:
        """Clear what has expired among the next few records, from one end of the map to the other, and then rest.

        Each new record clears up to BATCH, so the file stays small. An index by expiry would make every write as
        expensive as two.
        """
        if not self._cleared_to:
            self._asked(SharedMap.forget_the_dead)
        page = self._page(self._cleared_to, BATCH)
        self._clear(page, now)
        self._cleared_to = page[-1].key if len(page) == BATCH else b""
        if not self._cleared_to:
            self._clear_at = time.monotonic() + CLEAR_EVERY

    def _clear(self, page: list[Found], now: int) -> int:
        """Delete those that have expired, all at once; one by one where there is no room for that."""
        names = [each.key for each in page if each.head is not None and each.head[2] <= now]
        if not names:
            return 0

        def delete(shared: SharedMap, transaction: Transaction) -> int:
            return sum(delete_expired(transaction, name, now) for name in names)

        try:
            return self._written(delete)
        except StoreUnavailable as error:
            if not error.answered or len(names) == 1:
                raise
        return sum(self._clear([each], now) for each in page)


def has_expired(value: memoryview, now: int) -> bool:
    """Return whether there is a record that has expired."""
    head = head_of(value)
    return head is not None and head[2] <= now


def created(shared: SharedMap, transaction: Transaction, name: bytes, value: bytes, now: int) -> bool:
    """Write a new record, unless there is one that has not expired."""
    held = transaction.get(name)
    if held is not None and not has_expired(held, now):
        return False
    shared.put(transaction, name, value, held)
    return True


def saved(
    shared: SharedMap,
    transaction: Transaction,
    now: int,
    name: bytes,
    value: bytes,
    expected: int | None,
    old: bytes,
) -> Outcome:
    """Save a record as it is to be. See Saving."""
    if expected is not None and not old:
        return replaced(shared, transaction, name, value, expected, now)
    if expected is not None and (outcome := outcome_of(transaction.get(old), expected, now)) is not SAVED:
        return outcome
    if not created(shared, transaction, name, value, now):
        return Outcome.CONFLICT
    if old:
        transaction.delete(old)
    return SAVED


def replaced(
    shared: SharedMap, transaction: Transaction, name: bytes, value: bytes, expected: int, now: int
) -> Outcome:
    """Write over a live record of the version that is expected."""
    held = transaction.get(name)
    outcome = outcome_of(held, expected, now)
    if outcome is SAVED:
        shared.put(transaction, name, value, held)
    return outcome


def outcome_of(held: memoryview | None, expected: int, now: int) -> Outcome:
    """Return what comes of a change of what is there, if that is to have a version."""
    head = None if held is None else head_of(held)
    if head is None or not is_live(head, now):
        return Outcome.MISSING
    return SAVED if head[0] == expected else Outcome.CONFLICT


def delete_live(transaction: Transaction, name: bytes, now: int, version: int | None) -> bool:
    """Delete a live record, of that version, if one is given; return whether it was there."""
    held = transaction.get(name)
    head = None if held is None else head_of(held)
    if head is None or not is_live(head, now) or version not in (None, head[0]):
        return False
    return bool(transaction.delete(name))


def delete_expired(transaction: Transaction, name: bytes, now: int) -> bool:
    held = transaction.get(name)
    return held is not None and has_expired(held, now) and transaction.delete(name)


def try_memory() -> None:
    """Open the In-Memory store, for a check. Where it is not there yet, one that is removed again is opened beside it:
    the first process that serves the site makes it.

    Raises StoreUnavailable or OSError.
    """
    directory = conf.memory_dir()
    store = MemoryStore.inside(directory)
    with ExitStack() as stack:
        if not os.path.lexists(store.newest):
            beside = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="sessionpersist-check-", dir=directory)
            )
            store = MemoryStore.inside(Path(beside))
        stack.callback(store.close)
        store.count(1)


def trouble_of_memory() -> str | None:
    """Say why this process can't use the In-Memory store, or None. Makes no folder that others are to make."""
    folder = conf.memory_dir()
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return f"The user of the site may not write to {folder}."
    if existing != folder:
        return (
            None  # whoever serves the site makes it: made here, by another user, it would be closed to them
        )
    try:
        try_memory()
    except (StoreUnavailable, OSError) as error:
        return str(error)
    return None
