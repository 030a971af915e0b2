"""The rules step by step: what happens to a session between two verbs of a rule, which stops before each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover.carrying import Place, View
from sessionpersist.handover.driving import LOOK, Call, Rule, Wait, drive
from sessionpersist.handover.routing import RoutedStore
from sessionpersist.handover.rules import Rules
from sessionpersist.stores.base import Outcome, Record, new_version, restamped, revision_of
from sessionpersist.stores.memory import MemoryStore
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
            if isinstance(request, Call) and request.store is store and request.verb == verb and waiting:
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
