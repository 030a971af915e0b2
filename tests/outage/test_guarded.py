"""The guarded store: retries that are safe, and an answer at once while a store keeps failing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pytest_django import Settings

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.signals import store_lost, store_recovered
from sessionpersist.stores import guarded as guarding
from sessionpersist.stores.base import Outcome, Record, Rotation, Saving, Store, new_version, now_ms
from sessionpersist.stores.breaker import FAULTS, PAUSE
from sessionpersist.stores.guarded import GuardedStore, Parted, PartedStore
from sessionpersist.stores.memory import MemoryStore
from tests.stores.contract import CostlyContract, VerbsContract

from .flaky import FlakyStore

KEY, NEW, OLD = "a" * 64, "b" * 64, "c" * 64
Pair = tuple[FlakyStore, GuardedStore]


def record(payload: bytes = b"payload") -> Record:
    return Record(payload, new_version(), now_ms(), now_ms() + 60_000)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    store = FlakyStore(tmp_path)
    return store, GuardedStore(store, "The flaky store")


@pytest.mark.parametrize("when", ["broken_before", "broken_after"])
class TestOneBrokenConnection:
    """``broken_after`` is the hard case: the server did what was asked, and the answer was lost."""

    def break_once(self, store: FlakyStore, when: str) -> None:
        setattr(store, when, 1)

    def test_a_read_is_repeated(self, pair: Pair, when: str) -> None:
        store, guarded = pair
        kept = record()
        store.create(KEY, kept)
        self.break_once(store, when)
        assert guarded.get(KEY) == kept

    def test_a_create_succeeds_once(self, pair: Pair, when: str) -> None:
        store, guarded = pair
        self.break_once(store, when)
        assert guarded.create(KEY, kept := record())
        assert guarded.get(KEY) == kept

    def test_a_create_over_a_taken_key_stays_refused(self, pair: Pair, when: str) -> None:
        store, guarded = pair
        store.create(KEY, kept := record())
        self.break_once(store, when)
        assert not guarded.create(KEY, record())
        assert guarded.get(KEY) == kept

    def test_a_replace_is_saved(self, pair: Pair, when: str) -> None:
        store, guarded = pair
        store.create(KEY, first := record())
        self.break_once(store, when)
        assert guarded.replace(KEY, second := record(b"second"), first.version) is Outcome.SAVED
        found = guarded.get(KEY)
        assert found is not None
        assert found.version == second.version

    def test_a_replace_of_another_version_stays_a_conflict(self, pair: Pair, when: str) -> None:
        store, guarded = pair
        store.create(KEY, kept := record())
        self.break_once(store, when)
        assert guarded.replace(KEY, record(b"second"), new_version()) is Outcome.CONFLICT
        assert guarded.get(KEY) == kept

    def test_touch_and_delete_take_effect(self, pair: Pair, when: str) -> None:
        store, guarded = pair
        store.create(KEY, kept := record())
        self.break_once(store, when)
        assert guarded.touch(KEY, kept.expires_at + 1)
        self.break_once(store, when)
        guarded.delete(KEY)
        assert guarded.get(KEY) is None

    def test_a_session_moves_once(self, pair: Pair, when: str) -> None:
        """After the hard case nothing is found under the old key, which tells the caller to look."""
        store, guarded = pair
        store.create(KEY, old := record())
        self.break_once(store, when)
        answer = guarded.rotate(KEY, old.version, NEW, kept := record(b"moved"))
        assert answer is (Rotation.DONE if when == "broken_before" else Rotation.LEFT)
        found = guarded.get(NEW)
        assert found is not None
        assert found.version == kept.version
        assert guarded.get(KEY) is None

    def test_a_session_that_has_moved_by_half_is_moved(self, pair: Pair, when: str) -> None:
        """As in a store that does one thing at a time."""
        store, guarded = pair
        store.create(KEY, old := record())
        store.create(NEW, kept := record(b"moved"))
        self.break_once(store, when)
        assert guarded.rotate(KEY, old.version, NEW, kept) is Rotation.DONE
        assert guarded.get(KEY) is None

    def test_some_are_ended_and_a_record_is_saved(self, pair: Pair, when: str) -> None:
        store, guarded = pair
        store.create(KEY, first := record())
        store.create(NEW, record())
        self.break_once(store, when)
        until, second = now_ms() + 60_000, record(b"second")
        assert guarded.end_and_replace({NEW: 1}, until, KEY, second, first.version) is Outcome.SAVED
        found, ended = guarded.get(KEY), guarded.get(NEW)
        assert found is not None
        assert ended is not None
        assert (found.version, ended.ended) == (second.version, True)
        self.break_once(store, when)
        assert guarded.end_and_replace({}, until, KEY, record(), first.version) is Outcome.CONFLICT

    def test_both_are_saved(self, pair: Pair, when: str) -> None:
        store, guarded = pair
        store.create(KEY, first := record())
        store.create(NEW, second := record())
        self.break_once(store, when)
        both = Saving(KEY, record(b"new"), first.version), Saving(NEW, record(), second.version)
        assert guarded.save_both(*both) == (Outcome.SAVED, Outcome.SAVED)
        assert [guarded.get(each.key) for each in both] == [each.record for each in both]
        self.break_once(store, when)
        late = Saving(KEY, record(b"late"), first.version)
        assert guarded.save_both(late, both[1]) == (Outcome.CONFLICT, None)

    def test_one_is_saved_and_the_other_moves(self, pair: Pair, when: str) -> None:
        store, guarded = pair
        store.create(KEY, first := record())
        store.create(OLD, moving := record())
        self.break_once(store, when)
        one, two = Saving(KEY, record(b"new"), first.version), Saving(NEW, record(), moving.version, OLD)
        assert guarded.save_both(one, two) == (Outcome.SAVED, Outcome.SAVED)
        assert [guarded.get(key) for key in (KEY, NEW, OLD)] == [one.record, two.record, None]
        self.break_once(store, when)
        late = Saving(OLD, record(b"late"), two.record.version, NEW)
        assert guarded.save_both(one._replace(record=record()), late) == (Outcome.CONFLICT, None)

    def test_where_one_was_saved_and_the_other_did_not_move_it_is_left_alone(
        self, pair: Pair, when: str
    ) -> None:
        store, guarded = pair
        store.create(KEY, saved := record(b"saved"))
        store.create(OLD, moving := record())
        self.break_once(store, when)
        both = Saving(KEY, saved, 7), Saving(NEW, record(), moving.version, OLD)
        assert guarded.save_both(*both) == (Outcome.SAVED, None)
        assert (guarded.get(NEW), guarded.get(OLD)) == (None, moving)

    def test_where_one_of_two_was_saved_the_other_is_saved_too(self, pair: Pair, when: str) -> None:
        """As in a store that does one thing at a time."""
        store, guarded = pair
        store.create(KEY, saved := record(b"saved"))
        store.create(NEW, second := record())
        self.break_once(store, when)
        both = Saving(KEY, saved, 7), Saving(NEW, record(), second.version)
        assert guarded.save_both(*both) == (Outcome.SAVED, Outcome.SAVED)
        assert guarded.get(NEW) == both[1].record

    def test_a_move_to_a_taken_key_stays_refused(self, pair: Pair, when: str) -> None:
        store, guarded = pair
        store.create(KEY, old := record())
        store.create(NEW, kept := record())
        self.break_once(store, when)
        assert guarded.rotate(KEY, old.version, NEW, record()) is Rotation.TAKEN
        assert (guarded.get(KEY), guarded.get(NEW)) == (old, kept)


class TestTheContract(VerbsContract):
    """A store behind its breaker promises what the store does."""

    folder: ClassVar[Path]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def own_folder(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.folder = tmp_path_factory.mktemp("memory")

    def make_store(self) -> Store:
        return GuardedStore(MemoryStore(self.folder, "site", timeout=5), "main")

    def make_ready(self, store: GuardedStore) -> None:
        """The records of other tests may stay: each test has keys of its own."""


class TestTheContractOfSeveralServers(TestTheContract):
    """So does one with a breaker for each server. It asks the two that a login may need one after the other."""

    long_parts = (CostlyContract,)
    rotates_at_once = False

    def make_store(self) -> Store:
        class Shards(MemoryStore, Parted):
            def part_of(self, key: str) -> str:
                return key[0]

            def rotate(self, old_key: str, version: int | None, new_key: str, record: Record) -> Rotation:
                raise NotImplementedError

        return PartedStore(Shards(self.folder, "site", timeout=5), "main")


def test_a_connection_that_breaks_twice_is_an_outage(pair: Pair) -> None:
    store, guarded = pair
    store.broken_before = 2
    with pytest.raises(StoreUnavailable):
        guarded.get(KEY)
    assert store.calls == ["get", "get"]


def test_a_store_that_is_down_is_not_asked_twice_a_call(pair: Pair) -> None:
    store, guarded = pair
    store.down = True
    with pytest.raises(StoreUnavailable):
        guarded.get(KEY)
    assert store.calls == ["get"]


def test_a_count_that_fails_opens_no_circuit(pair: Pair) -> None:
    """On a large table it may take longer than requests wait, and these are answered as ever."""
    store, guarded = pair
    store.create(KEY, kept := record())
    store.down = True
    for _ in range(FAULTS):
        with pytest.raises(StoreUnavailable):
            guarded.count()
    store.down = False
    assert guarded.get(KEY) == kept


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get(KEY),
        lambda store: store.create(KEY, record()),
        lambda store: store.replace(KEY, record(), 1),
        lambda store: store.touch(KEY, now_ms()),
        lambda store: store.delete(KEY),
        lambda store: store.end(KEY, now_ms() + 1000),
        lambda store: store.rotate(KEY, 1, NEW, record()),
        lambda store: store.end_and_replace({}, 1, KEY, record(), 1),
        lambda store: store.save_both(Saving(KEY, record(), 1), Saving(NEW, record(), 1)),
        lambda store: store.count(),
        lambda store: store.clear_expired(),
    ],
    ids=[
        "get",
        "create",
        "replace",
        "touch",
        "delete",
        "end",
        "rotate",
        "end_and_replace",
        "save_both",
        "count",
        "clear_expired",
    ],
)
def test_while_the_circuit_is_open_the_store_is_left_alone(
    pair: Pair, call: Callable[[GuardedStore], Any]
) -> None:
    store, guarded = pair
    store.down = True
    for _ in range(FAULTS):
        with pytest.raises(StoreUnavailable):
            guarded.get(KEY)
    store.calls.clear()
    with pytest.raises(StoreUnavailable, match="given a moment"):
        call(guarded)
    assert store.calls == []


@pytest.mark.parametrize(("seconds", "tries"), [(0.9, 2), (1.1, 1)])
def test_a_connection_that_is_lost_late_is_not_tried_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, settings: Settings, seconds: float, tries: int
) -> None:
    settings.SESSIONPERSIST = {"TIMEOUT_SECONDS": 2.0}
    store, guarded = pair
    now = [0.0]
    monkeypatch.setattr(guarding, "monotonic", lambda: now[0])

    def lose() -> Record | None:
        store.calls.append("get")
        now[0] += seconds
        raise StoreUnavailable("The connection was lost.", connection_lost=True)

    with pytest.raises(StoreUnavailable, match="was lost"):
        guarded._guarded("get", lose)
    assert store.calls == ["get"] * tries


def test_while_the_circuit_is_open_the_last_failure_is_told(pair: Pair) -> None:
    store, guarded = pair
    store.down = True
    for _ in range(FAULTS):
        with pytest.raises(StoreUnavailable, match=r"^The store is down, by command\.$"):
            guarded.get(KEY)
    with pytest.raises(StoreUnavailable) as refused:
        guarded.get(KEY)
    assert str(refused.value) == (
        "The flaky store has failed repeatedly and is being given a moment. "
        "The last failure: The store is down, by command."
    )


def test_a_trial_that_fails_otherwise_is_told_from_then_on(pair: Pair) -> None:
    store, guarded = pair
    now = [0.0]
    guarded.breaker._clock = lambda: now[0]
    store.down = True
    for _ in range(FAULTS):
        with pytest.raises(StoreUnavailable):
            guarded.get(KEY)
    store.down, store.broken_before = False, 2
    now[0] += PAUSE
    with pytest.raises(StoreUnavailable, match=r"^The connection was lost\.$"):
        guarded.get(KEY)
    with pytest.raises(StoreUnavailable, match=r"The last failure: The connection was lost\.$"):
        guarded.get(KEY)


def test_after_the_pause_the_store_is_tried_and_works_again(pair: Pair) -> None:
    store, guarded = pair
    now = [0.0]
    guarded.breaker._clock = lambda: now[0]
    store.down = True
    for _ in range(FAULTS):
        with pytest.raises(StoreUnavailable):
            guarded.get(KEY)
    store.down = False
    now[0] += PAUSE
    assert guarded.create(KEY, record())
    assert guarded.get(KEY)


def test_one_log_line_and_one_signal_when_lost_and_when_back(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    store, guarded = pair
    news: list[str] = []

    def lost(**kwargs: Any) -> None:
        news.append(f"lost {kwargs['description']}")

    def back(**kwargs: Any) -> None:
        news.append(f"back {kwargs['description']}")

    store_lost.connect(lost)
    store_recovered.connect(back)
    try:
        with caplog.at_level(logging.WARNING, "sessionpersist"):
            store.down = True
            for _ in range(10):
                with pytest.raises(StoreUnavailable):
                    guarded.get(KEY)
            store.down = False
            guarded.breaker._open_until = None
            for _ in range(10):
                guarded.get(KEY)
    finally:
        store_lost.disconnect(lost)
        store_recovered.disconnect(back)
    assert news == ["lost The flaky store", "back The flaky store"]
    assert [line.levelname for line in caplog.records] == ["ERROR", "WARNING"]
    assert KEY not in caplog.text


def test_a_receiver_that_fails_makes_an_outage_no_worse(pair: Pair) -> None:
    store, guarded = pair

    def fail(**kwargs: Any) -> None:
        raise RuntimeError("the pager is broken too")

    for signal in (store_lost, store_recovered):
        signal.connect(fail)
    try:
        store.down = True
        with pytest.raises(StoreUnavailable):
            guarded.get(KEY)
        store.down = False
        assert guarded.get(KEY) is None
    finally:
        for signal in (store_lost, store_recovered):
            signal.disconnect(fail)


def test_the_breakers_of_servers_that_are_gone_are_not_kept_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each restart of a pod can bring a new address."""
    monkeypatch.setattr(guarding, "MOST_PARTS", 10)

    class Wandering(FlakyStore, Parted):
        at = 0

        def part_of(self, key: str) -> str:
            self.at += 1
            return f"10.0.0.{self.at}:6379"

    parted = PartedStore(Wandering(tmp_path), "The Cluster")
    for _ in range(50):
        assert parted.get(KEY) is None
    assert len(parted._parts) <= 10
    assert parted._parts[""] is parted.whole
