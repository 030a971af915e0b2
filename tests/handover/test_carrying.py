"""The rules step by step: what happens to a session between two verbs of a rule, which stops before each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pytest_django import Settings

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover.carrying import Place, View
from sessionpersist.handover.driving import LOOK, Call, Rule, Wait, drive
from sessionpersist.handover.routing import CurrentView, RoutedStore
from sessionpersist.handover.rules import Rules
from sessionpersist.handover.snapshot import Known, Snapshot
from sessionpersist.stores.base import Outcome, Record, new_version, restamped, revision_of
from sessionpersist.stores.memory import MemoryStore
from sessionpersist.stores.settings import DatabaseSettings, MemorySettings
from tests.handover.test_contract import SureView
from tests.stores.contract import a_key, a_record

T = TypeVar("T")


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[MemoryStore, MemoryStore]]:
    """The one used before, and the current one."""
    found = [MemoryStore(tmp_path / name, "site", timeout=5) for name in ("old", "new")]
    yield found[0], found[1]
    for each in found:
        each.close()


def of_revision(number: int, payload: bytes = b"payload") -> Record:
    return a_record(payload)._replace(version=new_version(number))


def drive_until(rule: Rule[T], store: MemoryStore, verb: str, meanwhile: Callable[[], object]) -> T:
    """Follow a rule, and do something just before it first asks that verb of that store."""
    waiting = [meanwhile]

    def noted(rule: Rule[T]) -> Rule[T]:
        request = next(rule)
        while True:
            if isinstance(request, Call) and request.verb == getattr(store, verb) and waiting:
                waiting.pop()()
            try:
                answer: Any = yield request
                request = rule.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    return drive(noted(rule), lambda: None)


def test_what_a_process_that_knows_of_no_switch_saves_during_a_carry_comes_along(
    stores: tuple[MemoryStore, MemoryStore],
) -> None:
    old, new = stores
    key, record, later = a_key(), of_revision(1), of_revision(1, b"later")
    old.create(key, record)
    view = SureView(Place(new, 2, 2), [Place(old, 1, 0)])
    found = drive_until(view.get(key), old, "delete", lambda: old.replace(key, later, record.version))
    assert found is not None
    assert (found.payload, revision_of(found.version)) == (b"later", 2)
    assert new.get(key) == found
    assert old.get(key) is None


def test_unless_somebody_has_built_on_what_was_carried(stores: tuple[MemoryStore, MemoryStore]) -> None:
    old, new = stores
    key, record, later, built = a_key(), of_revision(1), of_revision(1, b"later"), of_revision(2, b"built")
    old.create(key, record)

    def both() -> None:
        old.replace(key, later, record.version)
        carried = new.get(key)
        assert carried is not None
        assert new.replace(key, built, carried.version) is Outcome.SAVED

    drive_until(SureView(Place(new, 2, 2), [Place(old, 1, 0)]).get(key), old, "delete", both)
    assert new.get(key) == built


def test_a_copy_that_a_drain_makes_too_late_takes_back_no_touch(
    stores: tuple[MemoryStore, MemoryStore], tmp_path: Path
) -> None:
    """From a review, of two switches in a row: the drain from the first place to the second ended after the second
    switch, and what it had put there was written over the session in the third."""
    old, new = stores
    third = MemoryStore(tmp_path / "third", "site", timeout=5)
    key, record = a_key(), of_revision(1)
    old.create(key, record)
    copied = record._replace(version=restamped(record.version, 2), expires_at=record.expires_at + 1)

    def both() -> None:
        assert third.touch(key, record.expires_at + 5_000)
        assert new.create(key, copied)

    view = SureView(Place(third, 3, 3), [Place(new, 2, 2), Place(old, 1, 0)])
    found, held = drive_until(view.get(key), new, "delete", both), third.get(key)
    third.close()
    assert held is not None
    assert held.expires_at == record.expires_at + 5_000
    assert found == held._replace(expires_at=copied.expires_at)
    assert new.get(key) is None


def test_an_error_of_a_store_reaches_the_rule_that_asked() -> None:
    def rule() -> Rule[str]:
        try:
            yield LOOK
        except StoreUnavailable as error:
            return str(error)
        return "nothing was raised"

    def look() -> None:
        raise StoreUnavailable("down")

    assert drive(rule(), look) == "down"


def test_a_rule_waits_for_as_long_as_it_asks() -> None:
    def rule() -> Rule[None]:
        yield Wait(1.5)

    slept: list[float] = []
    drive(rule(), lambda: None, slept.append)
    assert slept == [1.5]


class SteadyView(SureView):
    steady_until = float("inf")


class NoRules(Rules):
    """Says that they were asked."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked")


def test_in_steady_state_no_rule_is_on_the_way_of_a_request(stores: tuple[MemoryStore, MemoryStore]) -> None:
    view = SteadyView(Place(stores[1], 2, 2))
    store, key, record = RoutedStore(lambda: view, rules=NoRules()), a_key(), of_revision(2)
    assert store.get(key) is None
    assert store.create(key, record)
    assert store.get(key) == record
    assert store.replace(key, changed := of_revision(2, b"changed"), record.version) is Outcome.SAVED
    assert store.touch(key, changed.expires_at + 1)
    assert store.delete(key)
    assert not store.delete(key)


@pytest.mark.parametrize("near", [False, True], ids=["away from a switch", "near one"])
def test_a_leftover_is_no_session_and_is_created_over(
    stores: tuple[MemoryStore, MemoryStore], near: bool
) -> None:
    view: View = (SureView if near else SteadyView)(Place(stores[1], 2, 2))
    store, key, record = RoutedStore(lambda: view), a_key(), of_revision(2)
    stores[1].create(key, of_revision(1))
    assert store.get(key) is None
    assert store.create(key, record)
    assert store.get(key) == record


def test_what_a_switch_overtakes_in_steady_state_is_done_by_the_rules(
    stores: tuple[MemoryStore, MemoryStore],
) -> None:
    """Each verb begins in the old store, and finds another view in force as it ends."""
    old, new = stores
    before, after = SteadyView(Place(old, 1, 0)), SureView(Place(new, 2, 2), [Place(old, 1, 0)])
    keys = [a_key() for _ in range(4)]
    records = {key: of_revision(1) for key in keys[:3]}
    old.create_many(records)

    def switched() -> RoutedStore:
        views = iter([before])
        return RoutedStore(lambda: next(views, after))

    assert switched().get(keys[3]) is None
    assert switched().replace(keys[0], of_revision(1, b"saved"), records[keys[0]].version) is Outcome.CONFLICT
    assert switched().touch(keys[1], records[keys[1]].expires_at + 1)
    assert switched().delete(keys[2])
    assert switched().create(keys[3], of_revision(1, b"new"))
    held = {key: RoutedStore(lambda: after).get(key) for key in keys}
    assert [held[key] and held[key].payload for key in keys] == [b"saved", b"payload", b"", b"new"]  # type: ignore[union-attr]
    assert {key for key in keys if (record := old.get(key)) and not record.ended} == set()


def test_a_save_that_was_stamped_under_a_view_that_has_passed_is_a_conflict_in_steady_state(
    stores: tuple[MemoryStore, MemoryStore],
) -> None:
    """Two revisions of one store follow each other without a handover."""
    view, key, record = SteadyView(Place(stores[1], 2, 1)), a_key(), of_revision(1)
    stores[1].create(key, record)
    store = RoutedStore(lambda: view, rules=NoRules())
    assert store.replace(key, of_revision(1, b"late"), record.version) is Outcome.CONFLICT
    assert stores[1].get(key) == record


@pytest.mark.parametrize("version", [None, of_revision(1).version], ids=["any", "one version"])
def test_a_logout_that_a_switch_overtakes_in_steady_state_has_deleted_the_session(
    stores: tuple[MemoryStore, MemoryStore], version: int | None
) -> None:
    """Done again by the rules it finds nothing, and says all the same that it was there."""
    old, new = stores
    before, after = SteadyView(Place(old, 1, 0)), SureView(Place(new, 2, 2))
    views, key, record = iter([before]), a_key(), of_revision(1)
    record = record if version is None else record._replace(version=version)
    old.create(key, record)
    assert RoutedStore(lambda: next(views, after)).delete(key, version)
    assert old.get(key) is None


NOW = 1_000_000.0  # Unix time of the database; the monotonic clock shows the same where ``clock`` is 0


class TestSteadyState:
    """Between which times a view is steady, in seconds of the monotonic clock."""

    @pytest.fixture(autouse=True)
    def a_guard_time(self, settings: Settings, tmp_path: Path) -> None:
        settings.SESSIONPERSIST = {"GUARD_SECONDS": 2, "MEMORY_DIR": str(tmp_path)}

    def steady(self, **known: Any) -> tuple[float, float]:
        """In force since NOW, and read just then."""
        current = Known(2, MemorySettings(), NOW)
        snapshot = Snapshot(
            current, **{"pending": (), "read_at": NOW, "clock": 0.0, "fresh_until": NOW + 60, **known}
        )
        view = CurrentView(snapshot)
        return view.steady_from, view.steady_until

    def test_from_the_end_of_the_guard_time_until_it_is_to_be_read_again(self) -> None:
        assert self.steady() == (NOW + 2, NOW + 60)

    def test_the_clock_of_the_database_counts(self) -> None:
        assert self.steady(clock=100.0, fresh_until=NOW - 40) == (NOW - 98, NOW - 40)

    def test_until_the_guard_time_of_a_switch_that_is_pending(self) -> None:
        pending = Known(3, DatabaseSettings(database="default"), NOW + 30)
        assert self.steady(pending=(pending,)) == (NOW + 2, NOW + 28)

    def test_never_where_the_configuration_could_not_be_read(self) -> None:
        assert self.steady(kept=True) == (0.0, 0.0)

    def test_never_while_another_store_drains(self) -> None:
        old = Known(1, DatabaseSettings(database="default"), NOW - 60)
        assert self.steady(draining=(old,)) == (0.0, 0.0)

    def test_a_revision_of_the_same_store_does_not_drain(self) -> None:
        assert self.steady(draining=(Known(1, MemorySettings(), NOW - 60),)) == (NOW + 2, NOW + 60)
