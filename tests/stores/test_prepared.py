"""Prepared statements on PostgreSQL, and what happens where a server, or a pooler before it, knows nothing of them."""

from __future__ import annotations

import secrets
import select
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest
from django.db import connections, transaction
from pytest_django import DjangoDbBlocker

from sessionpersist.stores.base import Outcome
from sessionpersist.stores.database import prepared
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.settings import DatabaseSettings
from tests.servers import Postgres, require, shared
from tests.stores.contract import BESIDE_ANOTHER, ClearsItself, a_key, a_record
from tests.stores.databases import added_database
from tests.stores.straight import Straight
from tests.stores.test_database import TestDatabaseStoreOnPostgresql as OnPostgresql

ALIAS = "prepared"


@pytest.fixture
def store(django_db_blocker: DjangoDbBlocker) -> Iterator[DatabaseStore]:
    require(Postgres)
    url = shared(Postgres).create_database(f"prepared_{secrets.token_hex(4)}")
    with django_db_blocker.unblock(), added_database(ALIAS, url):
        yield DatabaseStore(DatabaseSettings(database=ALIAS), timeout=5)


def known_to_the_server() -> list[str]:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements ORDER BY name")
        return [name for (name,) in cursor.fetchall()]


def execute(statement: str) -> None:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(statement)


def mark() -> Any:
    return getattr(connections[ALIAS].connection, prepared.MARK)


def test_a_statement_is_prepared_once_a_connection(store: DatabaseStore) -> None:
    for _ in range(3):
        assert store.get(a_key()) is None
    [name] = known_to_the_server()
    assert name.startswith("sessionpersist_")


@pytest.mark.parametrize("forget", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_a_pooler_that_forgets_statements_costs_no_request_an_error(
    store: DatabaseStore, forget: str
) -> None:
    key, record = a_key(), a_record()
    assert store.create(key, record)
    assert store.get(key) == record
    execute(forget)
    assert store.get(key) == record
    assert store.replace(key, new := a_record(b"new"), record.version) is Outcome.SAVED
    assert store.delete(key, new.version)
    assert mark() is None, "this connection does without from now on"
    assert known_to_the_server() == []


def test_a_statement_that_another_client_of_the_pooler_has_prepared_is_no_fault(store: DatabaseStore) -> None:
    key, record = a_key(), a_record()
    store.create(key, record)
    mark().clear()
    assert store.get(key) == record
    assert store.replace(key, a_record(b"new"), record.version) is Outcome.SAVED
    mark().clear()
    assert store.replace(key, a_record(), record.version) is Outcome.CONFLICT


def test_a_column_that_has_changed_its_type_is_no_fault(store: DatabaseStore) -> None:
    key, record = a_key(), a_record()
    store.create(key, record)
    assert store.get(key) == record
    execute("ALTER TABLE sessionpersist_storedsession ALTER user_id TYPE text")
    assert store.get(key) == record


class TestLikeACursor(Straight):
    alias = ALIAS


class Interrupted(Exception):
    """What a signal handler raises, such as that of a task queue's time limit."""


def test_who_is_interrupted_while_waiting_leaves_no_answer_behind(
    store: DatabaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, record = a_key(), a_record()
    store.create(key, record)
    store.get(key)
    with monkeypatch.context() as patched:
        patched.setattr(select, "poll", interrupted)
        with pytest.raises(Interrupted):
            store.get(a_key())
    assert store.get(key) == record


def test_a_transaction_that_was_begun_by_hand_is_taken_part_in(store: DatabaseStore) -> None:
    key = a_key()
    store.get(key)
    execute("BEGIN")
    store.create(key, a_record())
    execute("DEALLOCATE ALL")
    assert store.get(key) is not None
    execute("ROLLBACK")
    assert store.get(key) is None


@pytest.mark.parametrize("how", ["atomic", "autocommit off"])
def test_the_first_statement_of_a_transaction_is_rolled_back_with_it(store: DatabaseStore, how: str) -> None:
    """The server knows of no transaction before that."""
    key = a_key()
    store.get(key)
    connection = connections[ALIAS]
    if how == "atomic":
        with transaction.atomic(using=ALIAS):
            store.create(key, a_record())
            transaction.set_rollback(True, using=ALIAS)
    else:
        connection.set_autocommit(False)
        store.create(key, a_record())
        connection.rollback()
        connection.set_autocommit(True)
    assert store.get(key) is None


def test_text_is_not_cut_off_where_libpq_would_do_so(store: DatabaseStore) -> None:
    key = a_key()
    store.create(key, a_record(user_id="7\0admin"))
    found = store.get(key)
    assert found is not None
    assert found.user_id == "7admin"


def interrupted() -> NoReturn:
    raise Interrupted


class TestThroughCursors(OnPostgresql):
    """The contract of requests as well for connections that do without: all other statements go the same way."""

    alias = "contract_cursors"
    long_parts = (*BESIDE_ANOTHER, ClearsItself, OnPostgresql)

    @pytest.fixture(autouse=True)
    def watched(self, database: None, unblocked: None) -> Iterator[None]:
        with connections[self.alias].execute_wrapper(lambda execute, *arguments: execute(*arguments)):
            yield
