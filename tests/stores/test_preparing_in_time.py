"""Where a table or an index is missing, the request that finds out keeps its one deadline; staff may wait longer."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from socket import socket
from typing import Any

import pytest
from django.db import connections, transaction
from pytest_django import DjangoDbBlocker

from benchmarks.relay import CHUNK, Relay
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.settings import DatabaseSettings
from tests.servers import MariaDB, Postgres, require, shared
from tests.stores.contract import a_key, a_record
from tests.stores.databases import added_database
from tests.stores.fake import mongo_that_answers, serving
from tests.stores.test_hostile import TIMEOUT as MONGO_TIMEOUT
from tests.stores.test_hostile import given_up_in_time, mongo_at

pytestmark = pytest.mark.xdist_group("hanging")

TIMEOUT, SLACK = 1.0, 1.0  # seconds; what a busy machine may add
TABLE = "sessionpersist_storedsession"


class HaltingRelay(Relay):
    """Keeps what a client says for ``delay`` seconds, and passes it on. A connection on which something says ``halt``
    hangs from that moment on, and so does each that is opened afterwards."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.halt: bytes | None = None
        self.delay = 0.0
        self.halted = threading.Event()

    def _ask(self, client: socket, server: socket, turns: Any) -> None:
        halted = self.halted.is_set()
        with suppress(OSError), client:
            while data := client.recv(CHUNK):
                halted = halted or (self.halt is not None and self.halt in data)
                if halted:
                    self.halted.set()
                else:
                    time.sleep(self.delay)
                    server.sendall(data)


@pytest.fixture(params=[Postgres, MariaDB], ids=lambda cls: cls.title)
def server(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> Iterator[Any]:
    require(request.param)
    with django_db_blocker.unblock():
        yield shared(request.param)


@pytest.fixture
def relay(server: Any) -> Iterator[HaltingRelay]:
    """Before an empty database, which is “direct” and, through the relay, “halting”."""
    url = server.create_database(name := f"halting_{secrets.token_hex(4)}")
    with HaltingRelay(server.host, server.port) as relay, added_database("direct", url):
        port, server.port = server.port, relay.port
        try:
            with added_database("halting", server.url_for(name)):
                yield relay
        finally:
            server.port = port


def store_of(alias: str) -> DatabaseStore:
    return DatabaseStore(DatabaseSettings(database=alias), TIMEOUT)


MOMENTS = {"looking for the table": b"table_name", "making it": b"CREATE TABLE", "marking it": b"INSERT"}
# PostgreSQL is asked for its tables by another name.
MOMENTS_OF = {"looking for the table": {"postgresql": b"pg_catalog.pg_class"}}
VERBS: dict[str, Callable[[DatabaseStore], Any]] = {
    "get": lambda store: store.get(a_key()),
    "create": lambda store: store.create(a_key(), a_record()),
    "end": lambda store: store.end(a_key(), 2**41),
}


CASES = [
    ("get", "looking for the table"),
    ("get", "making it"),
    ("create", "making it"),
    ("end", "marking it"),
]


@pytest.mark.parametrize(
    ("verb", "moment", "atomic"),
    [
        *((*case, False) for case in CASES),
        (*CASES[-1], True),
        *(pytest.param(*case, True, marks=pytest.mark.long) for case in CASES[:-1]),
    ],
)
def test_a_server_that_hangs_meanwhile_is_given_up_at_the_deadline_of_the_verb(
    relay: HaltingRelay, verb: str, moment: str, atomic: bool
) -> None:
    """A garbled answer had read as “no such table”, and a request waited for 30 seconds that it be made."""
    store, connection = store_of("halting"), connections["halting"]
    connection.ensure_connection()
    relay.halt = MOMENTS_OF.get(moment, {}).get(connection.vendor, MOMENTS[moment])
    with transaction.atomic(using="halting") if atomic else nullcontext():
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            VERBS[verb](store)
        assert TIMEOUT - 0.2 < time.monotonic() - begun < TIMEOUT + SLACK
        assert relay.halted.is_set()
    relay.halt = None
    relay.halted.clear()
    assert store_of("halting").create(a_key(), a_record())


def test_all_that_it_asks_one_after_the_other_shares_the_time(relay: HaltingRelay) -> None:
    connections["halting"].ensure_connection()
    relay.delay = 0.35 * TIMEOUT
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        store_of("halting").create(a_key(), a_record())
    assert time.monotonic() - begun < TIMEOUT + SLACK


def test_staff_who_save_may_wait_longer(relay: HaltingRelay) -> None:
    relay.delay = 0.35 * TIMEOUT
    store = store_of("halting")
    store.prepare()
    assert store_of("direct").missing() is None


def test_a_missing_index_is_left_to_who_may_wait(relay: HaltingRelay) -> None:
    """On many rows it takes longer than a request may, and each request would begin with it."""
    store_of("direct").prepare()
    on = f" ON {TABLE}" if connections["direct"].vendor == "mysql" else ""
    with connections["direct"].cursor() as cursor:
        cursor.execute(f"DROP INDEX sessionpersist_expires_at{on}")
    store = store_of("direct")
    assert store.create(key := a_key(), record := a_record())
    assert store.get(key) == record
    assert "index" in (store.missing() or "")
    store.prepare()
    assert store.missing() is None


@pytest.mark.parametrize("verb", ["create", "end", "create many"])
def test_the_first_write_to_mongodb_and_what_it_prepares_share_the_time(verb: str) -> None:
    def slowly(number: int, command: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.4 * MONGO_TIMEOUT)
        return {"ok": 1.0, "n": 1, "nModified": 1}

    with serving(mongo_that_answers(slowly)) as port, contextlib.closing(mongo_at(port)) as store:
        verbs: dict[str, Callable[[], Any]] = {
            "create": lambda: store.create(a_key(), a_record()),
            "end": lambda: store.end(a_key(), 2**41),
            "create many": lambda: store.create_many({a_key(): a_record()}),
        }
        with given_up_in_time():
            verbs[verb]()
