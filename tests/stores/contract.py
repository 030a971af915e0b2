"""What every store promises, as tests. A subclass says where its records lie, in `make_store`, and inherits the rest.

There is a class for each part of the contract in ``stores/base.py``. Wrappers around stores inherit the parts that they
keep.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, ClassVar, TypeVar

import pytest

from sessionpersist.exceptions import SessionTooLarge
from sessionpersist.stores import probe
from sessionpersist.stores.base import (
    ENDED,
    MAX_PAYLOAD_BYTES,
    PLACE,
    Drainable,
    Outcome,
    Probed,
    Record,
    Rotation,
    Saving,
    Store,
    check_size,
    new_version,
    now_ms,
    place_of,
    saved,
)
from tests.stores.parallel import in_processes, in_threads, killed_in_a_loop, racing
from tests.stores.verbs import OF_A_REQUEST

T = TypeVar("T")

MINUTE = 60_000  # milliseconds
RACERS = 6
MOST_LINKS = 3_000  # more than a process can use before it is killed
MORE_THAN_A_PAGE = 230
MORE_THAN_A_BATCH = 520


def a_key() -> str:
    """A stored key that no other test has."""
    return secrets.token_hex(32)


def a_record(payload: bytes = b"payload", *, life: int = MINUTE, user_id: str = "7") -> Record:
    """A record that lives for so many milliseconds; negative for one that has expired."""
    now = now_ms()
    return Record(payload, new_version(), now, now + life, user_id)


def linked(key: str, record: Record, at: int) -> tuple[str, Record]:
    """Return one of a chain of keys and records, made as it is asked for: a process, and its child."""
    return f"{(int(key, 16) + at) % 2**256:064x}", record._replace(version=record.version + at)


def before_it_expires(act: Callable[[str, Record], T]) -> tuple[str, Record, T]:
    """Do something with a key and a record that lives for a moment only: as short as this machine can do it in.

    Returns both, and what was returned.
    """
    for life in (150, 600, 2400, 9600):
        key, record = a_key(), a_record(life=life)
        done = act(key, record)
        if now_ms() < record.expires_at:
            return key, record, done
    pytest.fail("This machine is too slow to do anything before a record expires.")


def wait_until_expired(record: Record) -> None:
    time.sleep(max(0, record.expires_at - now_ms()) / 1000 + 0.05)


def how_many_live(store: Store, keys: Collection[str]) -> int:
    found = [store.get(key) for key in keys]
    return sum(record is not None and not record.ended for record in found)


def eventually(find: Callable[[], int], allowed: Collection[int]) -> bool:
    """Whether it finds one of these; a server may still be at what a client that was killed has asked."""
    give_up = time.monotonic() + 10
    while find() not in allowed:
        if time.monotonic() > give_up:
            return False
        time.sleep(0.05)
    return True


def empty(store: Drainable) -> None:
    """Remove every record with the means of the contract: nothing deletes an ended record but its expiry."""
    found = dict(store.scan())
    if live := {key: held.version for key, held in found.items() if held and not held.ended}:
        store.delete_many(live)
    for key, held in found.items():
        if held is None or held.ended:
            store.end(key, now_ms() - 1)
    store.clear_expired()


class CostlyContract:
    """The part of the contract that takes megabytes, or other processes."""

    rotates_at_once = True

    def test_a_payload_of_the_greatest_size_comes_back(self, store: Store) -> None:
        # Sealed payloads look like random bytes; the statements of some databases escape a few of them.
        self._keeps(store, a_record(secrets.token_bytes(MAX_PAYLOAD_BYTES)))

    def _keeps(self, store: Store, record: Record) -> None:
        """Written by create, then by replace."""
        key, first = a_key(), a_record()
        assert store.create(key, record)
        assert store.get(key) == record
        assert store.delete(key)
        assert store.create(key, first)
        assert store.replace(key, record, first.version) is Outcome.SAVED
        assert store.get(key) == record
        assert store.rotate(key, record.version, other := a_key(), record) is Rotation.DONE
        assert store.get(other) == record
        assert store.delete(other)

    def test_a_process_that_is_killed_while_it_rotates_leaves_the_session_under_one_key(
        self, store: Store
    ) -> None:
        """Under both, where a store does one thing at a time; under none in no store."""
        for _ in range(5):
            link = partial(linked, a_key(), a_record())
            store.create(*link(0))

            def rotate(at: int, link: Callable[[int], tuple[str, Record]] = link) -> None:
                (old, held), new = link(at), link(at + 1)
                store.rotate(old, held.version, *new)

            begun = killed_in_a_loop(rotate, MOST_LINKS)
            keys = [link(at)[0] for at in (begun, begun + 1)]
            allowed = (1,) if self.rotates_at_once else (1, 2)
            assert eventually(partial(how_many_live, store, keys), allowed)

    def test_of_processes_that_replace_one_version_one_wins(
        self, store: Store, live: tuple[str, Record]
    ) -> None:
        """Forked after the store was used; the parent can go on with its own connections."""
        key, old = live
        names = in_processes([lambda: store.replace(key, a_record(), old.version).name] * 4)
        assert sorted(names) == ["CONFLICT", "CONFLICT", "CONFLICT", "SAVED"]
        found = store.get(key)
        assert found is not None
        assert found.version != old.version

    def test_a_forked_child_reads_and_writes_and_the_parent_goes_on(
        self, store: Store, live: tuple[str, Record]
    ) -> None:
        key, other = live[0], a_key()
        seen = in_processes([lambda: str(store.get(key) == live[1] and store.create(other, a_record()))])
        assert seen == ["True"]
        assert store.get(key) == live[1]
        assert store.get(other) is not None


class AnyContent:
    """What a record may hold, however it is written down. A subclass is one of CostlyContract, too."""

    _keeps: Callable[..., None]

    @pytest.mark.parametrize(
        "payload", [b"", b"\0", bytes(range(256)) * 3, "%s ' \\ \" ; ü \N{SNOWMAN}".encode()]
    )
    def test_a_payload_of_any_bytes_comes_back(self, store: Store, payload: bytes) -> None:
        self._keeps(store, a_record(payload))

    @pytest.mark.parametrize("user_id", ["", "0", "a" * 255, "ünï-\N{SNOWMAN}-\N{PILE OF POO}"])
    def test_a_user_id_of_any_text_comes_back(self, store: Store, user_id: str) -> None:
        self._keeps(store, a_record(user_id=user_id))


class SavesTwo:
    """Store.save_both(), which some stores do with one command and others by the default."""

    @pytest.mark.parametrize("new", ["neither", "first", "second", "both"])
    def test_save_both_saves_both(
        self, store: Store, live: tuple[str, Record], expired: tuple[str, Record], new: str
    ) -> None:
        (first, held), second, other = live, a_key(), a_record(b"other")
        store.create(second, other)
        one, two = Saving(first, a_record(b"1"), held.version), Saving(second, a_record(b"2"), other.version)
        if new in ("first", "both"):
            one = one._replace(key=a_key(), expected=None)
        if new in ("second", "both"):
            two = two._replace(key=expired[0], expected=None)
        assert self._both(store, one, two) == (Outcome.SAVED, Outcome.SAVED)
        assert (store.get(one.key), store.get(two.key)) == (one.record, two.record)

    def test_save_both_leaves_the_second_alone_where_the_first_is_not_saved(
        self, store: Store, live: tuple[str, Record], expired: tuple[str, Record], ended: str
    ) -> None:
        second, other = a_key(), a_record(b"other")
        store.create(second, other)
        wanted = Saving(second, a_record(b"newer"), other.version)
        for saving, outcome in self._not_to_be_saved(live, expired, ended):
            assert store.save_both(saving, wanted) == (outcome, None)
        assert (store.get(live[0]), store.get(second)) == (live[1], other)

    def test_save_both_saves_the_first_whatever_becomes_of_the_second(
        self, store: Store, live: tuple[str, Record], expired: tuple[str, Record], ended: str
    ) -> None:
        first, held = a_key(), a_record()
        store.create(first, held)
        for saving, outcome in self._not_to_be_saved(live, expired, ended):
            new = a_record(b"new")
            assert self._both(store, Saving(first, new, held.version), saving) == (Outcome.SAVED, outcome)
            assert store.get(first) == new
            held = new
        assert store.get(live[0]) == live[1]

    def test_save_both_moves_the_second(self, store: Store, live: tuple[str, Record]) -> None:
        (first, held), old, moving = live, a_key(), a_record(b"other")
        store.create(old, moving)
        one, two = (
            Saving(first, a_record(b"1"), held.version),
            Saving(a_key(), a_record(b"2"), moving.version, old),
        )
        outcome, then = store.save_both(one, two)
        assert (outcome, store.get(first)) == (Outcome.SAVED, one.record)
        there = (moving, None) if then is None else (None, two.record)
        assert (store.get(old), store.get(two.key)) == there
        assert then in (None, Outcome.SAVED)

    def test_save_both_moves_nothing_over_another_record_nor_what_has_changed(
        self, store: Store, live: tuple[str, Record], expired: tuple[str, Record], ended: str
    ) -> None:
        (taken, held), first = live, a_key()
        store.create(first, listed := a_record())
        store.create(old := a_key(), moving := a_record(b"moving"))
        cases = [
            ((taken, moving.version, old), Outcome.CONFLICT),
            ((ended, moving.version, old), Outcome.CONFLICT),
            ((a_key(), moving.version ^ 1, old), Outcome.CONFLICT),
            ((a_key(), moving.version, a_key()), Outcome.MISSING),
            ((a_key(), expired[1].version, expired[0]), Outcome.MISSING),
            ((a_key(), ENDED, ended), Outcome.MISSING),
        ]
        for (key, version, old_key), refused in cases:
            before, new = store.get(key), a_record(b"list")
            moved = Saving(key, a_record(b"new"), version, old_key)
            outcome, then = store.save_both(Saving(first, new, listed.version), moved)
            assert (outcome, store.get(first)) == (Outcome.SAVED, new)
            assert then in (None, refused)
            assert (store.get(key), store.get(old), store.get(taken)) == (before, moving, held)
            listed = new

    def _both(self, store: Store, first: Saving, second: Saving) -> tuple[Outcome, Outcome | None]:
        """Save both, the second by itself where the store has left it alone."""
        outcome, then = store.save_both(first, second)
        return outcome, saved(store, second) if then is None else then

    def _not_to_be_saved(
        self, live: tuple[str, Record], expired: tuple[str, Record], ended: str
    ) -> list[tuple[Saving, Outcome]]:
        return [
            (Saving(live[0], a_record(), live[1].version ^ 1), Outcome.CONFLICT),
            (Saving(live[0], a_record(), None), Outcome.CONFLICT),
            (Saving(ended, a_record(), None), Outcome.CONFLICT),
            (Saving(ended, a_record(), ENDED), Outcome.MISSING),
            (Saving(a_key(), a_record(), new_version()), Outcome.MISSING),
            (Saving(expired[0], a_record(), expired[1].version), Outcome.MISSING),
        ]


class VerbsContract(CostlyContract, AnyContent, SavesTwo):
    """What a request asks of a store. Each call of `make_store` gives a store of the same records.

    The tests of a class have one, with its connections: to open and prepare another takes longer than most of them.
    """

    def make_store(self) -> Store:
        raise NotImplementedError

    def prepare(self, store: Any) -> None:
        """Have the server prepared, before the first test."""
        store.prepare()

    def make_ready(self, store: Any) -> None:
        """Have no record in the store, before each test."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def surroundings(cls) -> None:
        """What must be there as long as the store."""

    @pytest.fixture(scope="class")
    @classmethod
    def kept(cls, surroundings: None) -> Iterator[list[Store]]:
        """The store of the class, once it is there."""
        kept: list[Store] = []
        yield kept
        for store in kept:
            store.close()

    @pytest.fixture
    def store(self, kept: list[Store]) -> Store:
        if not kept:
            with ExitStack() as closing_what_is_not_ready:
                closing_what_is_not_ready.callback((made := self.make_store()).close)
                self.prepare(made)
                closing_what_is_not_ready.pop_all()
            kept.append(made)
        self.make_ready(kept[0])
        return kept[0]

    @pytest.fixture
    def live(self, store: Store) -> tuple[str, Record]:
        key, record = a_key(), a_record()
        assert store.create(key, record)
        return key, record

    @pytest.fixture
    def expired(self, store: Store) -> tuple[str, Record]:
        key, record = a_key(), a_record(life=-1)
        assert store.create(key, record)
        return key, record

    @pytest.fixture
    def ended(self, store: Store) -> str:
        key = a_key()
        store.end(key, now_ms() + MINUTE)
        return key

    # get

    def test_get_of_an_absent_key_is_none(self, store: Store) -> None:
        assert store.get(a_key()) is None

    def test_get_gives_back_what_was_created(self, store: Store, live: tuple[str, Record]) -> None:
        key, record = live
        found = store.get(key)
        assert found == record
        assert found is not None
        assert [type(value) for value in found] == [bytes, int, int, int, str]

    def test_get_of_an_expired_record_is_none(self, store: Store, expired: tuple[str, Record]) -> None:
        assert store.get(expired[0]) is None

    def test_get_of_an_ended_record_tells_that_it_ended(self, store: Store, ended: str) -> None:
        found = store.get(ended)
        assert found is not None
        assert found.ended
        assert (found.payload, found.user_id) == (b"", "")

    def test_a_record_is_gone_when_its_time_has_come(self, store: Store) -> None:
        def create_and_get(key: str, record: Record) -> Record | None:
            store.create(key, record)
            return store.get(key)

        key, record, found = before_it_expires(create_and_get)
        assert found == record
        wait_until_expired(record)
        assert store.get(key) is None

    # create

    def test_create_over_a_live_record_is_refused_and_changes_nothing(
        self, store: Store, live: tuple[str, Record]
    ) -> None:
        key, record = live
        assert store.create(key, a_record(b"other")) is False
        assert store.get(key) == record

    def test_create_over_an_expired_record_succeeds(self, store: Store, expired: tuple[str, Record]) -> None:
        record = a_record(b"new")
        assert store.create(expired[0], record) is True
        assert store.get(expired[0]) == record

    def test_create_over_an_ended_record_is_refused(self, store: Store, ended: str) -> None:
        assert store.create(ended, a_record()) is False
        found = store.get(ended)
        assert found is not None
        assert found.ended

    def test_create_over_an_ended_record_that_expired_succeeds(self, store: Store) -> None:
        key, record = a_key(), a_record()
        store.end(key, now_ms() - 1)
        assert store.create(key, record) is True
        assert store.get(key) == record

    # replace

    def test_replace_of_the_expected_version_writes_the_whole_record(
        self, store: Store, live: tuple[str, Record]
    ) -> None:
        key, old = live
        new = Record(b"new", new_version(), old.created_at + 5_000, old.expires_at + 5_000, "8")
        assert store.replace(key, new, old.version) is Outcome.SAVED
        assert store.get(key) == new

    def test_replace_by_the_very_record_that_is_there_is_saved(
        self, store: Store, live: tuple[str, Record]
    ) -> None:
        key, record = live
        assert store.replace(key, record, record.version) is Outcome.SAVED
        assert store.replace(key, record, new_version()) is Outcome.CONFLICT
        assert store.get(key) == record

    def test_replace_may_shorten_a_life(self, store: Store, live: tuple[str, Record]) -> None:
        key, old = live
        assert store.replace(key, a_record(life=100), old.version) is Outcome.SAVED
        time.sleep(0.15)
        assert store.get(key) is None

    def test_replace_may_lengthen_a_life(self, store: Store) -> None:
        new = a_record()

        def create_and_replace(key: str, old: Record) -> Outcome:
            store.create(key, old)
            return store.replace(key, new, old.version)

        key, old, outcome = before_it_expires(create_and_replace)
        assert outcome is Outcome.SAVED
        wait_until_expired(old)
        assert store.get(key) == new

    def test_replace_of_another_version_is_a_conflict_and_changes_nothing(
        self, store: Store, live: tuple[str, Record]
    ) -> None:
        key, record = live
        for expected in (new_version(), record.version ^ 1, ENDED):
            assert store.replace(key, a_record(b"new"), expected) is Outcome.CONFLICT
        assert store.get(key) == record

    def test_versions_of_all_63_bits_are_told_apart(self, store: Store) -> None:
        key, highest = a_key(), 2**63 - 1
        store.create(key, a_record()._replace(version=highest))
        assert store.replace(key, a_record(), highest - 1) is Outcome.CONFLICT
        assert store.delete(key, highest - 1) is False
        assert store.replace(key, a_record()._replace(version=1), highest) is Outcome.SAVED
        assert store.delete(key, 1) is True

    def test_replace_where_nothing_lives_is_missing_and_writes_nothing(
        self, store: Store, expired: tuple[str, Record]
    ) -> None:
        absent = a_key()
        assert store.replace(absent, a_record(), new_version()) is Outcome.MISSING
        assert store.replace(expired[0], a_record(), expired[1].version) is Outcome.MISSING
        assert store.get(absent) is None
        assert store.get(expired[0]) is None

    def test_replace_of_an_ended_record_is_missing_whatever_is_expected(
        self, store: Store, ended: str
    ) -> None:
        for expected in (ENDED, new_version()):
            assert store.replace(ended, a_record(), expected) is Outcome.MISSING
        found = store.get(ended)
        assert found is not None
        assert found.ended

    # touch

    def test_touch_moves_the_expiry_and_nothing_else(self, store: Store, live: tuple[str, Record]) -> None:
        key, record = live
        later = record.expires_at + 1234
        assert store.touch(key, later) is True
        assert store.get(key) == record._replace(expires_at=later)

    def test_touch_lets_a_record_outlive_its_first_expiry(self, store: Store) -> None:
        def create_and_touch(key: str, record: Record) -> bool:
            store.create(key, record)
            return store.touch(key, now_ms() + MINUTE)

        key, record, touched = before_it_expires(create_and_touch)
        assert touched
        wait_until_expired(record)
        assert store.get(key) is not None

    def test_touch_never_moves_the_expiry_back(self, store: Store, live: tuple[str, Record]) -> None:
        key, record = live
        assert store.touch(key, now_ms() + 50) is True
        assert store.get(key) == record
        time.sleep(0.1)
        assert store.get(key) == record

    def test_touch_where_nothing_lives_is_false(
        self, store: Store, expired: tuple[str, Record], ended: str
    ) -> None:
        later = now_ms() + 2 * MINUTE
        assert [store.touch(key, later) for key in (a_key(), expired[0], ended)] == [False] * 3
        assert store.get(expired[0]) is None
        found = store.get(ended)
        assert found is not None
        assert found.expires_at < later

    # delete

    def test_delete_of_a_live_record_is_true_once(self, store: Store, live: tuple[str, Record]) -> None:
        assert store.delete(live[0]) is True
        assert store.get(live[0]) is None
        assert store.delete(live[0]) is False

    def test_delete_with_the_version_held_deletes(self, store: Store, live: tuple[str, Record]) -> None:
        assert store.delete(live[0], live[1].version) is True
        assert store.get(live[0]) is None

    def test_delete_with_another_version_deletes_nothing(
        self, store: Store, live: tuple[str, Record]
    ) -> None:
        key, record = live
        assert [store.delete(key, version) for version in (new_version(), ENDED)] == [False, False]
        assert store.get(key) == record

    def test_delete_where_nothing_lives_is_false(
        self, store: Store, expired: tuple[str, Record], ended: str
    ) -> None:
        assert [store.delete(key) for key in (a_key(), expired[0], ended)] == [False] * 3
        assert store.delete(expired[0], expired[1].version) is False
        assert store.delete(ended, ENDED) is False
        assert store.get(ended) is not None

    # end

    def test_end_writes_over_whatever_was_there(
        self, store: Store, live: tuple[str, Record], expired: tuple[str, Record], ended: str
    ) -> None:
        until = now_ms() + 2 * MINUTE
        for key in (a_key(), live[0], expired[0], ended):
            store.end(key, until)
            found = store.get(key)
            assert found is not None
            assert (found.ended, found.expires_at, found.payload) == (True, until, b"")

    def test_end_keeps_its_reason_a_later_one_too(self, store: Store, live: tuple[str, Record]) -> None:
        until = now_ms() + MINUTE
        for reason in (1, 255, 0, 9):
            store.end(live[0], until, reason)
            found = store.get(live[0])
            assert found is not None
            assert (found.ended, found.reason, found.expires_at) == (True, reason, until)

    def test_a_session_that_was_ended_for_a_reason_takes_no_write(
        self, store: Store, live: tuple[str, Record]
    ) -> None:
        key, record = live
        store.end(key, now_ms() + MINUTE, 3)
        assert store.replace(key, a_record(), record.version) is Outcome.MISSING
        assert [store.create(key, a_record()), store.touch(key, now_ms() + 2 * MINUTE)] == [False] * 2
        assert [store.delete(key), store.delete(key, record.version)] == [False] * 2
        found = store.get(key)
        assert found is not None
        assert (found.ended, found.reason) == (True, 3)

    def test_an_ended_record_expires(self, store: Store) -> None:
        key = a_key()
        store.end(key, now_ms() + 100)
        time.sleep(0.15)
        assert store.get(key) is None
        assert store.create(key, a_record()) is True

    # rotate

    @pytest.mark.parametrize("any_version", [False, True])
    def test_rotate_writes_the_new_record_and_deletes_the_old_one(
        self, store: Store, live: tuple[str, Record], any_version: bool
    ) -> None:
        (old, held), key, new = live, a_key(), a_record(b"new", user_id="8")
        version = None if any_version else held.version
        assert store.rotate(old, version, key, new) is Rotation.DONE
        assert (store.get(key), store.get(old)) == (new, None)
        assert store.delete(old) is False
        assert store.replace(old, a_record(), held.version) is Outcome.MISSING

    def test_rotate_leaves_another_version_under_the_old_key(
        self, store: Store, live: tuple[str, Record]
    ) -> None:
        for version in (new_version(), live[1].version ^ 1, ENDED):
            key, new = a_key(), a_record()
            assert store.rotate(live[0], version, key, new) is Rotation.LEFT
            assert (store.get(key), store.get(live[0])) == (new, live[1])

    def test_rotate_of_what_does_not_live_writes_the_new_record_all_the_same(
        self, store: Store, expired: tuple[str, Record], ended: str
    ) -> None:
        for old in (a_key(), expired[0], ended):
            for version in (None, expired[1].version, ENDED):
                key, new = a_key(), a_record()
                assert store.rotate(old, version, key, new) is Rotation.LEFT
                assert store.get(key) == new
        assert (found := store.get(ended)) is not None
        assert found.ended

    @pytest.mark.parametrize("any_version", [False, True])
    def test_rotate_to_a_key_that_is_taken_changes_nothing(
        self, store: Store, live: tuple[str, Record], ended: str, any_version: bool
    ) -> None:
        key, record = a_key(), a_record()
        store.create(key, record)
        for taken in (live[0], ended, key):
            version = None if any_version else record.version
            assert store.rotate(key, version, taken, a_record()) is Rotation.TAKEN
        assert (store.get(key), store.get(live[0])) == (record, live[1])
        assert (found := store.get(ended)) is not None
        assert found.ended

    def test_rotate_to_a_key_whose_record_has_expired_succeeds(
        self, store: Store, live: tuple[str, Record], expired: tuple[str, Record]
    ) -> None:
        new = a_record(b"new")
        assert store.rotate(live[0], live[1].version, expired[0], new) is Rotation.DONE
        assert (store.get(expired[0]), store.get(live[0])) == (new, None)

    def test_what_was_rotated_can_be_created_again_and_lives_its_own_life(
        self, store: Store, live: tuple[str, Record]
    ) -> None:
        key, new, again = a_key(), a_record(), a_record(b"again")
        store.rotate(live[0], live[1].version, key, new)
        assert store.create(live[0], again) is True
        assert (store.get(key), store.get(live[0])) == (new, again)
        assert store.rotate(key, new.version, other := a_key(), third := a_record()) is Rotation.DONE
        assert (store.get(other), store.get(key)) == (third, None)

    # end_and_replace

    def test_end_and_replace_ends_whatever_is_there_and_saves(
        self, store: Store, live: tuple[str, Record], expired: tuple[str, Record], ended: str
    ) -> None:
        key, held, new, until = a_key(), a_record(), a_record(b"new"), now_ms() + 2 * MINUTE
        store.create(key, held)
        reasons = {a_key(): 0, live[0]: 1, expired[0]: 255, ended: 7}
        assert store.end_and_replace(reasons, until, key, new, held.version) is Outcome.SAVED
        assert store.get(key) == new
        self._have_ended(store, reasons, until)

    def test_end_and_replace_of_nobody_is_a_replace(self, store: Store, live: tuple[str, Record]) -> None:
        key, record = live
        new, until = a_record(b"new"), now_ms() + MINUTE
        assert store.end_and_replace({}, until, key, new, new_version()) is Outcome.CONFLICT
        assert store.get(key) == record
        assert store.end_and_replace({}, until, key, new, record.version) is Outcome.SAVED
        assert store.get(key) == new

    def test_end_and_replace_ends_also_where_nothing_is_to_be_replaced(
        self, store: Store, live: tuple[str, Record], expired: tuple[str, Record], ended: str
    ) -> None:
        until = now_ms() + MINUTE
        cases = [
            *(
                (live[0], version, Outcome.CONFLICT)
                for version in (new_version(), live[1].version ^ 1, ENDED)
            ),
            *((key, expired[1].version, Outcome.MISSING) for key in (a_key(), expired[0], ended)),
            (ended, ENDED, Outcome.MISSING),
        ]
        for key, version, outcome in cases:
            victim = a_key()
            store.create(victim, a_record())
            assert store.end_and_replace({victim: 1}, until, key, a_record(b"new"), version) is outcome
            self._have_ended(store, {victim: 1}, until)
        assert store.get(live[0]) == live[1]
        assert store.get(expired[0]) is None

    def _have_ended(self, store: Store, reasons: dict[str, int], until: int) -> None:
        for key, reason in reasons.items():
            found = store.get(key)
            assert found is not None
            assert (found.ended, found.reason, found.expires_at) == (True, reason, until)

    # payloads

    def test_a_payload_beyond_the_greatest_size_is_refused_for_every_store(self) -> None:
        check_size(bytes(MAX_PAYLOAD_BYTES))
        with pytest.raises(SessionTooLarge):
            check_size(bytes(MAX_PAYLOAD_BYTES + 1))

    # several at once

    def test_of_threads_that_create_one_key_one_wins(self, store: Store) -> None:
        key = a_key()
        records = [a_record(str(number).encode()) for number in range(RACERS)]
        won = in_threads([partial(store.create, key, record) for record in records])
        assert won.count(True) == 1
        assert store.get(key) == records[won.index(True)]

    def test_of_threads_that_create_over_one_expired_record_one_wins(
        self, store: Store, expired: tuple[str, Record]
    ) -> None:
        won = in_threads([lambda: store.create(expired[0], a_record())] * RACERS)
        assert won.count(True) == 1

    def test_of_threads_that_replace_one_version_one_wins(
        self, store: Store, live: tuple[str, Record]
    ) -> None:
        key, old = live
        records = [a_record(str(number).encode()) for number in range(RACERS)]
        outcomes = in_threads([partial(store.replace, key, record, old.version) for record in records])
        assert outcomes.count(Outcome.SAVED) == 1
        assert outcomes.count(Outcome.CONFLICT) == RACERS - 1
        found = store.get(key)
        assert found is not None
        assert found.version == records[outcomes.index(Outcome.SAVED)].version

    def test_of_a_replace_and_a_delete_of_one_version_one_wins(self, store: Store) -> None:
        with racing(2) as race:
            for _ in range(10):
                key, old = a_key(), a_record()
                store.create(key, old)
                replace: Callable[[], object] = partial(store.replace, key, a_record(), old.version)
                delete: Callable[[], object] = partial(store.delete, key, old.version)
                outcome, deleted = race([replace, delete])
                replaced = outcome is Outcome.SAVED
                assert replaced is not deleted
                assert (store.get(key) is not None) is replaced

    def test_of_threads_that_rotate_one_version_one_finds_it(
        self, store: Store, live: tuple[str, Record]
    ) -> None:
        """The others may still have created a session of their own, as a login does."""
        (old, held), new = live, {a_key(): a_record() for _ in range(RACERS)}
        answers = in_threads([partial(store.rotate, old, held.version, *each) for each in new.items()])
        assert sorted(each.name for each in answers) == ["DONE"] + ["LEFT"] * (RACERS - 1)
        assert {key: store.get(key) for key in new} == new
        assert store.get(old) is None

    def test_of_threads_that_rotate_to_one_key_one_wins_and_the_others_keep_theirs(
        self, store: Store
    ) -> None:
        key, old = a_key(), {a_key(): a_record() for _ in range(RACERS)}
        for name, record in old.items():
            store.create(name, record)
        new = [a_record(str(number).encode()) for number in range(RACERS)]
        calls = [
            partial(store.rotate, name, record.version, key, mine)
            for (name, record), mine in zip(old.items(), new, strict=True)
        ]
        answers = in_threads(calls)
        assert sorted(each.name for each in answers) == ["DONE"] + ["TAKEN"] * (RACERS - 1)
        assert store.get(key) == new[answers.index(Rotation.DONE)]
        kept = {name for name in old if store.get(name) is not None}
        lost = {name for name, answer in zip(old, answers, strict=True) if answer is Rotation.DONE}
        assert kept == old.keys() - lost

    def test_of_a_rotate_and_a_replace_of_one_version_no_save_is_lost(self, store: Store) -> None:
        with racing(2) as race:
            for _ in range(10):
                old, key, held, saved = a_key(), a_key(), a_record(), a_record(b"saved")
                store.create(old, held)
                rotate: Callable[[], object] = partial(
                    store.rotate, old, held.version, key, new := a_record()
                )
                replace: Callable[[], object] = partial(store.replace, old, saved, held.version)
                rotated, outcome = race([rotate, replace])
                left = store.get(old)
                assert store.get(key) == new
                assert (outcome is Outcome.SAVED) is (left == saved)
                assert (rotated is Rotation.DONE) is (left is None)
                if self.rotates_at_once:
                    assert outcome is (Outcome.MISSING if left is None else Outcome.SAVED)

    def test_of_a_rotate_and_an_end_the_end_stays(self, store: Store) -> None:
        with racing(2) as race:
            for _ in range(10):
                old, held = a_key(), a_record()
                store.create(old, held)
                rotate: Callable[[], object] = partial(store.rotate, old, held.version, a_key(), a_record())
                end: Callable[[], object] = partial(store.end, old, now_ms() + MINUTE)
                race([rotate, end])
                assert (found := store.get(old)) is not None
                assert found.ended

    # its life

    def test_a_closed_store_opens_again(self, store: Store, live: tuple[str, Record]) -> None:
        store.close()
        store.close()
        assert store.get(live[0]) == live[1]

    def test_another_store_object_has_the_same_records(self, store: Store, live: tuple[str, Record]) -> None:
        other = self.make_store()
        assert other.get(live[0]) == live[1]
        other.close()


class DrainContract:
    """What a drain asks of a store. A subclass is one of VerbsContract, too."""

    def test_clear_expired_leaves_live_and_ended_records_alone(
        self, store: Drainable, live: tuple[str, Record], expired: tuple[str, Record], ended: str
    ) -> None:
        store.clear_expired()
        assert store.get(live[0]) == live[1]
        assert store.get(ended) is not None

    def test_scan_gives_every_unexpired_record(
        self, store: Drainable, live: tuple[str, Record], expired: tuple[str, Record], ended: str
    ) -> None:
        found = dict(store.scan())
        assert found.keys() == {live[0], ended}
        assert found[live[0]] == live[1]
        last = found[ended]
        assert last is not None
        assert last.ended

    def test_scan_of_more_than_a_page_misses_nothing_though_records_go_meanwhile(
        self, store: Drainable
    ) -> None:
        records = {a_key(): a_record(str(number).encode()) for number in range(MORE_THAN_A_PAGE)}
        for made, each in records.items():
            store.create(made, each)
        found = {}
        for key, record in store.scan():
            assert record is not None
            found[key] = record
            store.delete(key, record.version)
        assert found == records
        assert list(store.scan()) == []

    def test_scan_can_be_left_half_way(self, store: Drainable, live: tuple[str, Record]) -> None:
        store.create(a_key(), a_record())
        assert next(iter(store.scan()))
        assert store.get(live[0]) == live[1]

    def test_count_counts_live_records_only(
        self, store: Drainable, live: tuple[str, Record], expired: tuple[str, Record], ended: str
    ) -> None:
        assert store.count() == 1
        store.create(a_key(), a_record())
        assert store.count() == 2
        assert store.count(at_most=2) == 2
        assert store.count(at_most=1) == 1

    def test_get_many_gives_what_is_there(
        self, store: Drainable, live: tuple[str, Record], expired: tuple[str, Record], ended: str
    ) -> None:
        found = store.get_many([a_key(), live[0], expired[0], ended])
        assert found.keys() == {live[0], ended}
        assert found[live[0]] == live[1]
        assert found[ended].ended

    def test_create_many_creates_all_that_are_not_there(self, store: Drainable) -> None:
        records = {a_key(): a_record(str(number).encode()) for number in range(MORE_THAN_A_PAGE)}
        assert store.create_many(records) == records.keys()
        assert dict(store.scan()) == records

    def test_create_many_leaves_a_taken_key_as_it_is_and_creates_the_others(
        self, store: Drainable, live: tuple[str, Record], ended: str
    ) -> None:
        new = {a_key(): a_record(), a_key(): a_record()}
        taken = {live[0]: a_record(b"other"), ended: a_record(b"revived")}
        assert store.create_many({**taken, **new}) == new.keys()
        assert store.get(live[0]) == live[1]
        assert (held := store.get(ended)) is not None
        assert held.ended
        assert all(store.get(key) == record for key, record in new.items())

    def test_create_many_says_of_an_expired_record_whether_it_was_written_over(
        self, store: Drainable, expired: tuple[str, Record]
    ) -> None:
        new = a_record()
        created = store.create_many({expired[0]: new})
        assert store.get(expired[0]) == (new if created else None)

    def test_delete_many_deletes_what_still_has_its_version(
        self, store: Drainable, live: tuple[str, Record], ended: str
    ) -> None:
        others = {a_key(): a_record() for _ in range(MORE_THAN_A_PAGE)}
        store.create_many(others)
        versions = {key: record.version for key, record in others.items()}
        assert store.delete_many(versions | {live[0]: new_version(), ended: new_version()}) == {
            live[0],
            ended,
        }
        assert dict(store.scan()).keys() == {live[0], ended}
        assert store.get(live[0]) == live[1]

    def test_of_none_there_is_nothing_to_do(self, store: Drainable, live: tuple[str, Record]) -> None:
        assert (store.get_many([]), store.create_many({}), store.delete_many({})) == ({}, set(), set())
        assert store.get(live[0]) == live[1]

    def test_delete_many_with_all_of_their_versions_leaves_nothing(self, store: Drainable) -> None:
        records = {a_key(): a_record(), a_key(): a_record()}
        store.create_many(records)
        assert store.delete_many({key: record.version for key, record in records.items()}) == set()
        assert store.count() == 0


class StoreContract(VerbsContract, DrainContract):
    """The whole contract: inherited by one class a store."""

    def make_store(self) -> Probed:
        raise NotImplementedError

    def make_ready(self, store: Probed) -> None:
        empty(store)

    def test_prepare_can_be_repeated_and_by_several_at_once(self, store: Probed) -> None:
        in_threads([store.prepare] * 4)
        assert store.missing() is None

    def test_a_probe_has_good_steps_only_and_leaves_nothing_behind(self, store: Probed) -> None:
        steps = probe.run(store, prepare=True)
        assert [step for step in steps if not step.ok] == []
        assert {"Write", "Read", "Compare and set", "Delete", "Expiry"} <= {step.name for step in steps}
        assert list(store.scan()) == []

    def test_a_closed_probe_of_the_store_does_not_prepare_it_again(self, store: Probed) -> None:
        assert all(step.ok for step in probe.run(store))


def _noted(answers: list[object], verb: Callable[[], object]) -> None:
    answers.append(verb())


class HasAPlace:
    """The id of the place. A subclass is one of StoreContract, too."""

    def make_store(self) -> Probed:
        raise NotImplementedError

    def test_a_place_has_one_id_whoever_prepares_it_and_by_whichever_store_object(
        self, store: Probed
    ) -> None:
        found = store.place()
        assert found is not None
        assert place_of(found) == found
        in_threads([store.prepare] * 4)
        other = self.make_store()
        other.prepare()
        assert [store.place(), other.place()] == [found, found]
        other.close()

    def test_the_id_of_a_place_is_no_session(self, store: Probed, live: tuple[str, Record]) -> None:
        store.clear_expired()
        assert store.get(PLACE) is None
        assert dict(store.scan()) == {live[0]: live[1]}
        assert store.get_many([live[0], PLACE]) == {live[0]: live[1]}
        assert [store.count(), store.count(at_most=1), store.count(at_most=5)] == [1, 1, 1]
        assert store.place() is not None


class RoundTrips:
    """One command a verb: the budget of a request. A subclass counts what its server is asked."""

    # How many, of what a server may do one after the other.
    several: ClassVar[Mapping[str, int]] = {}
    saves_both: ClassVar = False  # with one command

    def commands(self, store: Probed, action: Callable[[], object]) -> int:
        raise NotImplementedError

    def test_each_verb_of_a_request_is_one_command(self, store: Probed) -> None:
        key, moved, later = a_key(), a_key(), now_ms() + MINUTE
        first, second, third, fourth = a_record(), a_record(), a_record(), a_record()
        store.create(other := a_key(), fourth)
        verbs: list[tuple[str, Callable[[], object], object]] = [
            ("create", lambda: store.create(key, first), True),
            ("get", lambda: store.get(key), first),
            ("replace", lambda: store.replace(key, second, first.version), Outcome.SAVED),
            ("touch", lambda: store.touch(key, second.expires_at + 9), True),
            ("rotate", lambda: store.rotate(key, second.version, moved, third), Rotation.DONE),
            (
                "end_and_replace",
                lambda: store.end_and_replace({a_key(): 1}, later, moved, first, third.version),
                Outcome.SAVED,
            ),
            (
                "save_both",
                lambda: store.save_both(
                    Saving(moved, second, first.version), Saving(other, third, fourth.version)
                ),
                (Outcome.SAVED, Outcome.SAVED if self.saves_both else None),
            ),
            (
                "save_both",
                lambda: store.save_both(
                    Saving(moved, first, second.version), Saving(a_key(), fourth, third.version, other)
                ),
                (Outcome.SAVED, Outcome.SAVED if self.saves_both else None),
            ),
            ("delete", lambda: store.delete(moved), True),
            ("end", lambda: store.end(moved, later), None),
        ]
        assert {name for name, *_ in verbs} == OF_A_REQUEST
        self._warm_up(store)
        for name, verb, answer in verbs:
            answers: list[object] = []
            commands = self.commands(store, partial(_noted, answers, verb))
            assert (name, commands, answers) == (name, self.several.get(name, 1), [answer])

    def _warm_up(self, store: Probed) -> None:
        """Connect, and have the server know the scripts."""
        key, record = a_key(), a_record()
        store.create(key, record)
        store.get(key)
        store.touch(key, record.expires_at)
        store.replace(key, record, record.version)
        store.rotate(key, record.version, other := a_key(), record)
        store.end_and_replace({}, now_ms() + MINUTE, other, record, record.version)
        store.save_both(Saving(other, record, record.version), Saving(key, record, record.version))
        store.delete(other)
        store.end(other, record.expires_at)


class GetsAPlace:
    """Where nothing has been prepared yet. A subclass is one of StoreContract and of HasAPlace, too."""

    def make_store_of_a_new_place(self) -> Probed:
        raise NotImplementedError

    @pytest.fixture
    def new(self) -> Iterator[Probed]:
        store = self.make_store_of_a_new_place()
        yield store
        store.close()

    def test_where_nobody_has_prepared_a_place_it_has_no_id(self, new: Probed) -> None:
        assert new.place() is None

    def test_before_it_is_prepared_reads_find_nothing_and_the_first_write_makes_what_it_needs(
        self, new: Probed
    ) -> None:
        key, record = a_key(), a_record()
        new.missing()
        assert new.get(key) is None
        assert list(new.scan()) == []
        assert new.place() is None, "looking prepares nothing"
        assert new.create(key, record) is True
        assert new.missing() is None
        assert new.get(key) == record

    def test_a_place_that_was_prepared_has_an_id_of_its_own_which_stays(
        self, store: Probed, new: Probed
    ) -> None:
        new.prepare()
        made = new.place()
        assert made is not None
        new.create(a_key(), a_record())
        new.prepare()
        assert new.place() == made != store.place()

    def test_of_several_that_prepare_at_once_one_gives_the_id(self, new: Probed) -> None:
        def prepare() -> str | None:
            new.prepare()
            return new.place()

        found = in_threads([prepare] * RACERS)
        assert len(set(found)) == 1
        assert found[0] is not None

    def test_no_verb_of_a_session_changes_the_id(self, store: Probed) -> None:
        before = store.place()
        assert store.touch(PLACE, now_ms() + MINUTE) is False
        assert store.delete(PLACE) is False
        assert store.replace(PLACE, a_record(), new_version()) is Outcome.MISSING
        assert store.create(PLACE, a_record()) is False
        assert store.place() == before is not None


class ForeignRecords:
    """What lies under a key and is not this app's is no session, and stands in the way of nothing."""

    def foreign(self, store: Any) -> dict[str, Callable[[str], object]]:
        """By what it is: how to write such a thing under a stored key."""
        raise NotImplementedError

    @pytest.fixture
    def planted(self, store: Drainable) -> dict[str, str]:
        """What it is by the key that it lies under."""
        keys = {}
        for what, write in self.foreign(store).items():
            keys[key := a_key()] = what
            write(key)
        return keys

    def test_get_is_none_and_one_line_in_the_log_tells_no_key(
        self, store: Drainable, planted: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        for key, what in planted.items():
            caplog.clear()
            assert (what, store.get(key)) == (what, None)
            [line] = [each for each in caplog.records if each.name == "django.security.SuspiciousSession"]
            assert key not in line.getMessage()

    def test_no_verb_takes_it_for_a_session(self, store: Drainable, planted: dict[str, str]) -> None:
        later = now_ms() + 2 * MINUTE
        for key, what in planted.items():
            assert (what, store.replace(key, a_record(), new_version())) == (what, Outcome.MISSING)
            assert (what, store.touch(key, later)) == (what, False)
            assert (what, store.delete(key, new_version())) == (what, False)
            assert (what, store.delete(key)) == (what, False)
            for version in (None, new_version()):
                assert (what, store.rotate(key, version, a_key(), a_record())) == (what, Rotation.LEFT)

    def test_rotate_to_its_key_refuses_or_writes_over_it(
        self, store: Drainable, planted: dict[str, str]
    ) -> None:
        for key, what in planted.items():
            old, held, new = a_key(), a_record(), a_record()
            store.create(old, held)
            answer = store.rotate(old, held.version, key, new)
            assert (what, answer) in ((what, Rotation.DONE), (what, Rotation.TAKEN))
            left = (new, None) if answer is Rotation.DONE else (None, held)
            assert (what, store.get(key), store.get(old)) == (what, *left)

    def test_create_refuses_or_writes_over_it(self, store: Drainable, planted: dict[str, str]) -> None:
        for key, what in planted.items():
            record = a_record()
            created = store.create(key, record)
            assert (what, store.get(key)) == (what, record if created else None)

    def test_end_writes_over_it(self, store: Drainable, planted: dict[str, str]) -> None:
        for key, what in planted.items():
            store.end(key, now_ms() + MINUTE)
            found = store.get(key)
            assert (what, found and found.ended) == (what, True)

    def test_a_scan_gives_it_without_a_record_and_all_others_with_theirs(
        self, store: Drainable, planted: dict[str, str], live: tuple[str, Record]
    ) -> None:
        found = dict(store.scan())
        assert found.pop(live[0]) == live[1]
        assert {planted[key]: record for key, record in found.items()} == dict.fromkeys(planted.values())

    def test_it_is_not_counted(
        self, store: Drainable, planted: dict[str, str], live: tuple[str, Record]
    ) -> None:
        assert store.count() == 1
        assert store.count(at_most=5) == 1

    def test_it_blocks_no_batch(
        self, store: Drainable, planted: dict[str, str], live: tuple[str, Record]
    ) -> None:
        assert store.get_many([*planted, live[0]]) == {live[0]: live[1]}
        new = a_key()
        created = store.create_many({**{key: a_record() for key in planted}, new: a_record()})
        assert new in created
        held = store.delete_many({live[0]: live[1].version, **{key: new_version() for key in planted}})
        assert live[0] not in held
        assert store.get(live[0]) is None


# What no request asks for. A class whose store does it by the code of another, or on a loop as in threads, has these as
# its ``long_parts``; see tests/sizes.py.
BESIDE_REQUESTS = (DrainContract, HasAPlace, GetsAPlace, ForeignRecords)
# What is left out as well where the driver and the statements are those of another class. RoundTrips saves two records
# at once, too.
BESIDE_ANOTHER = (*BESIDE_REQUESTS, CostlyContract, AnyContent, SavesTwo)


class ClearsItself:
    """For stores whose server does not expire records by itself."""

    def test_clear_expired_takes_more_than_one_batch_and_tells_how_many(self, store: Drainable) -> None:
        store.clear_expired()
        live = a_key()
        store.create(live, record := a_record())
        for _ in range(MORE_THAN_A_BATCH):
            store.create(a_key(), a_record(life=-1))
        assert store.clear_expired() == MORE_THAN_A_BATCH
        assert store.clear_expired() == 0
        assert store.get(live) == record

    def test_clearing_may_stop_after_any_batch(self, store: Drainable) -> None:
        store.clear_expired()
        for _ in range(MORE_THAN_A_BATCH):
            store.create(a_key(), a_record(life=-1))
        batch = next(store.clearing())
        assert 0 < batch < MORE_THAN_A_BATCH
        assert store.clear_expired() == MORE_THAN_A_BATCH - batch

    def test_several_can_clear_at_once(self, store: Drainable) -> None:
        store.clear_expired()
        for _ in range(MORE_THAN_A_BATCH):
            store.create(a_key(), a_record(life=-1))
        assert sum(in_threads([store.clear_expired] * 4)) == MORE_THAN_A_BATCH
