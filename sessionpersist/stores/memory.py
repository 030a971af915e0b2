"""In-Memory: the memory of this node, shared by all its worker processes.

SQLite on a memory-backed file system. A dictionary in the process would be faster and wrong: the next request goes to
another worker. Live sessions are never culled; expired ones are cleared a few at a time as new ones come.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import shutil
import sqlite3
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from operator import attrgetter
from pathlib import Path
from typing import Any, Self, TypeVar

from django.conf import settings as django_settings

from sessionpersist import conf, forks
from sessionpersist.exceptions import ForeignRecord, SessionTooLarge, StoreMisconfigured, StoreUnavailable
from sessionpersist.stores.base import (
    ENDED,
    PLACE,
    Check,
    Outcome,
    Probed,
    Record,
    ended_record,
    note_foreign,
    now_ms,
    place_of,
)
from sessionpersist.stores.secret import SecretBytes, secret_keys
from sessionpersist.stores.settings import MemorySettings
from sessionpersist.stores.sql import (
    BATCH,
    EVERY,
    a_place,
    page_of,
    record_of_row,
    statements,
    values_of,
)
from sessionpersist.stores.texts import printable

SQL = statements("session", "?", "sqlite")
TABLE = """CREATE TABLE IF NOT EXISTS session (
    stored_key TEXT PRIMARY KEY, payload BLOB NOT NULL, version INTEGER NOT NULL,
    created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, user_id TEXT NOT NULL) WITHOUT ROWID"""
INDEX = "CREATE INDEX IF NOT EXISTS session_expires_at ON session (expires_at)"
POINTER = "older-name"  # a file in the folder of the newest key: the name of the folder that is in use
CLEAR_EVERY = 60.0  # seconds between two clearings by one process, once nothing is left to clear
RETRY_PAUSE = 0.01  # seconds
AT_ONCE = float("-inf")  # on the monotonic clock: a moment that has passed
ROWCOUNT: Callable[[sqlite3.Cursor], int] = attrgetter("rowcount")

T = TypeVar("T")


class MemoryStore(Probed):
    name = "In-Memory"

    def __init__(
        self, directory: Path, site: str, timeout: float, secrets: Sequence[str | bytes] = ()
    ) -> None:
        """``directory`` should be memory-backed; ``site`` tells this site's file from another's of the same user.

        The name of the folder is made of ``secrets``, the secret keys of the site, the newest first, so that no other
        user of the machine can make it beforehand. One under the name of an older key, or under that of version 0.2.0,
        which was made of none, goes on being used for as long as it is there: so do processes that still go by it. The
        folder of the newest key then only names it, for the day when the older key is no longer known.
        """
        names = [*(secret_name(site, secret) for secret in secrets), plain_name(site)]
        newest, *former = (directory / f"sessionpersist-{os.getuid()}-{name}" for name in names)
        known = newest if os.path.lexists(newest) else next(filter(is_private, former), newest)
        self.newest, self.folder = newest, named_in(known)
        self.timeout = timeout
        self._local = threading.local()
        self._clear_at = time.monotonic() + CLEAR_EVERY

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
        try:
            row = self._row(SQL.get, key, now_ms())
            return record_of_row(row) if row else None
        except ForeignRecord:
            note_foreign(self.name)
            return None

    def create(self, key: str, record: Record) -> bool:
        now = now_ms()
        created = self._changed(SQL.create, key, *values_of(record), now) == 1
        if time.monotonic() > self._clear_at:
            self._clear_at = time.monotonic() + CLEAR_EVERY
            if self._changed(SQL.clear, now) >= BATCH:
                self._clear_at = (
                    AT_ONCE  # more may be left: the next one goes on, so that the file stays small
                )
        return created

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        now, new = now_ms(), values_of(record)
        if expected != ENDED and self._changed(SQL.replace, *new, key, now, expected):
            return Outcome.SAVED
        return Outcome.CONFLICT if self._row(SQL.held, key, now) else Outcome.MISSING

    def touch(self, key: str, expires_at: int) -> bool:
        until = int(expires_at)
        return self._changed(SQL.touch, until, until, key, now_ms()) == 1

    def delete(self, key: str, version: int | None = None) -> bool:
        if version is None:
            return self._changed(SQL.delete, key, now_ms()) == 1
        return version != ENDED and self._changed(SQL.delete_version, key, now_ms(), version) == 1

    def end(self, key: str, expires_at: int, reason: int = 0) -> None:
        self._changed(SQL.end, key, *values_of(ended_record(expires_at, reason)))

    def clear_expired(self) -> int:
        total = 0
        while cleared := self._changed(SQL.clear, now_ms()):
            total += cleared
        return total

    def scan(self) -> Iterator[tuple[str, Record | None]]:
        last = b""
        while rows := self._rows(SQL.page, last, now_ms()):
            yield from page_of(rows, lambda key: self._rows(SQL.one, key, now_ms()))
            last = rows[-1][0]

    def count(self, at_most: int | None = None, *, rosters: bool = False) -> int:
        return int(self._row(SQL.count, now_ms(), int(rosters), EVERY if at_most is None else at_most)[0])

    def prepare(self) -> None:
        """Open the file, which makes all that it needs."""
        self._row("SELECT 1")

    def place(self) -> str | None:
        row = self._row(SQL.place, PLACE)
        return place_of(row[0]) if row else None

    def connection_checks(self) -> Iterable[Check]:
        yield "Open", self.prepare

    def close(self) -> None:
        """Close this thread's connection; those of other threads go with their threads."""
        connection, self._local.connection = getattr(self._local, "connection", None), None
        if connection is not None:
            connection.close()

    def _row(self, sql: str, *parameters: Any) -> Any:
        return self._executed(sql, parameters, sqlite3.Cursor.fetchone)

    def _rows(self, sql: str, *parameters: Any) -> list[Any]:
        return self._executed(sql, parameters, sqlite3.Cursor.fetchall)

    def _changed(self, sql: str, *parameters: Any) -> int:
        return self._executed(sql, parameters, ROWCOUNT)

    def _executed(self, sql: str, parameters: tuple[Any, ...], read: Callable[[sqlite3.Cursor], T]) -> T:
        """Execute one statement, which is one transaction, on this thread's connection, and read its answer."""
        try:
            cursor = self._connection().execute(sql, parameters)
            try:
                return read(cursor)
            finally:
                cursor.close()  # an open read would keep the write-ahead log from being emptied
        except (sqlite3.Error, OSError, ArithmeticError, ValueError, TypeError) as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> Exception:
        """Return what to raise instead of SQLite's error; a refusal of one write says nothing against reads."""
        if isinstance(error, sqlite3.DataError):
            return SessionTooLarge("The session is larger than SQLite accepts.")
        if "Could not decode to UTF-8" in str(error):
            return ForeignRecord("What was read is not text.")
        if "is full" in str(error) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            full = f"The In-Memory store in {self.folder} is full: there is no room left."
            return StoreUnavailable(full, answered=True)
        answered = isinstance(error, sqlite3.IntegrityError) or not isinstance(error, sqlite3.Error | OSError)
        said = type(error).__name__ if answered else printable(error)  # it may quote a value
        return StoreUnavailable(f"The In-Memory store in {self.folder} failed: {said}.", answered=answered)

    def _connection(self) -> sqlite3.Connection:
        local = self._local
        if getattr(local, "forks", None) != _forks:
            if getattr(local, "connection", None) is not None:
                _inherited.append(local.connection)
            local.connection, local.forks = None, _forks
        if local.connection is None:
            local.connection = self._connect()
        connection: sqlite3.Connection = local.connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        """Open the file, made first if need be. Nothing in it outlives the machine's memory, so nothing is gained
        by waiting for a disk. A killed process is another matter: the write-ahead log keeps the file whole."""
        path = self._private_folder() / "sessions.sqlite3"
        connection = sqlite3.connect(
            path, timeout=self.timeout, isolation_level=None, check_same_thread=False, factory=Connection
        )
        try:
            # Not by opening it: to close it again would drop all the locks that SQLite has on it.
            path.chmod(0o600)
            connection.execute("PRAGMA synchronous = OFF")
            _log_ahead(connection, time.monotonic() + self.timeout)
            connection.execute(TABLE)
            connection.execute(INDEX)
            if connection.execute(SQL.place, (PLACE,)).fetchone() is None:
                connection.execute(SQL.mark, a_place())
        except (sqlite3.Error, OSError):
            connection.close()
            raise
        return connection

    def _private_folder(self) -> Path:
        """Make the folder, for this user alone, and refuse one that another user put there."""
        make_folder(self.folder)
        if not is_private(self.folder):
            raise StoreMisconfigured(
                f"The folder {self.folder} must belong to the user of the site, with the mode 0700. Remove it; or, "
                "where another user of this machine has made it, set SESSIONPERSIST['MEMORY_DIR'] to a folder that "
                "only the user of the site may write to."
            )
        if self.folder != self.newest:
            name_in(self.newest, self.folder)
        return self.folder


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


def named_in(folder: Path) -> Path:
    """Return the folder of an older name that this one stands for; without one, itself."""
    if not is_private(folder) or not (folder / POINTER).is_file():
        return folder
    older = folder.with_name((folder / POINTER).read_text())
    return older if is_private(older) else folder


def name_in(folder: Path, older: Path) -> None:
    """Have a folder stand for one of an older name, in one step. Whoever is first says so."""
    if os.path.lexists(folder):
        return
    made = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    (made / POINTER).write_text(older.name)
    try:
        made.rename(folder)
    except OSError:  # another process was first
        shutil.rmtree(made)


def secret_name(site: str, secret: str | bytes) -> str:
    """Return what nobody can know who does not know the secret key of the site."""
    key = SecretBytes(secret.encode() if isinstance(secret, str) else secret)
    return hmac.digest(key, b"sessionpersist.memory.v1:" + site.encode(), "sha256").hex()[:32]


def plain_name(site: str) -> str:
    return hashlib.sha256(site.encode()).hexdigest()[:12]


def make_folder(folder: Path) -> None:
    """Make a folder where there is none, and what is missing above it, for this user alone whatever the umask."""
    if not folder.parent.exists():
        make_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    folder.chmod(0o700)


def is_private(folder: Path) -> bool:
    """Return whether there is a folder, no link, that nobody but this user may enter."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


class Connection(sqlite3.Connection):
    """Closes itself at the end of its thread, which has no other end that one could hear of."""

    def __del__(self) -> None:
        self.close()


def _log_ahead(connection: sqlite3.Connection, give_up: float) -> None:
    """Switch to the write-ahead log. Where several processes do so at once, SQLite does not wait but refuses."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
        time.sleep(RETRY_PAUSE)


# SQLite connections must neither be used nor closed in a forked child, which would upset the parent's locks: a child
# keeps those that it inherited, untouched, for as long as it lives.
_inherited: list[Any] = []
_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


forks.in_child(forks.Layer.CONNECTIONS, _count_fork)
