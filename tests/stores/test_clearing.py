"""Clearing many expired sessions keeps nobody waiting: MariaDB is asked for a little at a time, by key."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pytest
from django.db import connections, transaction
from pytest_django import DjangoDbBlocker

from sessionpersist.handover.snapshot import Known
from sessionpersist.stores.base import now_ms
from sessionpersist.stores.database import clearing
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.settings import DatabaseSettings
from sessionpersist.upkeep import clearing as upkeep
from sessionpersist.upkeep.lease import SITE, Holding
from tests.servers import MariaDB, require, shared
from tests.stores.contract import a_key, a_record
from tests.stores.databases import added_database

ALIAS = "clearing"
ROWS = 60


@pytest.fixture
def store(django_db_blocker: DjangoDbBlocker) -> Iterator[DatabaseStore]:
    require(MariaDB)
    url = shared(MariaDB).create_database(f"clearing_{secrets.token_hex(4)}")
    with django_db_blocker.unblock(), added_database(ALIAS, url):
        yield DatabaseStore(DatabaseSettings(database=ALIAS), timeout=5)


def fill(store: DatabaseStore) -> None:
    """Put as many expired as live records into a store; all of a kind expire at the same moment."""
    now = now_ms()
    for expires_at in (now - 1000, now + 60_000):
        records = {a_key(): a_record()._replace(expires_at=expires_at) for _ in range(ROWS)}
        assert len(store.create_many(records)) == ROWS


@pytest.fixture
def asked() -> Iterator[list[tuple[str, Any]]]:
    """The statements that this thread has sent, with their parameters."""
    statements: list[tuple[str, Any]] = []

    def note(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        statements.append((sql, parameters))
        return execute(sql, parameters, many, context)

    with connections[ALIAS].execute_wrapper(note):
        yield statements


def plan(statement: tuple[str, Any]) -> dict[str, Any]:
    """How the server finds the rows of a statement."""
    sql, parameters = statement
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("ANALYZE TABLE sessionpersist_storedsession")
        cursor.fetchall()
        cursor.execute(f"EXPLAIN {sql}", parameters)
        names = [each[0] for each in cursor.description]
        return dict(zip(names, cursor.fetchone(), strict=True))


def test_expired_rows_are_found_in_the_index_alone_and_deleted_by_key(
    store: DatabaseStore, asked: list[tuple[str, Any]]
) -> None:
    fill(store)
    asked.clear()
    assert store.clear_expired() == ROWS
    finding, deleting = (
        [each for each in asked if each[0].lstrip().startswith(verb)] for verb in ("SELECT", "DELETE")
    )
    assert len(asked) == len(finding) + len(deleting)
    fill(store)
    found = plan(finding[0])
    assert "expires" in found["key"]
    assert "Using index" in found["Extra"]
    assert "filesort" not in found["Extra"]
    assert plan(deleting[0])["key"] == "PRIMARY"
    for _, (*keys, _) in deleting:
        assert keys == sorted(keys)
        assert len(keys) <= clearing.MOST


def test_as_many_as_expired_at_one_moment_are_cleared_in_any_number_of_looks(
    store: DatabaseStore, asked: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clearing, "FOUND", 7)
    fill(store)
    asked.clear()
    assert store.clear_expired() == ROWS
    assert [sql[:6] for sql, _ in asked].count("DELETE") == 1, "what several looks find is sorted together"
    assert store.clear_expired() == 0
    assert store.count() == ROWS


def test_a_session_that_was_prolonged_since_it_was_found_stays(
    store: DatabaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    found = store._expired_after((-1, ""))
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("UPDATE sessionpersist_storedsession SET expires_at = %s", [now_ms() + 60_000])
    answers = [[], found]
    monkeypatch.setattr(store, "_expired_after", lambda place: answers.pop())
    assert store.clear_expired() == 0
    assert store.count() == 2 * ROWS


def test_clearing_ends_in_a_transaction_that_still_sees_what_another_process_has_deleted(
    store: DatabaseStore,
) -> None:
    """As one does that repeats its reads, which is MariaDB's default and not Django's."""
    fill(store)
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    def elsewhere() -> int:
        try:
            return store.clear_expired()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool, transaction.atomic(using=ALIAS):
        assert store.count() == ROWS  # from here on it sees the table as it is now
        assert pool.submit(elsewhere).result() == ROWS
        batches = list(islice(store.clearing(), 20))
    assert sum(batches) == 0
    assert len(batches) < 20


@pytest.mark.django_db(databases="__all__")  # the upkeep forgets old leases, too
def test_what_was_interrupted_goes_on_where_it_was(
    store: DatabaseStore, asked: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upkeep clears for a few seconds at a time while a handover goes on. Nothing is looked for twice."""
    monkeypatch.setattr(clearing, "FIRST", 10)
    monkeypatch.setattr(clearing, "MOST", 10)
    monkeypatch.setattr(upkeep, "open_store", lambda settings: store)
    fill(store)
    asked.clear()
    known, unfinished = [Known(1, DatabaseSettings(database=ALIAS), 0.0)], dict[Any, Any]()
    for _ in range(ROWS // 10):
        assert not upkeep.clear_all(Held(), known, lambda seconds: False, 0.0, unfinished)
    assert store.count() == ROWS
    assert [sql[:6] for sql, _ in asked].count("DELETE") == ROWS // 10
    assert len([sql for sql, _ in asked if "ORDER BY" in sql]) == 1
    assert upkeep.clear_all(Held(), known, lambda seconds: False, 60.0, unfinished)
    assert unfinished == {}


class Held(Holding):
    """A lease that nobody takes away."""

    def __init__(self) -> None:
        super().__init__(SITE, "token", float("inf"))

    def renew(self, **told: Any) -> None:
        pass


def sizes(seconds: float, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each statement deletes, of 5,000, where each takes so long."""
    clock = [0.0]
    deleted: list[int] = []
    monkeypatch.setattr(clearing, "monotonic", lambda: clock[0])

    answers: list[list[clearing.Position]] = [[], [], [(1, f"{number:064d}") for number in range(5_000)]]

    def find(place: clearing.Position) -> Sequence[clearing.Position]:
        return answers.pop()

    def delete(keys: list[str]) -> int:
        clock[0] += seconds
        deleted.append(len(keys))
        return len(keys)

    assert sum(clearing.by_key(find, delete)) == sum(deleted) == 5_000
    return deleted


def test_where_a_statement_takes_long_the_next_ones_delete_fewer_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert sizes(0.2, monkeypatch)[:6] == [100, 50, 25, 12, 10, 10]


def test_where_a_statement_is_brisk_the_next_ones_delete_more_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sizes(0.001, monkeypatch)[:5] == [100, 200, 400, 500, 500]


def test_where_a_statement_is_neither_the_number_of_rows_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(sizes(0.04, monkeypatch)) == {100}
