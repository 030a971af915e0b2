"""A map from keys to bytes that all processes of one user share: LMDB on a memory-backed file system.

A read waits for nobody and sees the last commit. A write is there as a whole or not at all, whenever its process is
killed. What LMDB leaves to whoever uses it is done here:

- It waits for another writer without a time-out, and that one may be stopped. So writers, and whoever opens it, first
  take a lock of a file, and wait for that until the deadline at most.
- It must not be open across a fork. So it is closed before one, and either side opens it again.
- It goes on with files that have been removed, which a process that starts later can't see. So that is looked at.
- It copies the pages that a change touches, even where it deletes. So the last megabyte is left for that.
- Memory that the file system can't provide kills the process that touches it, while a file that can't grow is an error.
  So the data is written to its file, and the file of its locks has its full size from the beginning.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import lmdb

from sessionpersist import forks
from sessionpersist.awaiting import acquire, in_loop, sleep

Transaction: TypeAlias = "lmdb.Transaction[Any]"

MAP_BYTES = 64 * 1024**3  # of addresses, not of memory
LOCK_BYTES = 64 * 1024  # room for a thousand threads that read at the same moment
RESERVE = 1024 * 1024  # bytes that only a change that needs no more room than before may use
PAGES = 2 * 4096  # bytes that a change takes beside its value
LOOK_EVERY = 0.1  # seconds between two looks at the files
WAIT = 0.000_05  # seconds between two tries to take the lock
SETTLE = 1.0  # seconds for the reads of other threads to end; each takes microseconds

T = TypeVar("T")


class LetGo(Exception):
    """The map has been closed: open it again."""


class WriteInSignalHandler(Exception):
    """A signal came as this thread was writing, and its handler wants to write, too: LMDB would have the thread wait
    for itself."""


class SharedMap:
    """The map in one process. ``shared_map`` opens it: LMDB must not have a file open twice."""

    def __init__(self, path: Path, give_up: float, first: Callable[[Transaction], None]) -> None:
        """Open the map, made first if need be, in a folder that nobody else may enter. ``first`` writes what it must
        contain, in the same turn. ``give_up`` is a time on the monotonic clock. Raises as ``write`` does."""
        self._files = [path, Path(f"{path}-lock"), Path(f"{path}-turn")]
        self._users: list[None] = []  # one entry for each thread that is inside
        self._writing: Any = threading.RLock()  # it is asked whose it is, as Python's own conditions do
        self._env: lmdb.Environment | None = None
        self._turn = private_file(self._files[2])
        try:
            try:
                self._take_turn(give_up, opening=True)
                self._env = self._opened()
                self._seen = self._identities()
                with self._env.begin(write=True) as transaction:
                    first(transaction)
            finally:
                self._end_turn()
        except BaseException:
            if self._env is not None:
                self._env.close()
            os.close(self._turn)
            raise
        self._look_at = 0.0
        self._left = 0  # bytes, as far as is known

    def _opened(self) -> lmdb.Environment:
        data, lock, _turn = self._files
        os.close(private_file(data))
        os.close(private_file(lock, LOCK_BYTES))
        soft, _hard = resource.getrlimit(resource.RLIMIT_AS)
        env = lmdb.open(
            os.fspath(data),
            subdir=False,
            map_size=MAP_BYTES if soft == resource.RLIM_INFINITY else min(MAP_BYTES, soft // 4),
            sync=False,  # nothing in it outlives the machine's memory
            metasync=False,
            max_spare_txns=1,
            mode=0o600,
        )
        env.reader_check()  # what killed readers have seen can be written over again
        return env

    def get(self, key: bytes, longest: int) -> bytes | None:
        """Return the value of a key, or None; of one that is longer than ``longest``, nothing but ``b""``."""
        self._users.append(None)
        try:
            transaction = self._open_env().begin(buffers=True)
            found = transaction.get(key)
            if found is None:
                return None
            return bytes(found) if len(found) <= longest else b""
        finally:
            self._users.pop()  # the transaction ends with this frame

    def read(self, use: Callable[[Transaction], T]) -> T:
        """Have a function read one state of the map. It must copy what it returns, and not take long: pages that it
        might see are not used again meanwhile. Raises LetGo or lmdb.Error."""
        self._users.append(None)
        try:
            transaction = self._open_env().begin(buffers=True)
            try:
                return use(transaction)
            finally:
                transaction.abort()
        finally:
            self._users.pop()

    def write(self, change: Callable[[SharedMap, Transaction], T], give_up: float) -> T:
        """Have a function change the map, which it is given: all that it does, or nothing if it fails.

        Raises TimeoutError where another process keeps the lock, WriteInSignalHandler, LetGo, lmdb.Error, and OSError
        with ENOSPC.
        """
        if self._writing._is_owned():
            raise WriteInSignalHandler
        self._users.append(None)
        try:
            self._open_env()  # else the file of the turn is closed, too, and its number may be another's
            try:
                self._take_turn(give_up)
                with self._open_env().begin(write=True, buffers=True) as transaction:
                    return change(self, transaction)
            finally:
                self._end_turn()
        finally:
            self._users.pop()

    def put(self, transaction: Transaction, key: bytes, value: bytes, held: memoryview | None = None) -> None:
        """Write a value in the place of the one that is held. Raises OSError with ENOSPC where that takes more room,
        and only the reserve is left."""
        more = len(value) - (0 if held is None else len(held))
        if more > 0 and not self.has_room(more):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        transaction.put(key, value)

    def has_room(self, more: int = 0) -> bool:
        """Return whether so many more bytes leave the reserve as it is. What is left is measured when it gets tight."""
        takes = PAGES + 2 * more  # at most, in parts of pages that nothing else fits in
        self._left -= takes
        if self._left < RESERVE:
            self._left = self._room() - takes
        return self._left >= RESERVE

    def is_current(self) -> bool:
        """Return whether the map is open and, as far as has been looked, its files are where they were."""
        now = time.monotonic()
        if now < self._look_at:
            return self._env is not None
        try:
            self._left = self._room()
        except (LetGo, FileNotFoundError):
            return False
        if self._seen != self._identities():
            return False
        self._look_at = now + LOOK_EVERY
        return True

    def forget_the_dead(self) -> None:
        """Let go of what processes were reading that have been killed."""
        self._users.append(None)
        try:
            self._open_env().reader_check()
        finally:
            self._users.pop()

    def close(self, settle: float = SETTLE) -> None:
        """Close the map, once the other threads are out of it."""
        env, self._env = self._env, None
        if env is None:
            return
        give_up = time.monotonic() + settle
        while self._users and time.monotonic() < give_up:
            time.sleep(WAIT)
        env.close()
        os.close(self._turn)

    def _open_env(self) -> lmdb.Environment:
        """Return what can't be closed before the caller, who is one of the users, has gone."""
        env = self._env
        if env is None:
            raise LetGo
        return env

    def _take_turn(self, give_up: float, opening: bool = False) -> None:
        """Keep out all other writers, of this process and of others."""
        while not self._has_turn(give_up, opening):
            sleep(WAIT)

    def _has_turn(self, give_up: float, opening: bool) -> bool:
        """Take the turn, for which a thread waits. A coroutine is told False and comes again: waiting with the lock in
        its hands, it would keep out the very thread that runs it."""
        if not (self._writing.acquire(blocking=False) or acquire(self._writing, give_up)):
            raise TimeoutError
        while True:
            if not opening:
                self._open_env()
            if _locked(self._turn):
                return True
            if time.monotonic() >= give_up:
                raise TimeoutError
            if in_loop():
                break
            time.sleep(WAIT)
        self._writing.release()
        return False

    def _end_turn(self) -> None:
        """Let others write, if the turn is this thread's. Whoever was interrupted as he took it may not know."""
        mine = False
        try:
            if mine := self._writing._is_owned():
                fcntl.lockf(self._turn, fcntl.LOCK_UN)
        finally:
            if mine:
                self._writing.release()

    def _room(self) -> int:
        """Return how many bytes are left, in the file system or in pages that are no longer used."""
        self._users.append(None)
        try:
            env = self._open_env()
            pages, most = env.stat(), env.info()["map_size"]
        finally:
            self._users.pop()
        file, system = self._files[0].stat(), os.statvfs(self._files[0])
        used = 2 + pages["branch_pages"] + pages["leaf_pages"] + pages["overflow_pages"]
        there = min(most, file.st_blocks * 512 + system.f_bavail * system.f_frsize)
        return there - used * pages["psize"]

    def _identities(self) -> list[tuple[int, int]] | None:
        try:
            return [(found.st_dev, found.st_ino) for found in map(os.stat, self._files)]
        except FileNotFoundError:
            return None


def private_file(path: Path, length: int = 0) -> int:
    """Open a file, made first if need be, for this user alone whatever the umask; fill it up to a length, so that no
    byte of it is without memory. Returns its descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        if os.fstat(descriptor).st_size < length and os.pwrite(descriptor, bytes(length), 0) < length:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _locked(descriptor: int) -> bool:
    """Try to take the lock of a file, which ends with the process whatever becomes of it, and is not inherited."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


_maps: dict[Path, SharedMap] = {}
_opening = threading.RLock()


def shared_map(path: Path, give_up: float, first: Callable[[Transaction], None]) -> SharedMap:
    """Return the map of a file, which this process opens once. Arguments and errors are those of SharedMap."""
    with _opening:
        found = _maps.get(path)
        if found is not None and found.is_current():
            return found
        let_go(path)
        _maps[path] = found = SharedMap(path, give_up, first)
        return found


def let_go(path: Path) -> None:
    """Close the map of a file; whoever still has it opens it again."""
    with _opening:
        found = _maps.pop(path, None)
        if found is not None:
            found.close()


def _before_fork() -> None:
    """Close all maps, and have none opened until the fork is done."""
    _opening.acquire()
    for path in list(_maps):
        let_go(path)


def _after_fork() -> None:
    _opening.release()


def _in_child() -> None:
    """Nothing is open, except where a server has forked without a word to Python, before it began threads."""
    global _opening
    _opening = threading.RLock()
    for each in _maps.values():
        each.close(settle=0)
    _maps.clear()


forks.around(_before_fork, _after_fork)
forks.in_child(forks.Layer.CONNECTIONS, _in_child)
