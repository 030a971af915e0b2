"""TIMEOUT_SECONDS is one deadline for a verb, whatever the server does meanwhile, and with each driver of Django's."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from pytest_django import DjangoDbBlocker

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores import deadlines
from sessionpersist.stores.base import Outcome
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.deadlines import TimedOut, answers_within, driver_of
from sessionpersist.stores.settings import DatabaseSettings
from tests.servers import MariaDB, Postgres, require, shared
from tests.stores.contract import a_key, a_record
from tests.stores.databases import added_database
from tests.stores.dripping import DrippingRelay, dripping
from tests.stores.parallel import in_processes

pytestmark = pytest.mark.xdist_group("hanging")

TIMEOUT = 1.0  # seconds
SLACK = 1.0  # seconds that a busy machine may add


@pytest.fixture(params=[Postgres, MariaDB], ids=lambda cls: cls.title)
def server(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> Iterator[Any]:
    require(request.param)
    with django_db_blocker.unblock():
        yield shared(request.param)


@pytest.fixture
def relay(server: Any) -> Iterator[DrippingRelay]:
    url = server.create_database(name := f"drips_{secrets.token_hex(4)}")
    with added_database("direct", url):
        DatabaseStore(DatabaseSettings(database="direct"), timeout=5).prepare()
    with dripping(server) as relay, added_database("drips", server.url_for(name)):
        yield relay


@pytest.fixture
def store(relay: DrippingRelay) -> DatabaseStore:
    return DatabaseStore(DatabaseSettings(database="drips"), TIMEOUT)


@contextmanager
def in_time() -> Iterator[None]:
    """It takes as long as the deadline says, not less and not much more."""
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        yield
    assert TIMEOUT - 0.2 < time.monotonic() - begun < TIMEOUT + SLACK


@pytest.mark.parametrize("atomic", [False, True], ids=["by itself", "in a transaction"])
def test_a_server_that_drips_is_given_up_at_the_deadline(
    store: DatabaseStore, relay: DrippingRelay, atomic: bool
) -> None:
    key, record = a_key(), a_record()
    store.create(key, record)
    with transaction.atomic(using="drips") if atomic else nullcontext():
        assert store.get(key) == record
        relay.drips = True
        with in_time():
            store.get(key)
        relay.drips = False
    assert store.get(key) == record


def test_a_server_that_drips_while_connecting_is_given_up_at_the_deadline(
    store: DatabaseStore, relay: DrippingRelay
) -> None:
    store.get(a_key())
    for _ in range(2):
        connections["drips"].close()
        relay.drips = True
        with in_time():
            store.get(a_key())
        relay.drips = False
    assert store.get(a_key()) is None


def test_a_server_that_drips_answers_a_health_check_in_time_or_not_at_all(
    store: DatabaseStore, relay: DrippingRelay
) -> None:
    store.get(a_key())
    connections["drips"].close_if_unusable_or_obsolete()  # as between two requests
    relay.drips = True
    with in_time():
        store.get(a_key())


def test_a_verb_of_two_statements_has_one_deadline(store: DatabaseStore, relay: DrippingRelay) -> None:
    key, record = a_key(), a_record()
    store.create(key, record)
    assert store.replace(key, a_record(), record.version) is Outcome.SAVED
    assert store.replace(key, a_record(), record.version) is Outcome.CONFLICT
    relay.delays = [0.7, 0.7]
    with in_time():
        store.replace(key, a_record(), record.version)


def test_a_verb_that_comes_after_one_that_was_late_gets_its_own_answer(
    store: DatabaseStore, relay: DrippingRelay
) -> None:
    keys = {a_key(): a_record(str(number).encode()) for number in range(3)}
    store.create_many(keys)
    relay.drips = True
    with in_time():
        store.get(next(iter(keys)))
    relay.drips = False
    assert {key: store.get(key) for key in keys} == keys


def test_nothing_is_cut_off_that_is_in_time(server: Any) -> None:
    """Not by the deadline of an earlier use either."""
    with added_database("long", server.url):
        connection = connections["long"]
        wait = "SELECT SLEEP(1.2)" if connection.vendor == "mysql" else "SELECT pg_sleep(1.2)"
        for seconds in (3.0, 5.0, 3.0):
            with answers_within(seconds, connection), connection.cursor() as cursor:
                cursor.execute(wait)
        raw = connection.connection
        with connection.cursor() as cursor:
            cursor.execute(wait.replace("1.2", "2.5"))
        assert connection.connection is raw


def test_several_threads_have_a_deadline_each(server: Any) -> None:
    """One thread watches over all of them, and a later use may have an earlier deadline."""
    ends: dict[float, float] = {}

    def use(seconds: float) -> None:
        connection = connections["many"]
        wait = "SELECT SLEEP(5)" if connection.vendor == "mysql" else "SELECT pg_sleep(5)"
        connection.ensure_connection()
        begun = time.monotonic()
        with pytest.raises(TimedOut), answers_within(seconds, connection), connection.cursor() as cursor:
            cursor.execute(wait)
        ends[seconds] = time.monotonic() - begun
        assert connection.connection is None

    with added_database("many", server.url):
        threads = [threading.Thread(target=use, args=[seconds]) for seconds in (1.5, 0.5, 1.0)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert all(seconds - 0.1 < took < seconds + SLACK for seconds, took in ends.items())
    assert len(ends) == 3


def test_a_forked_child_has_deadlines_too(server: Any) -> None:
    def use() -> str:
        connection = connections["forked"]
        wait = "SELECT SLEEP(5)" if connection.vendor == "mysql" else "SELECT pg_sleep(5)"
        begun = time.monotonic()
        try:
            with answers_within(0.5, connection), connection.cursor() as cursor:
                cursor.execute(wait)
        except OperationalError:
            return "in time" if time.monotonic() - begun < 0.5 + SLACK else "too late"
        return "answered"

    with added_database("forked", server.url):
        with answers_within(5, connections["forked"]), connections["forked"].cursor() as cursor:
            cursor.execute("SELECT 1")
        connections["forked"].close()
        assert in_processes([use]) == ["in time"]


@pytest.fixture
def slow_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A name server that does not answer, as the system's resolver bears it: no real one can be had here."""
    over, resolve = threading.Event(), socket.getaddrinfo

    def wait(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "silent.example":
            over.wait(20)
        return resolve("127.0.0.1" if host == "silent.example" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    yield
    over.set()


@pytest.mark.usefixtures("slow_names")
def test_a_name_that_takes_long_to_resolve_is_given_up_at_the_deadline(server: Any) -> None:
    with added_database("silent", server.url, HOST="silent.example"):
        if driver_of(connections["silent"]) == "MySQLdb":
            pytest.skip("It resolves names in C, where they can't be made slow here.")
        store = DatabaseStore(DatabaseSettings(database="silent"), TIMEOUT)
        with in_time():
            store.get(a_key())


def test_a_connection_that_comes_too_late_is_thrown_away() -> None:
    thrown: list[str] = []
    go_on = threading.Event()

    def late() -> str:
        go_on.wait(10)
        return "connection"

    with pytest.raises(TimedOut):
        deadlines._in_time(late, time.monotonic() + 0.05, thrown.append)
    assert thrown == []
    go_on.set()
    eventually(lambda: thrown == ["connection"])


def eventually(is_so: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.01)
