"""In-Memory: the contract, and what is particular to a file that processes share."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores import memory
from sessionpersist.stores.base import PLACE, Probed
from sessionpersist.stores.memory import MemoryStore
from sessionpersist.stores.sql import BATCH
from tests.stores.contract import ClearsItself, HasAPlace, RoundTrips, StoreContract, a_key, a_record
from tests.stores.parallel import in_processes

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
        cwd=Path(__file__).parents[2],
    )


class TestMemoryStore(StoreContract, HasAPlace, ClearsItself, RoundTrips):
    @pytest.fixture(autouse=True)
    def directory(self, tmp_path: Path) -> None:
        self.path = tmp_path

    def make_store(self) -> Probed:
        return MemoryStore(self.path, "site", timeout=5)

    def commands(self, store: Probed, action: Callable[[], object]) -> int:
        assert isinstance(store, MemoryStore)
        seen: list[str] = []
        store._connection().set_trace_callback(seen.append)
        action()
        store._connection().set_trace_callback(None)
        return len(seen)


def opened(directory: Path, site: str = "site") -> MemoryStore:
    return MemoryStore(directory, site, timeout=5)


def test_processes_that_start_at_once_share_their_sessions(tmp_path: Path) -> None:
    writers = [writer(tmp_path, 20) for _ in range(4)]
    keys = "".join(each.communicate(timeout=30)[0] for each in writers).split()
    assert [each.returncode for each in writers] == [0] * 4
    store = opened(tmp_path)
    assert {key for key, _ in store.scan()} == set(keys)
    assert len(keys) == 80
    store.close()


def test_a_file_that_another_process_is_just_making_is_waited_for(tmp_path: Path) -> None:
    """SQLite does not wait by itself where one writes and another one switches to the write-ahead log."""
    store = opened(tmp_path)
    store.folder.mkdir(mode=0o700)
    other = sqlite3.connect(store.folder / "sessions.sqlite3", isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE other (number)")
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO other VALUES (1)")
    ready = threading.Timer(0.2, other.close)
    ready.start()
    assert store.create(a_key(), a_record())
    ready.join()
    store.close()


def test_a_forked_child_opens_a_connection_of_its_own(tmp_path: Path) -> None:
    store = opened(tmp_path)
    inherited = store._connection()
    assert in_processes([lambda: str(store._connection() is inherited)]) == ["False"]
    assert store._connection() is inherited
    store.close()


def test_a_writer_that_is_killed_leaves_everything_whole(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for _ in range(3):
        process = writer(tmp_path, 1_000_000)
        assert process.stdout is not None
        seen = [process.stdout.readline().strip() for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        seen += process.stdout.read().split()
        process.wait()
        process.stdout.close()
        assert all(store.get(key) is not None for key in seen if len(key) == 64)
    assert store._row("PRAGMA integrity_check") == ("ok",)
    assert store.create(a_key(), a_record())
    store.close()


def test_a_file_that_is_open_is_never_opened_beside_sqlite(tmp_path: Path) -> None:
    """Closing any other descriptor of it would drop the locks that this process holds, and another process would
    take itself for the last one and delete the write-ahead log."""
    store = opened(tmp_path)
    store.create(key := a_key(), a_record())
    threading.Thread(target=lambda: opened(tmp_path).count()).start()
    process = writer(tmp_path, 1)
    process.communicate(timeout=30)
    assert (store.folder / "sessions.sqlite3-wal").exists()
    assert store.get(key) is not None
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
    assert set(modes) == {"sessions.sqlite3", "sessions.sqlite3-wal", "sessions.sqlite3-shm"}
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


def test_a_file_that_stays_locked_is_an_outage_in_time(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, "site", timeout=0.2)
    store.create(key := a_key(), a_record())
    writing = sqlite3.connect(store.folder / "sessions.sqlite3", isolation_level=None)
    writing.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="locked"):
        store.create(a_key(), a_record())
    assert time.monotonic() - begun < 2
    assert store.get(key) is not None  # readers don't wait
    writing.close()
    store.close()


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
    store.create(a_key(), a_record())
    expired = a_record(life=-1)
    store._connection().execute("BEGIN")
    store._connection().executemany(
        "INSERT INTO session VALUES (?, ?, ?, ?, ?, ?)", [(a_key(), *expired) for _ in range(2 * BATCH + 50)]
    )
    store._connection().execute("COMMIT")
    store._clear_at = time.monotonic()
    left = []
    for _ in range(4):
        store.create(a_key(), a_record())
        left.append(kept(store) - store.count())
    assert left == [BATCH + 50, 50, 0, 0]
    assert store._clear_at > time.monotonic() + memory.CLEAR_EVERY - 10  # and then it rests
    store.close()


def refused(store: MemoryStore) -> None:
    with pytest.raises(StoreMisconfigured, match="0700"):
        store.get(a_key())


def kept(store: MemoryStore) -> int:
    """How many sessions lie in the file, expired ones too."""
    return int(store._row("SELECT COUNT(*) FROM session WHERE stored_key <> ?", PLACE)[0])
