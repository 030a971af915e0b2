"""Django's pool of PostgreSQL connections (``OPTIONS: {"pool": True}``): within the deadline, and with no dead ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from sessionpersist.configuration.store_sentences import find
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores import deadlines
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.settings import DatabaseSettings
from tests.servers import Postgres, require, shared
from tests.stores.contract import a_key, a_record
from tests.stores.databases import added_database
from tests.stores.parallel import in_threads

pytestmark = pytest.mark.xdist_group("hanging")

pytest.importorskip("psycopg_pool", reason="Install psycopg-pool.")

TIMEOUT = 1.0  # seconds
SLACK = 1.0
IDLE = 4  # connections that lie in the pool


@pytest.fixture
def server(django_db_blocker: DjangoDbBlocker) -> Iterator[Postgres]:
    require(Postgres)
    if shared(Postgres).external:
        pytest.skip("A server that someone else runs is not stopped.")
    with django_db_blocker.unblock():
        yield shared(Postgres)


@pytest.fixture(params=[False, True], ids=["no health checks", "health checks"])
def store(server: Postgres, request: pytest.FixtureRequest) -> Iterator[GuardedStore]:
    pool = {"min_size": IDLE, "max_size": IDLE, "name": "tests"}
    changes = {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": request.param, "OPTIONS": {"pool": pool}}
    with added_database("pooled", server.url, **changes) as alias:
        store = GuardedStore(DatabaseStore(DatabaseSettings(database=alias), TIMEOUT), "the store")
        store.prepare()
        yield store
        connections[alias].close()
        connections[alias].close_pool()  # type: ignore[attr-defined] # of PostgreSQL's


@contextmanager
def a_request() -> Iterator[None]:
    """At its end Django gives the connection back."""
    yield
    connections["pooled"].close_if_unusable_or_obsolete()
    connections["pooled"].close()


def test_sessions_are_kept_by_way_of_a_pool(store: GuardedStore) -> None:
    key, record = a_key(), a_record()
    with a_request():
        assert store.create(key, record)
    found = in_threads([lambda: store.get(key)] * (3 * IDLE))
    assert found == [record] * (3 * IDLE)


def test_a_connection_of_the_pool_takes_no_thread_of_its_own(
    store: GuardedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_request():
        store.create(key := a_key(), record := a_record())
    monkeypatch.setattr(deadlines, "aside", lambda *arguments: pytest.fail("a thread"))
    with a_request():
        assert store.get(key) == record


def test_after_a_restart_no_request_is_refused(store: GuardedStore, server: Postgres) -> None:
    """The pool hands out as many dead connections as lay in it, and there is one more try only."""
    key, record = a_key(), a_record()
    with a_request():
        store.create(key, record)
    in_threads([lambda: store.get(key)] * IDLE)
    server.restart()
    for _ in range(2 * IDLE):
        with a_request():
            assert store.get(key) == record


@pytest.mark.parametrize(
    ("store", "how"),
    [
        (False, "gone"),
        (True, "hanging"),
        pytest.param(True, "gone", marks=pytest.mark.long),
        pytest.param(False, "hanging", marks=pytest.mark.long),
    ],
    ids=["gone", "hanging, health checks", "gone, health checks", "hanging"],
    indirect=["store"],
)
def test_while_the_server_is_away_a_request_waits_no_longer_than_the_deadline(
    store: GuardedStore, server: Postgres, how: str
) -> None:
    """The pool would wait for 30 seconds."""
    key, record = a_key(), a_record()
    with a_request():
        store.create(key, record)
    server.kill() if how == "gone" else server.pause()
    try:
        for _ in range(2 * IDLE):
            begun = time.monotonic()
            with a_request(), pytest.raises(StoreUnavailable):
                store.get(key)
            assert time.monotonic() - begun < TIMEOUT + SLACK
    finally:
        server.start() if how == "gone" else server.resume()
    eventually_found(store, key)


def test_a_pool_whose_connections_are_all_in_use_is_waited_for_no_longer_than_the_deadline(
    store: GuardedStore,
) -> None:
    store.get(a_key())
    connections["pooled"].close()
    held = [connections.create_connection("pooled") for _ in range(IDLE)]
    for each in held:
        each.ensure_connection()
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match=f"all {IDLE} connections of its pool are in use") as raised:
        store.get(a_key())
    assert time.monotonic() - begun < TIMEOUT + SLACK
    assert find(str(raised.value)) is not None
    for each in held:
        each.close()
    assert store.get(a_key()) is None


def test_a_pool_that_has_enough_waiting_says_so(server: Postgres) -> None:
    pool = {"min_size": 1, "max_size": 1, "max_waiting": 1, "name": "tests"}
    with added_database("pooled", server.url, CONN_MAX_AGE=0, OPTIONS={"pool": pool}) as alias:
        store = DatabaseStore(DatabaseSettings(database=alias), TIMEOUT)
        holds = connections.create_connection(alias)
        holds.ensure_connection()
        failures = in_threads([lambda: failure_of(store)] * 3)
        assert {"all 1 connections of its pool are in use" in each for each in failures} == {True}
        holds.close()
        connections[alias].close_pool()  # type: ignore[attr-defined] # of PostgreSQL's


def failure_of(store: DatabaseStore) -> str:
    with pytest.raises(StoreUnavailable) as raised:
        store.get(a_key())
    return str(raised.value)


@pytest.mark.parametrize(
    "store",
    [
        pytest.param(True, id="health checks"),
        pytest.param(False, id="no health checks", marks=pytest.mark.long),
    ],
    indirect=True,
)
def test_what_is_cut_off_does_not_go_back_to_the_pool(store: GuardedStore, server: Postgres) -> None:
    keys = {a_key(): a_record(str(number).encode()) for number in range(IDLE)}
    store.create_many(keys)
    connections["pooled"].close()
    server.pause()
    for key in keys:
        with a_request(), pytest.raises(StoreUnavailable):
            store.store.get(key)
    server.resume()
    eventually_found(store, next(iter(keys)))
    for key, record in keys.items():
        with a_request():
            assert store.get(key) == record


def eventually_found(store: GuardedStore, key: str) -> None:
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        try:
            with a_request():
                assert store.get(key) is not None
            return
        except StoreUnavailable:
            connections["pooled"].close()
            time.sleep(0.1)
    pytest.fail("The pool does not come back.")
