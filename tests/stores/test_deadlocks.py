"""A statement that the server ends as a deadlock is executed once more, and is no outage."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest
from django.db import OperationalError, connections, transaction
from pytest_django import DjangoDbBlocker

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.settings import DatabaseSettings
from tests.servers import MariaDB, Postgres, require, shared
from tests.stores.contract import a_key, a_record, empty
from tests.stores.databases import added_database

ALIAS = "deadlocks"
PATIENCE = 10  # seconds
TRIES = 5
WEIGHT = 50  # rows: MariaDB ends the transaction that has changed fewer
CHANGE = "UPDATE sessionpersist_storedsession SET user_id = 'rival' WHERE stored_key = %s"
FREE = "SELECT 1 FROM sessionpersist_storedsession WHERE stored_key = %s FOR UPDATE SKIP LOCKED"


@pytest.fixture(params=[Postgres, MariaDB], ids=lambda cls: cls.title)
def store(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> Iterator[DatabaseStore]:
    require(request.param)
    url = shared(request.param).create_database(f"deadlocks_{secrets.token_hex(4)}")
    with django_db_blocker.unblock(), added_database(ALIAS, url):
        yield DatabaseStore(DatabaseSettings(database=ALIAS), timeout=5)


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    """A thread with a connection of its own."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
        pool.submit(connections.close_all).result()


def wait_until_locked(key: str) -> None:
    """Wait until somebody has a row locked, as a third party sees it."""
    onlooker, give_up = connections.create_connection(ALIAS), time.monotonic() + PATIENCE
    try:
        while time.monotonic() < give_up:
            with onlooker.cursor() as cursor:
                cursor.execute(FREE, [key])
                if cursor.fetchone() is None:
                    return
            time.sleep(0.02)
    finally:
        onlooker.close()
    pytest.fail("The statement did not get as far as its first row.")


def deadlocked(store: DatabaseStore, worker: ThreadPoolExecutor, *, atomic: bool = False) -> Future[set[str]]:
    """Delete two records, and have a rival lock them the other way round, so that the server ends the deletion.

    PostgreSQL ends whoever looks first after a second of waiting: the rival, where that comes a second later. Then they
    try again.
    """
    for _ in range(TRIES):
        with suppress(OperationalError):
            return locked_both_ways(store, worker, atomic=atomic)
        empty(store)
    pytest.fail("The server ended the rival each time.")


def locked_both_ways(store: DatabaseStore, worker: ThreadPoolExecutor, *, atomic: bool) -> Future[set[str]]:
    """Return the deletion, once it has ended. Raises OperationalError where the server ended the rival."""
    records = {key: a_record() for key in sorted(a_key() for _ in range(2 + WEIGHT))}
    first, second, *others = records
    for key, record in records.items():
        store.create(key, record)

    def delete() -> set[str]:
        versions = {key: records[key].version for key in (first, second)}
        if not atomic:
            return store.delete_many(versions)
        with transaction.atomic(using=ALIAS):
            return store.delete_many(versions)

    deletion: Future[set[str]] | None = None
    try:
        with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as rival:
            for key in (*others, second):
                rival.execute(CHANGE, [key])
            deletion = worker.submit(delete)
            wait_until_locked(first)
            rival.execute(CHANGE, [first])
        return deletion
    finally:
        if deletion is not None:
            deletion.exception(PATIENCE)


def test_a_deadlock_is_no_outage(store: DatabaseStore, worker: ThreadPoolExecutor) -> None:
    assert deadlocked(store, worker).result() == set()
    assert store.count() == WEIGHT


def test_a_transaction_of_the_caller_is_not_half_repeated(
    store: DatabaseStore, worker: ThreadPoolExecutor
) -> None:
    """The server has rolled all of it back: what came before the statement would be missing."""
    with pytest.raises(StoreUnavailable):
        deadlocked(store, worker, atomic=True).result()
    assert store.count() == WEIGHT + 2
