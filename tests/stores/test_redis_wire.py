"""The connections of the REDIS store, on real servers: which of them is used again, and that none is left open."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.credentials import fixed
from sessionpersist.stores.redis import sentinel as by_sentinel
from sessionpersist.stores.redis.wire import Wire, in_time, options_of, pool_of_one
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
