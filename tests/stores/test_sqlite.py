"""SQLite past Django's cursor: who must see a statement, or keep it out, still does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import DatabaseError, connections
from pytest_django import DjangoDbBlocker

from sessionpersist.stores.base import Outcome
from sessionpersist.stores.database import sqlite
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.settings import DatabaseSettings
from tests.stores.contract import a_key, a_record
from tests.stores.databases import added_database
from tests.stores.straight import Straight

ALIAS = "straight"


@pytest.fixture
def store(django_db_blocker: DjangoDbBlocker, tmp_path: Path) -> Iterator[DatabaseStore]:
    with django_db_blocker.unblock(), added_database(ALIAS, f"sqlite:///{tmp_path}/sessions.sqlite3"):
        made = DatabaseStore(DatabaseSettings(database=ALIAS), timeout=5)
        assert made.get(a_key()) is None  # which has made the table
        yield made


def test_a_statement_takes_no_detour(store: DatabaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key, record = a_key(), a_record()
    monkeypatch.setattr(type(connections[ALIAS]), "create_cursor", None)
    assert store.create(key, record)
    assert store.replace(key, new := a_record(b"new"), record.version) is Outcome.SAVED
    assert store.get(key) == new
    assert store.delete(key, new.version)
    assert store.get(key) is None


def test_a_connection_that_is_closed_is_opened(store: DatabaseStore) -> None:
    key, record = a_key(), a_record()
    store.create(key, record)
    connections[ALIAS].close()
    assert sqlite.is_possible(connections[ALIAS])
    connections[ALIAS].close()
    assert store.get(key) == record


class TestLikeACursor(Straight):
    alias = ALIAS


def test_a_test_without_the_mark_of_a_database_is_told_so(
    store: DatabaseStore, django_db_blocker: DjangoDbBlocker
) -> None:
    assert store.get(a_key()) is None
    with django_db_blocker.block(), pytest.raises(RuntimeError, match="Database access not allowed"):
        store.get(a_key())


def test_an_error_is_one_of_djangos(store: DatabaseStore) -> None:
    connection = connections[ALIAS]
    with pytest.raises(DatabaseError, match="no such table"):
        sqlite.execute(connection, "SELECT 1 FROM no_table WHERE 1 = %s", (1,), 0.0)
    assert connection.errors_occurred
