"""Round trips as they are on the wire, between the process and real servers: the budget of a session.

``test_round_trips`` counts what the store is asked; this counts what its driver then sends.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.backends.base import SessionBase
from pytest_django import DjangoDbBlocker

from benchmarks.comparison import trips_of
from benchmarks.operations import OPERATIONS
from benchmarks.relay import Relay
from benchmarks.timing import Case
from sessionpersist import stores
from sessionpersist.engine import SessionStore
from sessionpersist.handover import routing
from sessionpersist.handover.routing import RoutedStore
from sessionpersist.stores.base import Record, now_ms
from sessionpersist.testing import override_login_configuration
from tests.engine.support import extra_database, postgres_values, server_fields
from tests.load.site import Site
from tests.servers import MongoDB, Postgres, Server, Valkey, require, shared

ALIAS = "wire_sessions"
BUDGET = {"load": 1, "save": 1, "slide": 2, "login": 5, "logout": 2, "create": 3}
LIFE = 60_000  # milliseconds
READ = """
from sessionpersist.engine import SessionStore
for _ in range({}):
    SessionStore("a-key-that-nobody-has").get("cat")
"""


@pytest.fixture
def budget(request: pytest.FixtureRequest) -> dict[str, int]:
    """So many round trips at most. In REDIS a login is saved together with the list of the user's sessions."""
    return BUDGET | ({"login": 4} if request.node.callspec.params["relay"] is Valkey else {})


@pytest.fixture(params=[Valkey, Postgres, MongoDB], ids=lambda server: server.__name__)
def relay(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> Iterator[Relay]:
    """A server is the store, and is reached through a relay that counts."""
    cls: type[Server] = request.param
    require(cls)
    server = shared(cls)
    with Relay(server.host, server.port) as relay:
        try:
            if cls is Postgres:
                values = postgres_values() | {"PORT": str(relay.port)}
                with (
                    django_db_blocker.unblock(),
                    extra_database(ALIAS, **values),
                    override_login_configuration(persistence_type="JDBC", jdbc_database=ALIAS),
                ):
                    yield relay
            else:
                fields = server_fields(cls)
                port = "redis_port" if cls is Valkey else "mongodb_port"
                with override_login_configuration(**fields | {port: relay.port}):
                    yield relay
        finally:
            stores.reset()


def verbs() -> dict[str, Case]:
    """Each verb of the store that requests use, on a record of its own."""

    def put() -> tuple[RoutedStore, str, Record]:
        store, key = routing.current_store(), secrets.token_hex(32)
        record = Record(b"payload", 7, now_ms(), now_ms() + LIFE)
        assert store.create(key, record)
        return store, key, record

    def verb(call: Callable[[RoutedStore, str, Record], Any]) -> Case:
        return Case(put, lambda prepared: call(*prepared))

    return {
        "get": verb(lambda store, key, record: store.get(key)),
        "create": verb(lambda store, key, record: store.create(secrets.token_hex(32), record)),
        "replace": verb(lambda store, key, record: store.replace(key, record._replace(version=8), 7)),
        "touch": verb(lambda store, key, record: store.touch(key, record.expires_at + 1)),
        "delete": verb(lambda store, key, record: store.delete(key)),
        "rotate": verb(lambda store, key, record: store.rotate(key, 7, secrets.token_hex(32), record)),
        "end_and_replace": verb(
            lambda store, key, record: store.end_and_replace(
                {secrets.token_hex(32): 1}, record.expires_at, key, record._replace(version=8), 7
            )
        ),
    }


def test_each_verb_is_one_round_trip(relay: Relay) -> None:
    assert {name: trips_of(case, relay) for name, case in verbs().items()} == dict.fromkeys(verbs(), 1)


def test_each_operation_keeps_to_its_budget(relay: Relay, budget: dict[str, int]) -> None:
    counted = {name: trips_of(make(SessionStore, 300), relay) for name, make in OPERATIONS.items()}
    assert {name: trips for name, trips in counted.items() if not 0 < trips <= budget[name]} == {}


def test_an_engine_that_looks_before_it_saves_is_found_out(relay: Relay, budget: dict[str, int]) -> None:
    class Cautious(SessionStore):
        def save(self, must_create: bool = False) -> None:
            assert self.session_key is None or must_create or self.exists(self.session_key)
            super().save(must_create)

    def cautious(key: str | None) -> SessionBase:
        return Cautious(key)

    counted = {name: trips_of(OPERATIONS[name](cautious, 300), relay) for name in ("save", "login")}
    assert counted == {"save": budget["save"] + 1, "login": budget["login"] + 1}


def test_configuration_in_steady_state_is_no_round_trip(tmp_path: Path) -> None:
    """Whether a process reads one session or a hundred, it asks the database of the configuration as often."""
    require(Postgres)
    server = shared(Postgres)
    url = server.create_database(f"wire_{secrets.token_hex(4)}") if not server.external else server.url
    with Relay(server.host, server.port) as relay:
        database = url.replace(f":{server.port}/", f":{relay.port}/")
        site = Site(tmp_path, {"default": database}, REFRESH_SECONDS=600)
        site.migrate()
        relay.wait_until_clients_are_gone()
        counted = [trips_of_process(site, relay, sessions) for sessions in (1, 100)]
    assert 0 < counted[0] == counted[1]


def trips_of_process(site: Site, relay: Relay, sessions: int) -> int:
    """Return the round trips of a process of the site that reads that many sessions."""
    before = relay.trips
    site.manage("shell", "-c", READ.format(sessions))
    relay.wait_until_clients_are_gone()
    return relay.trips - before
