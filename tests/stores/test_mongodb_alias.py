"""MONGODB as a database of the project: django-mongodb-backend here, djongo's fork where that is installed."""

from __future__ import annotations

import importlib.util
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import pytest
from django.db import close_old_connections, connections
from pytest_django import DjangoDbBlocker

from sessionpersist.configuration.store_sentences import find
from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores import build_store, probe
from sessionpersist.stores.base import Probed, Store
from sessionpersist.stores.mongodb.alias import is_mongodb, mongodb_aliases
from sessionpersist.stores.mongodb.store import MongoStore
from sessionpersist.stores.settings import MongoSettings
from sessionpersist.testing import override_login_configuration
from tests.servers import MongoDB, ReplicaSet, require, shared
from tests.stores.contract import BESIDE_ANOTHER, VerbsContract, a_key, a_record
from tests.stores.databases import imported
from tests.stores.parallel import in_threads
from tests.stores.places import mongo_store
from tests.stores.test_mongodb import ReadsOfADrain
from tests.stores.test_mongodb import TestMongoStore as OneServer

pytestmark = pytest.mark.xdist_group("replica_set")

ALIAS = "documents"


def of_django_mongodb_backend(server: MongoDB, **options: Any) -> dict[str, Any]:
    return {
        "ENGINE": "django_mongodb_backend",
        "HOST": f"mongodb://{','.join(hosts(server))}",
        "NAME": server.database,
        "USER": server.username,
        "PASSWORD": options.pop("password", server.password),
        "OPTIONS": {"authSource": server.auth_source, **options},
    }


def of_djongo(server: MongoDB, **options: Any) -> dict[str, Any]:
    login = {"username": server.username, "password": server.password, "authSource": server.auth_source}
    return {
        "ENGINE": "djongo",
        "NAME": server.database,
        "ENFORCE_SCHEMA": False,
        "CLIENT": {"host": hosts(server), **login, **options},
    }


def hosts(server: MongoDB) -> list[str]:
    return server.nodes if isinstance(server, ReplicaSet) else [f"{server.host}:{server.port}"]


Config = Callable[..., dict[str, Any]]
KINDS = [
    pytest.param(
        config,
        id=module,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(module) is None, reason=f"{module} is not installed."
        ),
    )
    for module, config in (("django_mongodb_backend", of_django_mongodb_backend), ("djongo", of_djongo))
]


@pytest.fixture(params=KINDS)
def config(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> Iterator[Config]:
    """What stands in DATABASES for a server."""
    with django_db_blocker.unblock():
        yield request.param


@pytest.fixture
def alias(config: Config) -> Iterator[str]:
    """A database of the project on the shared server."""
    require(MongoDB)
    with an_alias(config(shared(MongoDB))):
        yield ALIAS


def an_alias(config: dict[str, Any]) -> ExitStack:
    """Have it in the project; at the end its client is closed, which the project leaves to the end of the process."""
    stack = ExitStack()
    stack.enter_context(imported(ALIAS, config))
    stack.callback(close_client)
    return stack


def close_client() -> None:
    connection: Any = connections[ALIAS]
    if connection.vendor == "mongodb":  # one for all threads
        for client in filter(None, [type(connection)._connection_pools.pop(ALIAS, None)]):
            client.close()
    elif connection.client_connection is not None:
        connection.client_connection.close()


def store_on(alias: str, prefix: str = "alias", timeout: float = 5) -> MongoStore:
    return MongoStore(MongoSettings(alias=alias), "", timeout, prefix)


class TestContract(OneServer):
    long_parts = (
        *BESIDE_ANOTHER,
        VerbsContract,
        ReadsOfADrain,
    )  # whose commands are those of any other MongoDB

    @pytest.fixture(autouse=True)
    def on_the_database_of_the_project(self, alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def store(*, prefix: str) -> MongoStore:
            return store_on(alias, prefix)

        monkeypatch.setattr("tests.stores.test_mongodb.mongo_store", store)

    def make_store(self) -> MongoStore:
        return store_on(ALIAS, "contract")

    @pytest.fixture
    def kept(self, on_the_database_of_the_project: None) -> Iterator[list[Store]]:
        """Each test has the database, and so the store, for itself."""
        with closing(self.make_store()) as store:
            store.prepare()
            yield [store]


@pytest.fixture
def store(alias: str) -> Probed:
    return build_store(MongoSettings(alias=alias))


def test_a_client_that_has_all_its_connections_in_use_is_not_taken_for_a_lost_connection(
    config: Config,
) -> None:
    require(MongoDB)
    with an_alias(config(shared(MongoDB), maxPoolSize=1)):
        store = store_on(ALIAS, timeout=0.5)
        assert store.get(a_key()) is None
        (server,) = store._database().client._topology._servers.values()
        with server.pool.checkout(), pytest.raises(StoreUnavailable, match="maxPoolSize") as raised:
            store.get(a_key())
        assert not raised.value.connection_lost
        assert find(str(raised.value)) is not None
        assert store.get(a_key()) is None


def test_the_project_s_mongodb_databases_are_told_from_the_others(alias: str) -> None:
    assert mongodb_aliases() == [alias]
    assert (is_mongodb("default"), is_mongodb("nowhere")) == (False, False)


def test_it_goes_on_after_the_end_of_each_request_and_in_every_thread(store: Probed) -> None:
    """Where CONN_MAX_AGE is 0, as it is by default, djongo's client is closed then."""
    records = {a_key(): a_record() for _ in range(4)}

    def requests(key: str) -> Any:
        store.create(key, records[key])
        close_old_connections()
        found = store.get(key)
        connection: Any = connections[ALIAS]
        close_old_connections()
        if connection.vendor != "mongodb" and connection.client_connection is not None:
            connection.client_connection.close()
        return found

    found = in_threads([partial(requests, key) for key in records])
    assert found == list(records.values())


def test_an_event_loop_has_a_thread_ask_it_and_no_other_mongodb(store: Probed) -> None:
    assert store.blocks
    with closing(mongo_store()) as own:
        assert not own.blocks


def test_the_options_of_the_project_do_not_make_it_forget_or_read_what_is_old(config: Config) -> None:
    require(ReplicaSet)
    options = {"w": 0, "readPreference": "secondary", "retryWrites": False}
    with an_alias(config(shared(ReplicaSet), **options)):
        store = store_on(ALIAS, f"options{secrets.token_hex(4)}")
        for _ in range(20):
            store.create(key := a_key(), record := a_record())
            assert store.get(key) == record
            assert store.delete(key)
            assert store.get(key) is None


def test_a_probe_passes_and_shows_the_members(config: Config) -> None:
    require(ReplicaSet)
    with an_alias(config(shared(ReplicaSet))):
        steps = probe.run(store_on(ALIAS), prepare=True)
    assert [step for step in steps if not step.ok] == []
    assert [step.name for step in steps][:2] == ["Authenticate", "See the members"]


def test_what_is_wrong_with_it_is_told_on_its_field_without_its_password(config: Config) -> None:
    require(MongoDB)
    with an_alias(config(shared(MongoDB), password="hush-hush")), pytest.raises(StoreUnavailable) as caught:
        store_on(ALIAS).get(a_key())
    assert caught.value.field == "alias"
    assert "hush" not in f"{caught.value} {caught.value.__cause__!r}"


def test_a_server_that_hangs_is_waited_for_no_longer_than_the_deadline(config: Config) -> None:
    require(MongoDB)
    server = shared(MongoDB)
    if server.external:
        pytest.skip("A server that someone else runs is not stopped.")
    with an_alias(config(server)):
        store = store_on(ALIAS, timeout=0.5)
        store.create(key := a_key(), record := a_record())
        server.pause()
        try:
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable):
                store.get(key)
            assert time.monotonic() - begun < 1.5
        finally:
            server.resume()
        assert eventually(lambda: store.get(key)) == record


def eventually(action: Callable[[], Any]) -> Any:
    for _ in range(20):
        try:
            return action()
        except StoreUnavailable:
            continue
    return action()


@pytest.mark.filterwarnings("error")
def test_a_forked_child_has_a_client_of_its_own(store: Probed) -> None:
    store.create(key := a_key(), record := a_record())
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, b"found" if store.get(key) == record else b"lost")
        except BaseException as error:
            os.write(write, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        assert answer.read() == b"found"
    os.waitpid(child, 0)
    assert store.get(key) == record


@pytest.mark.django_db
@pytest.mark.usefixtures("switches_at_once")
def test_sessions_of_a_site_are_kept_there(alias: str) -> None:
    from sessionpersist.engine import SessionStore

    with override_login_configuration(persistence_type="MONGODB", mongodb_alias=alias):
        session = SessionStore()
        session["visits"] = 7
        session.save()
        assert SessionStore(session.session_key)["visits"] == 7
        session.flush()


@pytest.mark.parametrize("engine", ["django_mongodb_backend", "djongo", "django.db.backends.sqlite3"])
def test_a_database_that_is_none_or_has_no_backend_is_refused_at_once(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec(engine.partition(".")[0]) and engine in ("django_mongodb_backend", "djongo"):
        pytest.skip("It is installed.")
    monkeypatch.setitem(connections.settings, ALIAS, {**connections.settings["default"], "ENGINE": engine})
    with pytest.raises(StoreMisconfigured) as caught:
        store_on(ALIAS)
    assert caught.value.field == "alias"
    assert ALIAS in str(caught.value)


def test_djongo_s_client_that_is_closed_with_each_request_is_a_warning(alias: str) -> None:
    with closing(store_on(alias)) as store:
        told = [each for each in store.warnings() if "CONN_MAX_AGE" in each]
    assert len(told) == (connections[alias].vendor != "mongodb")
