"""A server that hangs, and one that was restarted: answers in time, and never the answer to an earlier question."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores import probe
from sessionpersist.stores.base import Outcome, Probed
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.settings import DatabaseSettings
from tests.servers import MariaDB, MongoDB, Postgres, Redis, Server, Valkey, require, shared
from tests.sizes import long_unless
from tests.stores.contract import a_key, a_record
from tests.stores.databases import added_database
from tests.stores.parallel import in_threads
from tests.stores.places import mongo_store, redis_store

pytestmark = pytest.mark.xdist_group("outage")

TIMEOUT = 0.5  # seconds
PATIENT = 10.0  # where nothing is about time: ten that connect at once may take a while
SLACK = 1.7  # seconds that a busy machine may add; and libpq waits two at least for a connection

# REDIS has one driver and one code, whichever of both servers it is.
SERVERS = [
    pytest.param(cls, id=cls.title, marks=long_unless(cls is not Redis))
    for cls in (Valkey, Redis, MongoDB, Postgres, MariaDB)
]
MAKERS: dict[type[Server], Callable[[float], Probed]] = {
    Valkey: lambda timeout: redis_store(Valkey, timeout=timeout),
    Redis: lambda timeout: redis_store(Redis, timeout=timeout),
    MongoDB: lambda timeout: mongo_store(timeout=timeout),
    Postgres: lambda timeout: DatabaseStore(DatabaseSettings(database="outage"), timeout),
    MariaDB: lambda timeout: DatabaseStore(DatabaseSettings(database="outage"), timeout),
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> Iterator[Server]:
    require(request.param)
    server: Server = shared(request.param)
    if server.external:
        pytest.skip("A server that someone else runs is not stopped.")
    with django_db_blocker.unblock():
        if isinstance(server, Postgres | MariaDB):
            with added_database("outage", server.url):
                yield server
        else:
            yield server


@pytest.fixture
def store(server: Server) -> Iterator[Probed]:
    store = MAKERS[type(server)](TIMEOUT)
    store.prepare()
    yield store
    store.close()


@contextmanager
def paused(server: Server) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


def test_a_server_that_hangs_is_given_up_in_time_and_its_late_answer_is_never_taken_for_another(
    server: Server, store: Probed
) -> None:
    key, record, other = a_key(), a_record(b"first"), a_record(b"other")
    other_key = a_key()
    assert store.create(key, record)
    assert store.create(other_key, other)
    with paused(server):
        for _ in range(2):  # on the connection that was open, and on a new one
            with within(2 * TIMEOUT + SLACK), pytest.raises(StoreUnavailable) as raised:
                store.get(key)
            assert raised.value.connection_lost is False
    assert eventually(lambda: store.get(other_key)) == other
    assert store.get(key) == record


def test_a_write_to_a_server_that_hangs_is_given_up_in_time(server: Server, store: Probed) -> None:
    key, record = a_key(), a_record()
    assert store.create(key, record)
    with paused(server), within(2 * TIMEOUT + SLACK), pytest.raises(StoreUnavailable):
        store.replace(key, a_record(), record.version)
    # It may have been carried out later, or not at all: the record tells. It may also be carried out just now.
    found = eventually(lambda: store.get(key))
    if store.replace(key, a_record(), found.version) is Outcome.CONFLICT:
        later = store.get(key)
        assert later is not None
        assert store.replace(key, a_record(), later.version) is Outcome.SAVED


def test_a_probe_of_a_server_that_hangs_ends_in_time(server: Server) -> None:
    store = MAKERS[type(server)](TIMEOUT)
    with paused(server), within(3 * TIMEOUT + SLACK):
        steps = probe.run(store)
    store.close()
    assert not steps[-1].ok


def test_after_a_restart_one_more_try_has_a_new_connection(server: Server) -> None:
    store = MAKERS[type(server)](PATIENT)
    store.prepare()
    key, record = a_key(), a_record()
    assert store.create(key, record)
    server.restart()
    lost = []
    try:
        found = store.get(key)
    except StoreUnavailable as error:
        lost.append(error.connection_lost)
        found = store.get(key)
    assert found == record
    assert lost in ([], [True])  # some drivers notice by themselves
    store.close()


def test_after_a_restart_no_idle_connection_costs_a_request_its_second_try(server: Server) -> None:
    """As many lie idle as were used at a time, and all of them have met the same fate."""
    guarded = GuardedStore(MAKERS[type(server)](PATIENT), "the store")
    key, record = a_key(), a_record()
    assert guarded.create(key, record)
    in_threads([lambda: [guarded.get(key) for _ in range(20)]] * 10)
    server.restart()
    assert guarded.get(key) == record
    guarded.close()


def test_a_server_that_is_gone_is_no_lost_connection(server: Server, store: Probed) -> None:
    """Nothing is gained by another try at once."""
    store.get(a_key())
    server.kill()
    try:
        for attempt in range(2):
            with within(2 * TIMEOUT + SLACK), pytest.raises(StoreUnavailable) as raised:
                store.get(a_key())
            assert raised.value.connection_lost is False or attempt == 0
    finally:
        server.start()
    assert eventually(lambda: store.get(a_key()) or "none") == "none"


@pytest.mark.parametrize("server", [Postgres, MariaDB], indirect=True, ids=lambda cls: cls.title)
def test_the_projects_own_queries_keep_their_patience(server: Server, store: Probed) -> None:
    """They are not cut off by the deadline that the store puts around its own."""
    store.get(a_key())
    sleep = "SELECT SLEEP(1.5)" if isinstance(server, MariaDB) else "SELECT pg_sleep(1.5)"
    with connections["outage"].cursor() as cursor:
        cursor.execute(sleep)
        assert cursor.fetchone() is not None
    assert store.get(a_key()) is None


def eventually(ask: Callable[[], Any]) -> Any:
    """The first answer that is not an error: a server needs a moment to recover."""
    give_up = time.monotonic() + 20
    while True:
        try:
            return ask()
        except StoreUnavailable:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
