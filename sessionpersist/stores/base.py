"""The contract of a store, in words and in types.

A store keeps records by their stored key and knows nothing else: not Django's sessions, not what a payload means, not
another store. Its answers are plain: a record or None, True or False, an Outcome. Each of them is a fact that the
store has vouched for. Whatever else happens is a StoreUnavailable (or StoreMisconfigured), raised with the driver's
error as its cause: "I could not look" is never told as "there is nothing".

- *Absent* and *expired* are the same to a caller; expiry is judged at every read, whatever the server does by itself.
- An *ended* record marks a session that somebody has ended, while its record may still lie in another store or its
  user is to be told why. Its version is ``ENDED``, and its payload at most one byte, the reason. It can be read, and
  blocks its key: it can't be replaced, touched, deleted or created over.
- A *version* is a token, new at every write (see ``new_version``); to a store it means nothing but "the same" or not.
- Each verb that a request uses is one round trip and atomic on the server. Check-then-act is a bug.

All times are Unix times in whole milliseconds.
"""

from __future__ import annotations

import enum
import os
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from sessionpersist.awaiting import in_loop, sleep
from sessionpersist.exceptions import ForeignRecord, SessionTooLarge
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import RECORD_FOREIGN

# A session must be able to move to any of the stores. The tightest is MariaDB as it comes, with a max_allowed_packet of
# 16 MiB, through PyMySQL, which writes bytes in hexadecimal. A MongoDB document takes 16 MiB.
MAX_PAYLOAD_BYTES = 7 * 1024 * 1024
LONGEST_USER_ID = 255  # characters
LIMIT = 2**63  # versions and times fit into a signed 64-bit integer
NEVER = LIMIT - 1  # as a time: when what does not expire expires
LATEST = 253_402_300_799_999  # as a time: the end of the year 9999, the last that a date can name
ENDED = 0  # the version of an ended record
INITIAL = 0  # the number of the revision that is in force before anybody has saved one
# The name of the record that carries the id of a place: no session has it, as a stored key has 64 characters.
PLACE = "place"
# What the stored key of a roster begins with (see roster/records.py): a session's is hexadecimal. Stores move it about
# like any record, and only leave it out when they count sessions.
ROSTER = "r"
AFTER_ROSTERS = "s"  # the first of what comes after them, in the order of keys
PLACE_ID = re.compile("[0-9a-f]{32}")
RANDOM_BITS = 40  # of a version; with the revision in front it fits the signed 64-bit integers of every store
COPY_BITS = 8  # of those, the last ones: drawn again where a record is carried as it is
TOKEN = (1 << RANDOM_BITS - COPY_BITS) - 1  # the bits of a token


def now_ms() -> int:
    """This node's clock, in milliseconds."""
    return time.time_ns() // 1_000_000


def storable_time(milliseconds: float) -> int:
    """Return a time as every store can keep it: whole milliseconds, from 0 to the year 9999."""
    return int(min(max(milliseconds, 0), LATEST))


def new_version(revision: int = INITIAL) -> int:
    """Return the version of a new write: the number of the revision in force, then 40 random bits (not all 0).

    Random, for two stores that count would reach the same number with different content. The revision says in which
    era of the site a record was written: during a handover the copy of the later era is the right one, and a record
    from before a store was last emptied is none. Revisions are numbered up to 2**23.
    """
    return revision << RANDOM_BITS | (int.from_bytes(os.urandom(RANDOM_BITS // 8)) or 1)


def restamped(version: int, revision: int) -> int:
    """Return the version of a record that is carried, as written under another revision: another one than that of any
    other carry, most likely, and with the token that is sealed with the payload."""
    return revision << RANDOM_BITS | token_of(version) << COPY_BITS | os.urandom(1)[0]


def token_of(version: int) -> int:
    """Return what stays of a version wherever its record is carried: 32 random bits."""
    return version >> COPY_BITS & TOKEN


def revision_of(version: int) -> int:
    """Return the number of the revision under which a version was written."""
    return version >> RANDOM_BITS


class Record(NamedTuple):
    """One session as a store keeps it."""

    payload: bytes
    version: int
    created_at: int
    expires_at: int
    user_id: str = ""

    @property
    def ended(self) -> bool:
        """True for a session that was ended, and is kept for a while to say so."""
        return self.version == ENDED

    @property
    def reason(self) -> int:
        """Why an ended record was ended: a number from 0 (nobody has said) to 255. It means nothing to a store."""
        return self.payload[0] if self.ended and self.payload else 0


def ended_record(expires_at: int, reason: int = 0) -> Record:
    """Return what ``Store.end`` writes."""
    return Record(bytes([reason] if reason else []), ENDED, now_ms(), expires_at)


def validated(
    payload: object, version: object, created_at: object, expires_at: object, user_id: object
) -> Record:
    """Return the record of what a store has read: the one way in which any of them makes one.

    Raises ForeignRecord for values of another type or out of range, which this app has not written.
    """
    if (
        type(payload) is bytes
        and type(version) is int
        and type(created_at) is int
        and type(expires_at) is int
        and type(user_id) is str
        and 0 <= version < LIMIT
        and 0 <= created_at < LIMIT
        and 0 <= expires_at < LIMIT
        and len(payload) <= MAX_PAYLOAD_BYTES
        and len(user_id) <= LONGEST_USER_ID
    ):
        return Record(payload, version, created_at, expires_at, user_id)
    raise ForeignRecord("Under this key lies something that is not a session.")


def note_foreign(label: str) -> None:
    """Say in the log that a read has met a foreign record; without its key and its value."""
    lines.say(
        RECORD_FOREIGN,
        f"What lies in {label} under the key of a session is not a session: it is passed over.",
        store=label,
    )


class Outcome(enum.Enum):
    """What became of a replace."""

    SAVED = "the record is now the new one"
    CONFLICT = "the record has another version: read it, merge, try again"
    MISSING = "there is no live record: absent, expired or ended"


class Rotation(enum.Enum):
    """What became of a rotate."""

    DONE = "the new record is there, and nothing is left of the old one"
    LEFT = "the new record is there; under the old key was another version, or no live record, and stays as it was"
    TAKEN = "the new key is taken, by a live or by an ended record, and nothing was changed"


class Saving(NamedTuple):
    """A record that is to be saved: over the version that is ``expected`` there, or as a new one (None).

    With an ``old_key`` it takes the place of the version that is expected under that one, as a session does that moves
    to a new key: it is saved as a new one, and the other is deleted. Only as the second of ``Store.save_both``.
    """

    key: str
    record: Record
    expected: int | None
    old_key: str = ""


# A check is its name and what to run; it returns a remark, or None, and raises StoreUnavailable where it fails.
Check = tuple[str, Callable[[], "str | None"]]


class Store(ABC):
    """What a request asks of a store. See the module's text for what every answer means.

    ``blocks``: it holds up the thread that asks it, so an event loop has another thread ask. One that waits by the
    functions of ``awaiting`` only, or for microseconds, does not.
    """

    blocks = True

    @abstractmethod
    def get(self, key: str) -> Record | None:
        """Return the record, which may be an ended one; None where it is absent or expired."""

    @abstractmethod
    def create(self, key: str, record: Record) -> bool:
        """Write a new record. False: the key is taken, by a live or by an ended record, and nothing was written."""

    @abstractmethod
    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        """Write over the whole record whose version is ``expected``."""

    @abstractmethod
    def touch(self, key: str, expires_at: int) -> bool:
        """Move the expiry forward, never back. False: absent or ended."""

    @abstractmethod
    def delete(self, key: str, version: int | None = None) -> bool:
        """Delete a live record; with a version, only if it is still that one. False: nothing was deleted."""

    @abstractmethod
    def end(self, key: str, expires_at: int, reason: int = 0) -> None:
        """Write an ended record, whatever was there, with a reason from 0 to 255 (see ``Record.reason``)."""

    def rotate(self, old_key: str, version: int | None, new_key: str, record: Record) -> Rotation:
        """Move a session to a new key, as a login does: create the new record, then delete the one under the old key,
        if it still has that version (None: any).

        A store does both in one exchange where its server can, and then both or neither. Where it can't, as here, the
        new record is there first: whoever is killed in between leaves two, and loses none.
        """
        if not self.create(new_key, record):
            return Rotation.TAKEN
        return Rotation.DONE if self.delete(old_key, version) else Rotation.LEFT

    def end_and_replace(
        self, ended: Mapping[str, int], until: int, key: str, record: Record, expected: int
    ) -> Outcome:
        """End sessions, each for its reason, and then write over another record as ``replace`` does: whom a login ends,
        and the list of the user's sessions. They are ended whatever comes of the rest.

        In one exchange where the server can do that; here, one after the other.
        """
        for each, reason in ended.items():
            self.end(each, until, reason)
        return self.replace(key, record, expected)

    def save_both(self, first: Saving, second: Saving) -> tuple[Outcome, Outcome | None]:
        """Save a record and, if that is SAVED, another one with the same exchange, where the server can do that: the
        list of a user's sessions, and the session that logs in. See ``saved``.

        The outcome of the second is None where it was left alone, as here.
        """
        return saved(self, first), None

    @abstractmethod
    def close(self) -> None:
        """Give the connections back. The store may be used again; it then opens new ones."""


class Savable(Protocol):
    def create(self, key: str, record: Record) -> bool: ...
    def replace(self, key: str, record: Record, expected: int) -> Outcome: ...


def saved(store: Savable, saving: Saving) -> Outcome:
    """Create or replace a record. That the key of a new one is taken is a conflict."""
    key, record, expected, old_key = saving
    assert not old_key
    if expected is not None:
        return store.replace(key, record, expected)
    return Outcome.SAVED if store.create(key, record) else Outcome.CONFLICT


class Drainable(Store):
    """A store that a drain can empty or fill, many records at a time and in bounded memory."""

    def clearing(self) -> Iterator[int]:
        """Delete expired records, and yield after each small batch how many those were; whoever asks may stop there.
        There are no batches where the server does it by itself."""
        return iter(())

    def clear_expired(self) -> int:
        """Delete all expired records and return how many; 0 where the server does it by itself."""
        total = 0
        for cleared in self.clearing():
            total += cleared
            if in_loop():
                sleep(0)  # others have their turn between two batches
        return total

    @abstractmethod
    def scan(self) -> Iterator[tuple[str, Record | None]]:
        """Yield every record that has not expired, ended ones too, in bounded memory; None for a foreign record.

        Records that are written or deleted meanwhile may be among them or not.
        """

    @abstractmethod
    def count(self, at_most: int | None = None, *, rosters: bool = False) -> int:
        """Return how many live sessions there are, or records with ``rosters``; ``at_most``: stop counting there."""

    def get_many(self, keys: Collection[str]) -> dict[str, Record]:
        """Return the records of several keys; absent and expired ones are not among them."""
        return {key: record for key in keys if (record := self.get(key)) is not None}

    def create_many(self, records: Mapping[str, Record]) -> set[str]:
        """Create several and return the keys that were created. Each is atomic, not all together."""
        return {key for key, record in records.items() if self.create(key, record)}

    def delete_many(self, versions: Mapping[str, int]) -> set[str]:
        """Delete those that still have the given version, and return the keys that hold another record by now.

        A key that holds nothing may be among them.
        """
        return {key for key, version in versions.items() if not self.delete(key, version)}


class Probed(Drainable):
    """A store that staff can try, and that can prepare its server: what is asked for by the page and the commands.

    Every store has the same skeleton: ``of``, the methods of Store, Drainable and Probed in this order, then ``close``,
    then its helpers.
    """

    name: ClassVar[str]  # what staff call it: the ``label`` of its settings

    @classmethod
    @abstractmethod
    def of(cls, settings: Any) -> Self:
        """Return the store of these settings, which are of the class that names this store, for this site.

        Nothing is connected yet. Raises StoreMisconfigured.
        """

    @abstractmethod
    def prepare(self) -> None:
        """Make what the store needs on its server (a table, an index, the id of the place) where it is missing.

        Safe to repeat, and for several at a time. A store may be in force before anybody has called this (a
        configuration can be saved without a probe): then a read finds nothing, and the first write of a process makes
        what records need. ``place`` and ``missing`` only look. A server that is gone is StoreUnavailable all the same.
        """

    @abstractmethod
    def place(self) -> str | None:
        """Return the id of the place where the records lie (see ``new_place``); None where ``prepare`` has made none.

        The same id is the same place, whatever it is called: a replica and a backup keep it.
        """

    @abstractmethod
    def connection_checks(self) -> Iterable[Check]:
        """Yield the checks that lead to a working connection, in order; each assumes those before it."""

    def missing(self) -> str | None:
        """Say in a sentence what ``prepare`` would have to make, or return None."""
        return None

    def rehearsal(self) -> AbstractContextManager[bool]:
        """Have the verbs work before ``prepare`` has run, and leave nothing behind; yield whether they can be tried."""
        return nullcontext(self.missing() is None)

    def warnings(self) -> Iterable[str]:
        """Yield what staff should know about a store that works: evicts live keys, keeps nothing on restart, ..."""
        return ()


def is_roster(key: str) -> bool:
    """Return whether a record is the roster of a user, by its stored key."""
    return key.startswith(ROSTER)


def new_place() -> str:
    """Return an id for a place: 32 hexadecimal digits, at random."""
    return secrets.token_hex(16)


def place_of(found: object) -> str | None:
    """Return the id of a place out of what a store has read (text or bytes); None for anything else."""
    text = found.decode("ascii", "replace") if isinstance(found, bytes) else found
    return text if isinstance(text, str) and PLACE_ID.fullmatch(text) else None


def check_size(payload: bytes) -> None:
    """Raise SessionTooLarge where a payload does not fit into every store."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise SessionTooLarge(
            f"The session takes {len(payload):,} bytes; a store keeps at most {MAX_PAYLOAD_BYTES:,}. "
            "Keep large data elsewhere and a reference to it in the session."
        )
