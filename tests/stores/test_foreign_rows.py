"""Rows that this app has not written: no session, one line in the log, and in nobody's way."""

from __future__ import annotations

import logging
import secrets
import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from sessionpersist.stores.base import (
    MAX_PAYLOAD_BYTES,
    PLACE,
    Outcome,
    Probed,
    Record,
    new_version,
    now_ms,
)
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.memory import MemoryStore
from sessionpersist.stores.settings import DatabaseSettings
from tests.servers import MariaDB, Postgres, require, shared
from tests.stores.contract import MINUTE, a_key, a_record
from tests.stores.databases import added_database
from tests.stores.test_memory import put

# One process makes the databases.
pytestmark = pytest.mark.xdist_group("foreign rows")

Write = Callable[[str, dict[str, Any]], None]

# What SQLite takes in any column.
ODD = {
    "a text for a payload": {"payload": "text"},
    "a number for a payload": {"payload": 10**12},
    "a payload beyond the limit": {"payload": bytes(MAX_PAYLOAD_BYTES + 1)},
    "a text for a version": {"version": "one"},
    "a fraction for a version": {"version": 1.5},
    "a negative version": {"version": -1},
    "an ended record with a payload": {"version": 0},
    "a text for a time": {"expires_at": "for ever"},
    "bytes for a time": {"expires_at": b"\xff"},
    "a huge time": {"expires_at": 1e300},
    "a time before all times": {"created_at": -1},
    "a text for the beginning": {"created_at": "once"},
    "bytes for a user": {"user_id": b"\xff\xfe"},
    "a user of 300 letters": {"user_id": "u" * 300},
}
# What a server takes once somebody has changed the table.
LOOSE = {
    "no payload": {"payload": None},
    "no version": {"version": None},
    "no beginning": {"created_at": None},
    "no user": {"user_id": None},
    "a negative version": {"version": -1},
    "a time before all times": {"created_at": -1},
    "an ended record with a payload": {"version": 0},
    "a user of 300 letters": {"user_id": "u" * 300},
}
SERVERS: dict[str, type[Postgres | MariaDB]] = {"postgresql": Postgres, "mysql": MariaDB}
CASES = [
    *(pytest.param("sqlite", each, id=f"SQLite-{name}") for name, each in ODD.items()),
    *(pytest.param("postgresql", each, id=f"PostgreSQL-{name}") for name, each in LOOSE.items()),
    *(pytest.param("mysql", each, id=f"MariaDB-{name}") for name, each in LOOSE.items()),
]


def values(changes: dict[str, Any]) -> dict[str, Any]:
    return a_record()._asdict() | changes


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(kind: str, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[tuple[Probed, Write]]:
    """A store, and a way to write anything into it."""
    if kind == "memory":
        memory = MemoryStore(tmp_path, "site", timeout=5)
        yield memory, lambda key, row: None  # what is foreign there is in test_memory.py
        memory.close()
        return
    with django_db_blocker.unblock():
        url = loosened(SERVERS[kind]) if kind in SERVERS else f"sqlite:///{tmp_path}/foreign.sqlite3"
        with added_database("foreign", url) as alias:
            store = DatabaseStore(DatabaseSettings(database=alias), timeout=5)
            store.prepare()
            yield store, writer(alias)
            with connections[alias].cursor() as cursor:
                cursor.execute("DELETE FROM sessionpersist_storedsession")


def loosened(server: type[Postgres | MariaDB]) -> str:
    """Return the URL of a database whose table somebody has changed, so that it takes nulls and long texts."""
    require(server)
    return _loosened(server)


@cache
def _loosened(server: type[Postgres | MariaDB]) -> str:
    url = shared(server).create_database(f"foreign_{secrets.token_hex(4)}")
    changes = ["MODIFY {} {} NULL"]
    if server is Postgres:
        changes = ["ALTER {} DROP NOT NULL", "ALTER user_id TYPE text"]
    types = {
        "payload": "longblob",
        "version": "bigint",
        "created_at": "bigint",
        "user_id": "text",
    }
    with added_database("loosened", url) as alias:
        DatabaseStore(DatabaseSettings(database=alias), timeout=5).prepare()
        with connections[alias].cursor() as cursor:
            for column, type_ in types.items():
                for change in changes:
                    cursor.execute(f"ALTER TABLE sessionpersist_storedsession {change.format(column, type_)}")
    return url


def write_sqlite(connection: Any, table: str, key: str, row: dict[str, Any]) -> None:
    marks = ", ".join("?" * (1 + len(row)))
    connection.execute(
        f"INSERT INTO {table} (stored_key, {', '.join(row)}) VALUES ({marks})", (key, *row.values())
    )


def writer(alias: str) -> Write:
    def write(key: str, row: dict[str, Any]) -> None:
        connection = connections[alias]
        if connection.vendor == "sqlite":
            other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
            write_sqlite(other, "sessionpersist_storedsession", key, row)
            other.close()
            return
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO sessionpersist_storedsession (stored_key, {', '.join(row)})"
                f" VALUES (%s, {', '.join(['%s'] * len(row))})",
                [key, *row.values()],
            )

    return write


@pytest.mark.parametrize(("kind", "changes"), CASES, indirect=["kind"])
class TestAForeignRow:
    @pytest.fixture
    def foreign(self, place: tuple[Probed, Write], changes: dict[str, Any]) -> str:
        key = a_key()
        place[1](key, values(changes))
        return key

    @pytest.fixture
    def store(self, place: tuple[Probed, Write]) -> Probed:
        return place[0]

    def test_it_is_no_session_for_any_verb(
        self, store: Probed, foreign: str, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
    ) -> None:
        with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
            assert store.get(foreign) is None
        [line] = caplog.messages
        assert foreign not in line
        guarded = GuardedStore(store, "the store")
        assert guarded.get_many([foreign]) == {}
        assert [guarded.count(), guarded.count(at_most=5)] == [0, 0]
        outcome = guarded.replace(foreign, a_record(), new_version())
        changed = [guarded.touch(foreign, now_ms() + MINUTE), guarded.delete(foreign)]
        assert store.get(foreign) is None
        if (
            "300" not in request.node.name and "limit" not in request.node.name
        ):  # no verb of a request measures it
            assert (outcome, changed) == (Outcome.MISSING, [False, False])
        assert guarded.breaker.healthy

    def test_it_is_in_the_way_of_no_other(self, store: Probed, foreign: str) -> None:
        others = {a_key(): a_record() for _ in range(3)}
        assert store.create_many({**others, foreign: a_record()}) >= others.keys()
        found: dict[str, Record | None] = dict(store.scan())
        assert {key: found[key] for key in others} == others
        assert store.get_many([*others, foreign]) | others == others | store.get_many([foreign])
        versions = {key: record.version for key, record in others.items()}
        assert store.delete_many(versions) == set()
        store.clear_expired()

    def test_a_logout_and_a_login_under_its_key_hold(self, store: Probed, foreign: str) -> None:
        store.end(foreign, now_ms() + MINUTE)
        assert (held := store.get(foreign)) is not None
        assert held.ended
        assert store.create(foreign, a_record()) is False


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_a_user_that_is_no_text_is_no_session_and_moves_with_the_others(
    place: tuple[Probed, Write], kind: str
) -> None:
    """SQLite takes it, and Python's driver fails to read the whole page. It is counted, so a drain must move it."""
    store, key, others = place[0], a_key(), {a_key(): a_record() for _ in range(3)}
    store.create_many({key: a_record(), **others})
    with connections["foreign"].cursor() as cursor:
        cursor.execute(
            "UPDATE sessionpersist_storedsession SET user_id = CAST(X'FF41' AS TEXT) WHERE stored_key = %s",
            [key],
        )
    assert store.get(key) is None
    assert store.count() == 4
    found = {each: record for each, record in store.scan() if record is not None}
    assert found.keys() == {key, *others}
    assert store.get_many(others) == others
    assert store.delete_many({each: record.version for each, record in found.items()}) == set()
    assert store.count() == 0


EVERY_KIND = pytest.mark.parametrize("kind", ["memory", "sqlite", "postgresql", "mysql"], indirect=True)
MEBIBYTE = 1024 * 1024


@contextmanager
def in_memory_of(most: int) -> Iterator[None]:
    tracemalloc.start(1)
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def enlarge(store: Probed, key: str, length: int) -> None:
    """Let the database itself make a payload: no driver would send one that large."""
    large = {
        "sqlite": f"zeroblob({length})",
        "postgresql": f"CAST(REPEAT('x', {length}) AS bytea)",
        "mysql": f"REPEAT('x', {length})",
    }
    if isinstance(store, MemoryStore):
        put(store, key, bytes(length))
        return
    connection = connections["foreign"]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE sessionpersist_storedsession"
            f" SET payload = {large[connection.vendor]} WHERE stored_key = %s",
            [key],
        )


@EVERY_KIND
def test_a_payload_that_is_larger_than_any_is_not_even_read(
    place: tuple[Probed, Write], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    store, key, other = place[0], a_key(), a_key()
    store.create_many({key: a_record(), other: a_record()})
    enlarge(store, key, 12 * MEBIBYTE)
    with in_memory_of(MEBIBYTE):
        assert store.get(key) is None
        assert store.get_many([key, other]).keys() == {other}
        found = dict(store.scan())
    assert found.keys() == {key, other}
    assert found[key] is None
    assert key not in caplog.text


@EVERY_KIND
def test_nor_is_one_in_the_place_of_the_id(place: tuple[Probed, Write], kind: str) -> None:
    store = place[0]
    assert store.place() is not None
    enlarge(store, PLACE, 12 * MEBIBYTE)
    with in_memory_of(MEBIBYTE):
        assert store.place() is None


@EVERY_KIND
def test_a_scan_reads_large_sessions_one_by_one(place: tuple[Probed, Write], kind: str) -> None:
    store = place[0]
    records = {a_key(): a_record(secrets.token_bytes(MEBIBYTE)) for _ in range(20)}
    records |= {a_key(): a_record() for _ in range(5)}
    for key, record in records.items():
        assert store.create(key, record)
    seen = []
    with in_memory_of(8 * MEBIBYTE):
        for key, found in store.scan():
            assert found == records[key]
            seen.append(key)
    assert sorted(seen) == sorted(records)
