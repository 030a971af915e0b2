"""JDBC where the database is several servers: a standby of PostgreSQL, two nodes of Galera."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import psycopg
import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.base import Outcome
from sessionpersist.stores.database.replication import CAUSAL
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.settings import DatabaseSettings
from tests.probing.answering import Answering
from tests.servers import Galera, MariaDB, Postgres, Server, Standby, require, shared
from tests.stores.contract import a_key, a_record
from tests.stores.databases import added_database

ASYNCHRONOUS = "a fail-over can lose the last writes"


@pytest.fixture(autouse=True)
def unblocked(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@contextmanager
def a_store(
    url: str, alias: str = "replicated", timeout: float = 5, **changes: Any
) -> Iterator[DatabaseStore]:
    with added_database(alias, url, **changes):
        yield DatabaseStore(DatabaseSettings(database=alias), timeout)


def execute(server: Postgres, *statements: str) -> None:
    connection = server._connect_as_admin()
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.fixture
def pair() -> Iterator[tuple[Postgres, Standby]]:
    require(Postgres)
    if Postgres().external:
        pytest.skip("A server that someone else runs gets no standby.")
    with Postgres() as primary, Standby(primary) as standby:
        yield primary, standby


def of_both(primary: Postgres, standby: Postgres, **changes: Any) -> dict[str, Any]:
    """What DATABASES says of a pair, for libpq to find the one that takes writes."""
    options = {"target_session_attrs": "read-write", **changes}
    hosts = f"{primary.host},{standby.host}"
    return {"HOST": hosts, "PORT": f"{primary.port},{standby.port}", "OPTIONS": options}


class TestStandby:
    def test_what_it_can_lose_is_told_and_no_more_once_commits_wait_for_it(
        self, pair: tuple[Postgres, Standby]
    ) -> None:
        primary, _ = pair
        with a_store(primary.url) as store:
            [warning] = store.warnings()
            assert warning.startswith("1 standby, asynchronous (synchronous_standby_names is empty): ")
            assert ASYNCHRONOUS in warning
            execute(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
            assert self.eventually_told(store) == []
            execute(primary, "ALTER SYSTEM SET synchronous_commit = 'local'", "SELECT pg_reload_conf()")
            [warning] = self.eventually_told(store, 1)
            assert "(synchronous_commit is local)" in warning

    @staticmethod
    def eventually_told(store: DatabaseStore, number: int = 0) -> list[str]:
        """A server takes a moment to read its settings again."""
        give_up = time.monotonic() + 10
        while len(found := list(store.warnings())) != number and time.monotonic() < give_up:
            time.sleep(0.05)
        return found

    def test_a_server_without_one_is_not_complained_of(self) -> None:
        require(Postgres)
        with a_store(shared(Postgres).url) as store:
            assert list(store.warnings()) == []

    def test_after_a_fail_over_the_promoted_one_is_the_same_place_and_nobody_is_lost(
        self, pair: tuple[Postgres, Standby]
    ) -> None:
        primary, standby = pair
        execute(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        with a_store(primary.url, **of_both(primary, standby)) as bare:
            store = GuardedStore(bare, "the pair")
            store.prepare()
            place = store.place()
            store.create(kept := a_key(), record := a_record())
            store.create(gone := a_key(), a_record())
            store.delete(gone)
            primary.kill()
            standby.promote()
            assert (store.place(), store.get(kept), store.get(gone)) == (place, record, None)
            assert store.replace(kept, a_record(), record.version) is Outcome.SAVED

    def test_a_primary_that_hangs_is_passed_over_where_there_is_time_for_it(
        self, pair: tuple[Postgres, Standby]
    ) -> None:
        primary, standby = pair
        with a_store(primary.url, **of_both(primary, standby)) as store:
            store.prepare()
            store.create(key := a_key(), record := a_record())
            self.wait_for(standby, key)
            connections["replicated"].close()
            primary.pause()
            standby.promote()
            begun = time.monotonic()
            assert store.get(key) == record
            assert time.monotonic() - begun < 5

    @staticmethod
    def wait_for(standby: Standby, key: str) -> None:
        """Until a session has arrived there, and its table before it."""
        count = "SELECT count(*) FROM sessionpersist_storedsession WHERE stored_key = %s"
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            connection = standby.connect()
            with closing(connection), suppress(psycopg.errors.UndefinedTable):
                if connection.execute(count, (key,)).fetchone() == (1,):
                    return
            time.sleep(0.02)
        pytest.fail("The standby does not follow.")

    def test_hosts_in_which_sessions_could_meet_a_standby_or_too_little_time_are_told(
        self, pair: tuple[Postgres, Standby]
    ) -> None:
        with a_store(pair[0].url, timeout=2, **of_both(*pair, target_session_attrs="any")) as store:
            told = " ".join(store.warnings())
        assert "target_session_attrs" in told
        assert "TIMEOUT_SECONDS is 2: set it to 4 or more" in told


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("connection requires a valid client certificate", "wants a client certificate"),
        ('certificate authentication failed for user "app"', "does not accept the client certificate"),
        ('password authentication failed for user "app"', "refused the user name or the password"),
    ],
)
def test_a_client_certificate_that_is_missing_or_wrong_is_told_as_that(said: str, told: str) -> None:
    """The PostgreSQL of the wheel is built without TLS; what one with it says is in its source (auth.c)."""
    fields = b"SFATAL\0VFATAL\0C28000\0M" + said.encode() + b"\0\0"
    refusal = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
    with Answering(lambda asked: refusal) as server:
        url = f"postgresql://app:secret@127.0.0.1:{server.port}/app"
        with a_store(url, OPTIONS={"sslmode": "disable"}) as store, pytest.raises(StoreUnavailable) as caught:
            store.get(a_key())
    assert told in str(caught.value)
    assert caught.value.field == "database"


def test_a_file_of_certificates_that_is_not_there_is_told_as_that() -> None:
    """A server that takes TLS; the client then looks for its files."""
    options = {"sslmode": "verify-full", "sslrootcert": "/nowhere.pem"}
    with Answering(lambda asked: b"S") as server:
        url = f"postgresql://app:secret@127.0.0.1:{server.port}/app"
        with a_store(url, OPTIONS=options) as store, pytest.raises(StoreUnavailable) as caught:
            store.get(a_key())
    assert "a file of certificates in OPTIONS can't be used" in str(caught.value)


@pytest.mark.xdist_group("galera")
class TestGalera:
    """Two nodes of a site, each with a node of Galera; what one has accepted, the other applies a moment later."""

    ROUNDS = 100

    @pytest.fixture
    def stores(self) -> Iterator[tuple[DatabaseStore, DatabaseStore]]:
        require(Galera)
        first, other = shared(Galera), shared(Galera).other
        with ExitStack() as stack:
            here, there = (
                stack.enter_context(a_store(server.url, alias))
                for server, alias in ((first, "galera_here"), (other, "galera_there"))
            )
            here.prepare()
            yield here, there

    def test_what_the_other_node_has_just_accepted_is_found_changed_and_ended(
        self, stores: tuple[DatabaseStore, DatabaseStore]
    ) -> None:
        here, there = stores
        there.get(a_key())
        for _ in range(self.ROUNDS):
            here.create(key := a_key(), first := a_record())
            assert there.get(key) == first
            assert here.replace(key, second := a_record(), first.version) is Outcome.SAVED
            assert there.replace(key, third := a_record(), second.version) is Outcome.SAVED
            assert here.touch(key, third.expires_at + 5)
            assert there.delete(key)
            assert here.get(key) is None

    def test_without_waiting_it_would_not_be(self, stores: tuple[DatabaseStore, DatabaseStore]) -> None:
        """Which shows that the test above can see it."""
        here, there = stores
        there.get(a_key())
        assert there._before == CAUSAL
        there._before = ""

        def missed() -> bool:
            here.create(key := a_key(), a_record())
            return there.get(key) is None

        assert any(missed() for _ in range(10 * self.ROUNDS))

    def test_the_project_s_own_statements_are_left_alone(
        self, stores: tuple[DatabaseStore, DatabaseStore]
    ) -> None:
        _, there = stores
        there.get(a_key())
        with connections["galera_there"].cursor() as cursor:
            cursor.execute("SELECT @@wsrep_sync_wait")
            assert cursor.fetchone()[0] == 0

    def test_two_nodes_are_too_few(self, stores: tuple[DatabaseStore, DatabaseStore]) -> None:
        [warning] = stores[0].warnings()
        assert "Galera cluster: 2" in warning


@pytest.mark.parametrize("server", [MariaDB, Postgres])
def test_where_there_is_no_galera_statements_are_as_they_were(server: type[Server]) -> None:
    require(server)
    with a_store(shared(server).url) as store:
        store.get(a_key())
        assert store._before == ""
