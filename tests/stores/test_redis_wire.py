"""The connections of the REDIS store, on real servers: which of them is used again, and that none is left open."""

from __future__ import annotations

import socket
from functools import partial
from time import monotonic
from typing import Any

import pytest
import redis

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.credentials import fixed
from sessionpersist.stores.redis import sentinel as by_sentinel
from sessionpersist.stores.redis import wire as wire_module
from sessionpersist.stores.redis.wire import (
    CountingSocket,
    Parser,
    PlainConnection,
    Wire,
    in_time,
    options_of,
    pool_of_one,
)
from tests.probing.answering import Answering
from tests.servers import Valkey, Watched, require, shared
from tests.stores.contract import a_key
from tests.stores.test_sentinel import sentinel_store

pytestmark = pytest.mark.xdist_group("sentinel")


@pytest.fixture
def wire() -> Wire:
    require(Valkey)
    server = shared(Valkey)
    options = options_of(fixed("", server.password), None, 5)
    return Wire(partial(pool_of_one, server.host, server.port, 0, options), 5)


def client_id(wire: Wire) -> Any:
    return wire.ask([("CLIENT", "ID")])[0]


ASKED = [
    ("ECHO", b"\0\xff"),
    ("ECHO", "ä"),
    ("ECHO", b"a" * 1_000_000),  # which comes in parts
    ("GET", "nothing"),
    ("STRLEN", "nothing"),
    ("PING",),
    ("EVAL", "return {1, {ARGV[1]}, false}", 0, "some"),
]


@pytest.mark.parametrize("straight", [True, False], ids=["straight", "without hiredis"])
def test_the_answer_is_the_same_whoever_reads_it(
    wire: Wire, straight: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not straight:
        monkeypatch.setattr(wire_module, "pack_command", None)
    answers = [wire.ask([command], most=2_000_000)[0] for command in ASKED]
    assert answers == [b"\0\xff", "ä".encode(), b"a" * 1_000_000, None, 0, b"PONG", [1, [b"some"], None]]
    assert isinstance(wire.ask([("NO-SUCH-COMMAND",)])[0], redis.ResponseError)
    assert wire.ask(ASKED[:2]) == answers[:2]
    assert client_id(wire) == client_id(wire)


def test_a_plain_answer_takes_no_detour(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    client_id(wire)
    monkeypatch.setattr(PlainConnection, "read_response", None)
    assert wire.ask([("ECHO", b"a record")]) == [b"a record"]


@pytest.mark.parametrize(
    "said", [b">2\r\n+invalidate\r\n*0\r\n", b"-LOADING some data\r\n"], ids=["push", "error"]
)
def test_what_is_no_plain_answer_is_the_drivers_to_read(said: bytes) -> None:
    """What a server says unasked is no answer; and one that is loading is as good as none."""
    with Answering(said + b"$1\r\na\r\n") as server:
        plain: Any = PlainConnection
        connection = plain(host="127.0.0.1", port=server.port, parser_class=Parser, protocol=2)
        sock = socket.create_connection(("127.0.0.1", server.port), 5)
        connection._sock = CountingSocket(sock, monotonic() + 5)
        connection._parser.on_connect(connection)
        if said[:1] == b">":
            assert connection.ask(("GET", "name")) == b"a"
        else:
            with pytest.raises(redis.exceptions.BusyLoadingError):
                connection.ask(("GET", "name"))
        connection.disconnect()


def test_a_connection_is_used_again(wire: Wire) -> None:
    assert client_id(wire) == client_id(wire)


def test_a_connection_that_is_given_up_while_it_is_made_serves_one_request_only(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leads to the old primary: a Sentinel announced another one just then."""
    made = wire._open

    def announced(give_up: float) -> Any:
        connection = made(give_up)
        wire.give_up_connections()
        return connection

    monkeypatch.setattr(wire, "_open", announced)
    first = client_id(wire)
    monkeypatch.setattr(wire, "_open", made)
    assert client_id(wire) != first


def test_a_connection_that_is_given_up_as_its_answer_comes_is_not_used_again(wire: Wire) -> None:
    """Just before it is put back among the idle ones."""
    first = client_id(wire)
    wire._age += 1
    assert client_id(wire) != first


def test_a_primary_that_does_not_say_its_role_costs_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen: 20 requests, 20 sockets that stayed open."""
    require(Watched)
    store = sentinel_store()

    def silent(connection: Any, give_up: float) -> bool:
        raise TimeoutError("timed out")

    monkeypatch.setattr(by_sentinel, "is_primary", silent)
    with shared(Watched).primary().connect() as client:
        before = client.info("clients")["connected_clients"]
        for _ in range(20):
            with pytest.raises(StoreUnavailable, match="did not answer in time"):
                store.get(a_key())
        assert client.info("clients")["connected_clients"] <= before + 5  # others may have come meanwhile
    monkeypatch.undo()
    assert store.get(a_key()) is None
    store.close()


def test_a_connection_for_which_the_time_is_over_is_closed(wire: Wire) -> None:
    """The driver's pool has lent it by then."""
    pool = wire._pool
    assert client_id(wire)
    idle = wire._idle.pop()[2]
    pool.release(idle)  # there is one that needs not be made
    with in_time(0.0), pytest.raises(TimeoutError):
        pool.get_connection()
    assert idle._sock is None
    assert client_id(wire)
