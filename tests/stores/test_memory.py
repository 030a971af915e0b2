"""In-Memory: the contract, and what is particular to a map that processes share."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from lmdb.verify import verify

from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores.base import MAX_PAYLOAD_BYTES, PLACE, Outcome, Probed, Record, now_ms
from sessionpersist.stores.memory import MemoryStore, former, shared_map
from sessionpersist.stores.memory import store as memory
from sessionpersist.stores.memory.records import FORMAT, HEAD, encoded
from sessionpersist.stores.memory.shared_map import SharedMap
from sessionpersist.stores.memory.store import BATCH
from tests.sizes import quick_and_long
from tests.stores.contract import (
    ClearsItself,
    ForeignRecords,
    HasAPlace,
    RoundTrips,
    StoreContract,
    a_key,
    a_record,
)
from tests.stores.parallel import in_processes, in_threads

T = TypeVar("T")
HOUR = 3_600_000  # milliseconds
ROOT = Path(__file__).parents[2]

# Writes until it is killed, and says which keys are in.
WRITER = """
import sys, secrets
from pathlib import Path
from sessionpersist.stores.base import Record, now_ms
from sessionpersist.stores.memory import MemoryStore
store = MemoryStore(Path(sys.argv[1]), "site", timeout=5)
for number in range(int(sys.argv[2])):
    key = secrets.token_hex(32)
    now = now_ms()
    assert store.create(key, Record(b"x" * 20_000, number + 1, now, now + 60_000))
    print(key, flush=True)
"""


def writer(directory: Path, records: int) -> subprocess.Popen[str]:
    """A process of its own, not forked, that creates so many records."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), str(records)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def head(
    version: int = 1, created_at: int = 1, expires_at: int = 2**60, *, form: int = FORMAT, letters: int = 0
) -> bytes:
    return HEAD.pack(form, letters, version, created_at, expires_at)


FOREIGN = {
    "nothing": b"",
    "a text": b"This is a text, and none of the records that a store has written.",
    "a head that is cut off": head()[:-1],
    "another format": head(form=2) + b"payload",
    "a user who is longer than the rest": head(letters=9) + b"ada",
    "a user who is longer than any": head(letters=2_000) + bytes(3_000),
    "a negative version": head(-1) + b"payload",
    "a time before all times": head(created_at=-1) + b"payload",
    "an expiry before all times": head(expires_at=-1) + b"payload",
    "an ended record with a payload": head(0) + b"payload",
    "a payload beyond the limit": head() + bytes(MAX_PAYLOAD_BYTES + 1),
}


class TestMemoryStore(StoreContract, HasAPlace, ClearsItself, RoundTrips, ForeignRecords):
    saves_both: ClassVar = True

    path: ClassVar[Path]

    @pytest.fixture(scope="class")
    @classmethod
    def surroundings(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.path = tmp_path_factory.mktemp("memory")

    def make_store(self) -> Probed:
        return MemoryStore(self.path, "site", timeout=5)

    def foreign(self, store: Any) -> dict[str, Callable[[str], object]]:
        def writer(value: bytes) -> Callable[[str], None]:
            return lambda key: put(opened(self.path), key, value)

        return {what: writer(value) for what, value in FOREIGN.items()}

    def commands(self, store: Probed, action: Callable[[], object]) -> int:
        """How many transactions the action takes."""
        assert isinstance(store, MemoryStore)
        seen: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            for verb in ("get", "read", "write"):
                patch.setattr(SharedMap, verb, counted(getattr(SharedMap, verb), seen))
            action()
        return len(seen)


def counted(verb: Callable[..., T], seen: list[str]) -> Callable[..., T]:
    def count(*arguments: Any) -> T:
        seen.append(verb.__name__)
        return verb(*arguments)

    return count


def opened(directory: Path, site: str = "site", timeout: float = 5) -> MemoryStore:
    return MemoryStore(directory, site, timeout)


def put(store: MemoryStore, key: str, value: bytes) -> None:
    """Write any bytes under a key."""
    store._written(lambda shared, transaction: transaction.put(key.encode(), value))


def test_processes_that_start_at_once_share_their_sessions(tmp_path: Path) -> None:
    writers = [writer(tmp_path, 20) for _ in range(4)]
    keys = "".join(each.communicate(timeout=30)[0] for each in writers).split()
    assert [each.returncode for each in writers] == [0] * 4
    store = opened(tmp_path)
    assert {key for key, _ in store.scan()} == set(keys)
    assert len(keys) == 80
    store.close()


def test_a_map_that_another_process_is_just_opening_is_waited_for(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.folder.mkdir(mode=0o700)
    with holding(store.folder / "sessions.lmdb-turn") as holder:
        threading.Timer(0.2, holder.kill).start()
        assert store.create(a_key(), a_record())
    store.close()


HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(turn: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has taken the turn to write, and keeps it until it ends."""
    arguments = [sys.executable, "-c", HOLDER, str(turn)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.kill()


# Forks


def test_neither_side_of_a_fork_goes_on_with_what_was_open_before(tmp_path: Path) -> None:
    store = opened(tmp_path)
    before = store._opened()
    assert in_processes([lambda: str(store._opened() is before)]) == ["False"]
    assert store._opened() is not before
    assert store.create(a_key(), a_record())
    store.close()


def test_a_child_of_a_fork_that_python_was_not_told_of_before_opens_the_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a server written in C forks."""
    monkeypatch.setattr(shared_map, "let_go", lambda path: None)
    store, key, other = opened(tmp_path), a_key(), a_key()
    store.create(key, record := a_record())
    before = store._opened()

    def go_on() -> str:
        assert store._opened() is not before
        return str(store.get(key) == record and store.create(other, record))

    assert in_processes([go_on]) == ["True"]
    assert store._opened() is before
    assert store.get(key) == store.get(other) == record
    monkeypatch.undo()
    store.close()


@pytest.mark.parametrize("forks", quick_and_long(5, 50))
def test_forks_while_other_threads_read_and_write(tmp_path: Path, forks: int) -> None:
    store, key = opened(tmp_path), a_key()
    store.create(key, record := a_record())
    done = threading.Event()

    def use() -> int:
        times = 0
        while not done.is_set():
            assert store.get(key) == record
            assert store.create(other := a_key(), record)
            assert store.delete(other)
            times += 1
        return times

    def fork() -> int:
        try:
            for _ in range(forks):
                assert in_processes([lambda: str(store.get(key) == record)] * 2) == ["True"] * 2
        finally:
            done.set()
        return 1

    assert all(in_threads([use, use, fork]))
    assert store.count() == 1
    store.close()


# Processes that are killed or stopped


def forked(action: Callable[[], object]) -> int:
    """Run something in a forked process, and return its id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests
        pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            signal.alarm(60)
            action()
        os._exit(1)
    return pid


def use_without_a_pause(store: MemoryStore, shared: str, created: Callable[[str], object]) -> None:
    while True:
        key, other, record = a_key(), a_key(), a_record(b"x" * 5_000, life=HOUR)
        if store.create(key, record):
            created(key)
        store.get(shared)
        store.replace(key, record._replace(version=1), record.version)
        store.create(other, record)
        store.delete(other)


@contextmanager
def busy(store: MemoryStore, shared: str) -> Iterator[tuple[int, int]]:
    """A forked process that uses the store without a pause, until it is killed. Yields its id and where it writes the
    keys that it has created."""
    read, write = os.pipe()
    pid = forked(lambda: use_without_a_pause(store, shared, lambda key: os.write(write, key.encode())))
    os.close(write)
    try:
        yield pid, read
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)


def kill_at_any_moment(tmp_path: Path, times: int) -> None:
    store, shared, created = opened(tmp_path), a_key(), ""
    store.create(shared, a_record())
    for number in range(times):
        with busy(store, shared) as (pid, keys):
            os.read(keys, 64)
            time.sleep((number * 7 % 50) / 10_000)  # all over it, however few they are
            os.kill(pid, signal.SIGKILL)
            while text := os.read(keys, 65_536):
                created += text.decode()
        begun = time.monotonic()
        assert store.touch(shared, a_record().expires_at + 60_000)
        assert time.monotonic() - begun < 2
    whole(store, [created[at : at + 64] for at in range(0, len(created), 64)])
    store.close()


def whole(store: MemoryStore, keys: list[str]) -> None:
    """Every session that somebody was told of is there, no page is lost, and none is used twice."""
    assert keys
    assert all(store.get(key) is not None for key in keys)
    store.close()
    assert verify(store.folder / "sessions.lmdb") == []  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("times", quick_and_long(20, 1_000))
def test_a_process_that_is_killed_leaves_everything_whole(tmp_path: Path, times: int) -> None:
    kill_at_any_moment(tmp_path, times)


def test_beside_a_process_that_is_stopped_while_it_writes_reads_go_on_and_writes_end_in_time(
    tmp_path: Path,
) -> None:
    """LMDB itself would have every writer wait until that process goes on."""
    store, key, other = opened(tmp_path, timeout=0.2), a_key(), a_key()
    store.create(key, record := a_record())

    go_read, go_write = os.pipe()

    def write_and_stop() -> None:
        os.read(go_read, 1)
        store._written(lambda shared, transaction: os.kill(os.getpid(), signal.SIGSTOP))
        store.create(other, record)

    pid = forked(write_and_stop)
    assert store.get(key) == record  # opens it, which takes the turn, too
    os.write(go_write, b"!")
    os.waitpid(pid, os.WUNTRACED)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="locked"):
        store.touch(key, 1)
    assert store.get(key) == record
    assert time.monotonic() - begun < 2
    os.kill(pid, signal.SIGCONT)
    os.waitpid(pid, 0)
    assert store.touch(key, 1)
    assert store.get(other) == record
    store.close()


@pytest.mark.parametrize("times", quick_and_long(8, 40))
def test_so_they_do_at_whatever_moment_it_is_stopped(tmp_path: Path, times: int) -> None:
    store, key, outcomes = opened(tmp_path, timeout=0.3), a_key(), set()
    store.create(key, record := a_record())
    for number in range(times):
        with busy(store, key) as (pid, keys):
            os.read(keys, 64)
            assert store.get(key) == record
            time.sleep(number * 7 % 20 / 1_000)
            os.kill(pid, signal.SIGSTOP)
            begun = time.monotonic()
            assert store.get(key) == record
            try:
                outcomes.add(store.touch(key, 1))
            except StoreUnavailable as error:
                outcomes.add("locked" in str(error))
            assert time.monotonic() - begun < 2
            os.kill(pid, signal.SIGCONT)
    assert outcomes == {True}
    store.close()


def test_what_a_killed_reader_was_reading_does_not_keep_its_pages_for_ever(tmp_path: Path) -> None:
    store, reading = opened(tmp_path), os.pipe()

    def read_for_ever(transaction: object) -> None:
        os.write(reading[1], b"here")
        time.sleep(60)

    pid = forked(lambda: store._asked(lambda shared: shared.read(read_for_ever)))
    os.read(reading[0], 4)
    readers = store._asked(lambda shared: shared._open_env().readers)
    assert str(pid) in readers()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert str(pid) in readers()
    store.clear_expired()
    assert str(pid) not in readers()
    store.close()


def test_a_map_that_another_process_has_made_larger_than_this_one_can_see_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, key = opened(tmp_path), a_key()
    monkeypatch.setattr(shared_map, "MAP_BYTES", 1024 * 1024)
    monkeypatch.setattr(shared_map, "RESERVE", 0)
    store.create(a_key(), a_record())
    inside = store._opened()
    larger = writer(tmp_path, 200)
    assert larger.communicate(timeout=30)[0]
    assert store._opened() is inside
    assert store.get(key) is None
    assert store.count() == 201
    store.close()


def test_only_the_user_of_the_site_can_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = opened(tmp_path)
        store.create(a_key(), a_record())
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (store.folder, *store.folder.iterdir())}
    assert modes.pop(store.folder.name) == 0o700
    assert set(modes) == {"sessions.lmdb", "sessions.lmdb-lock", "sessions.lmdb-turn"}
    assert set(modes.values()) == {0o600}
    store.close()


def test_sites_do_not_share(tmp_path: Path) -> None:
    ours, theirs, key = opened(tmp_path), opened(tmp_path, "another site"), a_key()
    ours.create(key, a_record())
    assert theirs.get(key) is None
    assert ours.folder != theirs.folder
    ours.close()
    theirs.close()


NEW, OLD = "new-secret-key", "old-secret-key"


def keyed(directory: Path, *secrets: str) -> MemoryStore:
    return MemoryStore(directory, "site", timeout=5, secrets=secrets)


def test_the_name_of_the_folder_can_not_be_told_without_the_secret_key(tmp_path: Path) -> None:
    names = {keyed(tmp_path, *secrets).folder.name for secrets in ([], [NEW], [OLD], [OLD, NEW])}
    assert len(names) == 3
    store = keyed(tmp_path, NEW)
    opened(tmp_path).folder.mkdir(mode=0o777)  # what another user can guess is in nobody's way
    opened(tmp_path).folder.chmod(0o777)
    assert store.create(a_key(), a_record())
    store.close()


@pytest.mark.parametrize("before", [[], [OLD]], ids=["version 0.2.0", "the key before"])
def test_a_folder_of_an_older_name_goes_on_being_used(tmp_path: Path, before: list[str]) -> None:
    old, key, record = keyed(tmp_path, *before), a_key(), a_record()
    old.create(key, record)
    place = old.place()
    old.close()
    new = keyed(tmp_path, NEW, OLD)
    assert new.get(key) == record
    assert new.place() == place
    assert new.folder == old.folder
    new.close()


def test_sessions_outlive_the_day_on_which_the_older_key_is_forgotten(tmp_path: Path) -> None:
    """From a review: a rotation emptied the memory as soon as SECRET_KEY_FALLBACKS was cleared."""
    old, first, second, record = keyed(tmp_path, OLD), a_key(), a_key(), a_record()
    old.create(first, record)
    rotated = keyed(tmp_path, NEW, OLD)
    rotated.create(second, record)
    later = keyed(tmp_path, NEW)
    assert later.get(first) == later.get(second) == record
    newest = keyed(tmp_path, "newest", NEW)
    assert newest.get(first) == record
    last = keyed(tmp_path, "newest")
    assert last.get(second) == record
    for store in (old, rotated, later, newest, last):
        store.close()


def test_who_still_uses_the_older_name_shares_the_sessions(tmp_path: Path) -> None:
    """As when workers are replaced one by one."""
    old, key, other = opened(tmp_path), a_key(), a_key()
    old.create(key, a_record())
    new = keyed(tmp_path, NEW)
    assert new.delete(key)
    assert old.get(key) is None
    old.create(other, record := a_record())
    assert new.get(other) == record
    old.close()
    later = opened(tmp_path)  # a new thread of an old process: from a try with nodes of two releases
    later.create(third := a_key(), record)
    assert new.get(other) == new.get(third) == record
    new.close()
    later.close()


def test_processes_that_begin_at_once_share_the_sessions(tmp_path: Path) -> None:
    old, key, record = opened(tmp_path), a_key(), a_record()
    old.create(key, record)
    old.close()
    found = in_processes([lambda: str(keyed(tmp_path, NEW).get(key) == record)] * 4)
    assert found == ["True"] * 4


def test_an_older_folder_that_others_may_enter_is_not_taken_over(tmp_path: Path) -> None:
    old = opened(tmp_path)
    old.folder.mkdir()
    old.folder.chmod(0o755)
    new = keyed(tmp_path, NEW)
    assert new.create(a_key(), a_record())
    assert old.folder.exists()
    new.close()


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_folders_above_are_for_this_user_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = opened(tmp_path / "above" / "private")
        assert store.create(a_key(), a_record())
    finally:
        os.umask(before)
    folders = (tmp_path / "above", tmp_path / "above" / "private", store.folder)
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700] * 3
    store.close()


def test_a_folder_that_another_user_has_made_is_told_with_the_way_out(tmp_path: Path) -> None:
    store = keyed(tmp_path, NEW)
    store.folder.mkdir()
    store.folder.chmod(0o755)
    with pytest.raises(StoreMisconfigured, match="MEMORY_DIR"):
        store.prepare()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    store = opened(tmp_path)
    store.folder.mkdir()
    store.folder.chmod(mode)
    refused(store)


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    store.folder.symlink_to(tmp_path / "elsewhere")
    refused(store)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.folder.touch(mode=0o600)
    with pytest.raises(StoreUnavailable):
        store.get(a_key())


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path)
    store.folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    refused(store)


def test_a_place_that_cannot_be_written_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="In-Memory"):
        opened(tmp_path / "file").get(a_key())


def test_a_map_that_stays_locked_is_an_outage_in_time(tmp_path: Path) -> None:
    store = opened(tmp_path, timeout=0.2)
    store.create(key := a_key(), a_record())
    with holding(store.folder / "sessions.lmdb-turn"):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match="locked"):
            store.create(a_key(), a_record())
        assert time.monotonic() - begun < 2
        assert store.get(key) is not None  # readers don't wait
    store.close()


@pytest.mark.parametrize(
    "at", [fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN, None], ids=["begins", "ends", "has begun"]
)
def test_whoever_is_interrupted_as_a_turn_begins_or_ends_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int | None
) -> None:
    """As by a handler of a signal, which may raise anywhere: neither another thread, nor another process."""
    store, lockf, has_turn = opened(tmp_path, timeout=0.5), fcntl.lockf, SharedMap._has_turn
    store.prepare()

    def interrupted(descriptor: int, command: int) -> None:
        lockf(descriptor, command)
        if command == at:
            raise KeyboardInterrupt

    def interrupted_after(*arguments: Any) -> bool:
        if has_turn(*arguments) and at is None:
            raise KeyboardInterrupt
        return True

    with monkeypatch.context() as until_its_end:
        until_its_end.setattr(fcntl, "lockf", interrupted)
        until_its_end.setattr(SharedMap, "_has_turn", interrupted_after)
        with pytest.raises(KeyboardInterrupt):
            store.create(a_key(), a_record())
    other = writer(tmp_path, 1)
    assert other.communicate(timeout=30)[0].strip()
    assert in_threads([lambda: store.create(a_key(), a_record())]) == [True]
    store.close()


def test_a_handler_of_a_signal_that_came_during_a_write_is_told_that_it_must_wait(tmp_path: Path) -> None:
    """LMDB would have the thread wait for itself."""
    store, answers = opened(tmp_path, timeout=0.5), []
    store.prepare()

    def handle(*arguments: Any) -> None:
        with pytest.raises(StoreUnavailable, match="WriteInSignalHandler") as told:
            store.create(a_key(), a_record())
        assert told.value.answered, "it says nothing against the store"
        answers.append("told")

    shared_map.shared_map(store.folder / "sessions.lmdb", time.monotonic() + 5, lambda _: None).write(
        handle, time.monotonic() + 5
    )
    assert answers == ["told"]
    assert store.create(a_key(), a_record())
    store.close()


def test_a_folder_that_was_removed_is_made_again_and_shared_by_all(tmp_path: Path) -> None:
    """Who went on with the removed files would not see what the others do, nor they what it does."""
    store, key, record = opened(tmp_path), a_key(), a_record()
    store.create(lost := a_key(), record)
    shutil.rmtree(store.folder)
    time.sleep(shared_map.LOOK_EVERY)
    assert store.get(lost) is None
    assert in_processes([lambda: str(opened(tmp_path).create(key, record))]) == ["True"]
    assert store.get(key) == record
    store.close()


def test_so_it_is_where_another_process_has_made_it(tmp_path: Path) -> None:
    store, record = opened(tmp_path), a_record()
    store.create(lost := a_key(), record)
    shutil.rmtree(store.folder)
    other = writer(tmp_path, 1)
    key = other.communicate(timeout=30)[0].strip()
    time.sleep(shared_map.LOOK_EVERY)  # a forked Python may be faster than that
    assert store.get(lost) is None
    assert store.get(key) is not None
    store.close()


IN_A_CONTAINER = """
import sys
from pathlib import Path
from tests.stores.test_memory import a_key, a_record, opened
store = opened(Path(sys.argv[1]))
try:
    print(store.create(a_key(), a_record()), flush=True)
except Exception as error:
    print(error, flush=True)
sys.stdin.read()
"""


def test_a_container_that_shares_the_folder_with_another_is_told_what_to_do(tmp_path: Path) -> None:
    """LMDB knows processes by their numbers, which begin again in each container."""
    command = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        sys.executable,
        "-c",
        IN_A_CONTAINER,
        str(tmp_path),
    ]
    if subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode:
        pytest.skip("Only root can begin to count processes anew.")
    said = []
    with ExitStack() as stack:
        for _ in range(2):
            container = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            )
            assert container.stdout is not None
            said.append(container.stdout.readline())
    assert said[0] == "True\n"
    assert "MEMORY_DIR" in said[1]


# Full


@pytest.fixture(params=["the map", "the file system"])
def little_room(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder whose store has room for three megabytes."""
    if request.param == "the map":
        monkeypatch.setattr(shared_map, "MAP_BYTES", 3 * 1024 * 1024)
        yield tmp_path
        return
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("Only root can mount a small file system.")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def fill(store: MemoryStore, size: int, life: int = 60_000) -> list[str]:
    keys: list[str] = []

    def go_on() -> None:
        while True:
            key = a_key()
            store.create(key, a_record(bytes(size), life=life))
            keys.append(key)

    with pytest.raises(StoreUnavailable, match="is full") as raised:
        go_on()
    assert raised.value.answered
    return keys


@pytest.mark.parametrize("size", [300, 3_000, 100_000])
def test_where_it_is_full_reads_and_deletions_go_on(little_room: Path, size: int) -> None:
    store = opened(little_room)
    keys = fill(store, size)
    assert all(store.get(key) is not None for key in keys)
    for key in keys:
        assert store.touch(key, a_record().expires_at + 60_000)
    for key in keys[::2]:
        assert store.delete(key)
    for key in keys[1::2]:
        store.end(key, a_record().expires_at)
        assert store.get(key) is not None
    time.sleep(shared_map.LOOK_EVERY)
    assert store.create(a_key(), a_record())
    store.close()


@pytest.mark.parametrize("size", [300, 3_000])
def test_where_it_is_full_a_save_that_takes_no_more_room_is_kept(little_room: Path, size: int) -> None:
    store = opened(little_room)
    for key in fill(store, size):
        found = store.get(key)
        assert found is not None
        assert store.replace(key, a_record(b"x" * size), found.version) is Outcome.SAVED
    store.close()


def test_where_it_is_full_of_expired_sessions_the_next_ones_clear_them(little_room: Path) -> None:
    store = opened(little_room)
    keys = fill(store, 3_000, life=3_000)
    time.sleep(3.1)
    assert all(store.create(a_key(), a_record(bytes(3_000))) for _ in keys[::2])
    store.close()


def test_where_it_is_full_all_that_has_expired_can_be_cleared(little_room: Path) -> None:
    store = opened(little_room)
    keys = fill(store, 1_000, life=3_000)
    time.sleep(3.1)
    assert store.clear_expired() == len(keys)
    store.close()


# What an older release left


OLD_SCHEMA = """CREATE TABLE IF NOT EXISTS session (
    stored_key TEXT PRIMARY KEY, payload BLOB NOT NULL, version INTEGER NOT NULL,
    created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, user_id TEXT NOT NULL) WITHOUT ROWID"""
OLD_INDEX = "CREATE INDEX IF NOT EXISTS session_expires_at ON session (expires_at)"
OLD_READ = "SELECT payload, version, expires_at, user_id FROM session WHERE stored_key = ? AND expires_at > ?"
OLD_CREATE = "INSERT INTO session VALUES (?, ?, ?, ?, ?, ?)"
OLD_DELETE = "DELETE FROM session WHERE stored_key = ? AND expires_at > ?"


class Older:
    """The memory as release 0.3.0 kept it, and a process of that release that has it open."""

    def __init__(self, store: MemoryStore) -> None:
        store.folder.mkdir(mode=0o700)
        self.file = store.folder / "sessions.sqlite3"
        self.place = "0123456789abcdef" * 2
        self.live, self.ended, self.expired, self.foreign = (a_key() for _ in range(4))
        self.record = a_record(b"of old", user_id="ada \N{SNOWMAN}")
        self.connection = self.connect()
        self.write(PLACE, Record(self.place.encode(), 0, 0, 2**63 - 1))
        self.write(self.live, self.record)
        self.write(self.ended, Record(b"", 0, now_ms(), now_ms() + 60_000))
        self.write(self.expired, a_record(life=-1))
        self.write(self.foreign, a_record()._replace(version=-7))

    def connect(self) -> sqlite3.Connection:
        with ExitStack() as failing:
            connection = sqlite3.connect(self.file, isolation_level=None, timeout=5)
            failing.enter_context(closing(connection))
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(OLD_SCHEMA)
            connection.execute(OLD_INDEX)
            failing.pop_all()
        return connection

    def write(self, key: str, record: Record) -> None:
        self.connection.execute(OLD_CREATE, (key, *record))


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Older]:
    older = Older(opened(tmp_path))
    yield older
    older.connection.close()


def test_what_an_older_release_has_kept_is_taken_over(tmp_path: Path, older: Older) -> None:
    store = opened(tmp_path)
    assert store.get(older.live) == older.record
    assert store.place() == older.place
    assert (ended := store.get(older.ended)) is not None
    assert ended.ended
    assert dict(store.scan()).keys() == {older.live, older.ended}
    store.close()


def test_it_is_taken_over_once(tmp_path: Path, older: Older) -> None:
    store = opened(tmp_path)
    assert store.delete(older.live)
    store.close()
    assert store.get(older.live) is None
    assert in_processes([lambda: str(store.get(older.live))]) == ["None"]
    store.close()


def test_of_processes_that_start_at_once_each_has_it(tmp_path: Path, older: Older) -> None:
    older.connection.close()
    said = in_processes([lambda: str(opened(tmp_path).get(older.live) == older.record)] * 4)
    assert said == ["True"] * 4


def test_a_process_of_the_older_release_can_go_on_with_nothing(tmp_path: Path, older: Older) -> None:
    """An answer that there is no session would log a user out; a write would be lost."""
    store = opened(tmp_path)
    store.prepare()
    for statement, parameters in (
        (OLD_READ, [older.live, 0]),
        (OLD_READ, [a_key(), 0]),
        (OLD_CREATE, [a_key(), *older.record]),
        (OLD_DELETE, [older.live, 0]),
    ):
        with pytest.raises(sqlite3.OperationalError, match="taken_over_by_a_newer_release"):
            older.connection.execute(statement, parameters)
    with pytest.raises(sqlite3.OperationalError, match="view"):
        older.connect()
    store.close()


def test_a_take_over_that_was_killed_half_way_is_done_by_the_next(
    tmp_path: Path, older: Older, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    store = opened(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(memory, "new_place", die)
        patch.setattr(former, "records", die)
        assert in_processes([lambda: str(store.place())]) == [""]
    with monkeypatch.context() as patch:
        patch.setattr(former, "forget", die)
        assert in_processes([lambda: str(store.place())]) == [""]
    assert store.get(older.live) == older.record
    assert store.delete(older.live)
    store.close()
    assert store.get(older.live) is None
    assert store.place() == older.place
    store.close()


def test_what_was_taken_over_gives_its_memory_back(tmp_path: Path, older: Older) -> None:
    for _ in range(1_000):
        older.write(a_key(), a_record(bytes(5_000)))
    older.connection.close()
    before = older.file.stat().st_size
    store = opened(tmp_path)
    assert store.count() == 1_001
    assert older.file.stat().st_size < 100_000 < before
    store.close()


def test_a_file_of_the_older_release_that_can_not_be_read_is_an_outage(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.folder.mkdir(mode=0o700)
    (store.folder / "sessions.sqlite3").write_bytes(b"no database" * 1_000)
    with pytest.raises(StoreUnavailable, match="not a database"):
        store.get(a_key())
    store.close()


# Clearing


def test_expired_sessions_go_as_new_ones_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CLEAR_EVERY", 0)
    store = opened(tmp_path)
    for _ in range(5):
        store.create(a_key(), a_record(life=-1))
    time.sleep(0.01)
    store.create(a_key(), a_record())
    assert kept(store) == 1
    store.close()


def test_clearing_keeps_up_with_more_new_sessions_than_one_batch(tmp_path: Path) -> None:
    """One batch a minute did not: the file grew, though everything in it had expired."""
    store = opened(tmp_path)
    store.create(live := "0" * 64, a_record())
    for _ in range(2 * BATCH + 50):
        put(store, a_key(), encoded(a_record(life=-1)))
    store._clear_at = time.monotonic()
    left = []
    for number in range(4):
        store.create(f"{number + 1:064}", a_record())
        left.append(kept(store) - store.count())
    assert left == [BATCH + 51, 51, 0, 0]
    assert store._clear_at > time.monotonic() + memory.CLEAR_EVERY - 10  # and then it rests
    assert store.get(live) is not None
    store.close()


def refused(store: MemoryStore) -> None:
    with pytest.raises(StoreMisconfigured, match="0700"):
        store.get(a_key())


def kept(store: MemoryStore) -> int:
    """How many sessions lie in the map, expired ones too."""
    return len(store._page(b"", 10_000))
