"""JDBC: the contract, on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.models import StoredSession
from sessionpersist.stores.base import Probed
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.settings import DatabaseSettings
from tests.servers import MariaDB, Postgres, require, shared
from tests.stores.contract import (
    MORE_THAN_A_BATCH,
    ClearsItself,
    HasAPlace,
    RoundTrips,
    StoreContract,
    a_key,
    a_record,
)
from tests.stores.databases import added_database
from tests.stores.parallel import in_threads

ROUNDS = 4  # in each of which the faulty statement failed more often than not


@contextmanager
def database_with_a_table(alias: str, url: str, blocker: DjangoDbBlocker) -> Iterator[None]:
    """Have one more database in the project, with the table in it: to look for it each time takes longer than most
    tests."""
    with added_database(alias, url):
        with blocker.unblock():
            DatabaseStore(DatabaseSettings(database=alias), timeout=5).prepare()
        yield


class DatabaseContract(StoreContract, HasAPlace, ClearsItself, RoundTrips):
    """The contract on a database that the class has to itself."""

    alias: ClassVar[str]

    @pytest.fixture(autouse=True)
    def unblocked(self, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
        with django_db_blocker.unblock():
            yield

    def make_store(self) -> Probed:
        return DatabaseStore(DatabaseSettings(database=self.alias), timeout=5)

    def commands(self, store: Probed, action: Callable[[], object]) -> int:
        with CaptureQueriesContext(connections[self.alias]) as queries:
            action()
        return len(queries)


class TestDatabaseStoreOnSqlite(DatabaseContract):
    alias = "contract_sqlite"
    several: ClassVar = {"end_and_replace": 2}

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def database(
        cls, tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker
    ) -> Iterator[None]:
        path: Path = tmp_path_factory.mktemp("sqlite") / "sessions.sqlite3"
        with database_with_a_table(cls.alias, f"sqlite:///{path}", django_db_blocker):
            yield

    def test_counting_makes_a_table_that_is_missing(self, tmp_path: Path) -> None:
        with added_database("not_migrated", f"sqlite:///{tmp_path}/new.sqlite3") as alias:
            assert DatabaseStore(DatabaseSettings(database=alias), timeout=5).count() == 0


@pytest.mark.xdist_group("contract on PostgreSQL")
class TestDatabaseStoreOnPostgresql(DatabaseContract):
    alias = "contract_postgresql"

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def database(cls, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
        require(Postgres)
        url = shared(Postgres).create_database(f"contract_{secrets.token_hex(4)}")
        with database_with_a_table(cls.alias, url, django_db_blocker):
            yield

    def test_several_can_clear_at_once_where_the_server_takes_the_table_for_small(
        self, store: Probed
    ) -> None:
        """It then joins in another way, which once had them lock rows for each other and leave them."""
        for _ in range(ROUNDS):
            store.clear_expired()
            with connections[self.alias].cursor() as cursor:
                cursor.execute("ANALYZE sessionpersist_storedsession")
            for _ in range(MORE_THAN_A_BATCH):
                store.create(a_key(), a_record(life=-1))
            assert sum(in_threads([store.clear_expired] * 4)) == MORE_THAN_A_BATCH


@pytest.mark.xdist_group("contract on MariaDB")
class TestDatabaseStoreOnMariadb(DatabaseContract):
    alias = "contract_mariadb"
    several: ClassVar = {"end_and_replace": 2}

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def database(cls, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
        require(MariaDB)
        url = shared(MariaDB).create_database(f"contract_{secrets.token_hex(4)}")
        with database_with_a_table(cls.alias, url, django_db_blocker):
            yield


class TestAnOlderTable:
    """One that ``migrate`` or version 0.2.0 has made, which has no id of its place."""

    @pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
    def alias(
        self, request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker
    ) -> Iterator[str]:
        with django_db_blocker.unblock(), added_database("old", a_database(request.param, tmp_path)) as alias:
            with connections[alias].schema_editor() as editor:
                editor.create_model(StoredSession)
            yield alias

    def test_it_has_no_id_until_it_is_prepared(self, alias: str) -> None:
        store = DatabaseStore(DatabaseSettings(database=alias), timeout=5)
        assert store.place() is None
        assert store.missing() is None
        store.prepare()
        assert store.place() is not None

    def test_its_first_session_gives_it_an_id(self, alias: str) -> None:
        store = DatabaseStore(DatabaseSettings(database=alias), timeout=5)
        store.create(a_key(), a_record())
        assert store.place() is not None

    def test_processes_that_come_at_once_agree_on_its_id(self, alias: str) -> None:
        def first_use() -> str | None:
            store = DatabaseStore(DatabaseSettings(database=alias), timeout=5)
            store.get(a_key())
            return store.place()

        [found] = set(in_threads([first_use] * 6))
        assert found is not None

    def test_asking_a_database_without_a_table_makes_none(self, alias: str) -> None:
        with connections[alias].schema_editor() as editor:
            editor.delete_model(StoredSession)
        store = DatabaseStore(DatabaseSettings(database=alias), timeout=5)
        assert store.place() is None
        assert store.missing() is not None


class TestThePlace:
    """Each process asks for it every few seconds."""

    @pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
    def alias(
        self, request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker
    ) -> Iterator[str]:
        with (
            django_db_blocker.unblock(),
            added_database("placed", a_database(request.param, tmp_path)) as alias,
        ):
            yield alias

    def test_it_is_asked_in_one_query(self, alias: str) -> None:
        """And not after a list of all tables, of which a project may have hundreds."""
        store = DatabaseStore(DatabaseSettings(database=alias), timeout=5)
        store.prepare()
        with CaptureQueriesContext(connections[alias]) as queries:
            assert store.place() is not None
        assert len(queries) == 1

    def test_in_a_transaction_it_is_the_same(self, alias: str) -> None:
        store = DatabaseStore(DatabaseSettings(database=alias), timeout=5)
        store.prepare()
        place = store.place()
        with transaction.atomic(using=alias):
            assert store.place() == place
            store.create(key := a_key(), a_record())
        assert store.get(key) is not None

    @pytest.mark.parametrize("seen", [True, False])
    def test_without_a_table_there_is_none_and_a_transaction_goes_on(self, alias: str, seen: bool) -> None:
        store = DatabaseStore(DatabaseSettings(database=alias), timeout=5)
        if seen:
            store.prepare()
            with connections[alias].schema_editor() as editor:
                editor.delete_model(StoredSession)
        assert store.place() is None
        execute(alias, "CREATE TABLE ours (number integer)")
        with transaction.atomic(using=alias):
            execute(alias, "INSERT INTO ours VALUES (1)")
            assert store.place() is None
            execute(alias, "INSERT INTO ours VALUES (2)")
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM ours")
            assert cursor.fetchone() == (2,)

    def test_a_table_without_its_columns_is_told_and_not_taken_for_none(self, alias: str) -> None:
        execute(alias, "CREATE TABLE sessionpersist_storedsession (number integer)")
        store = DatabaseStore(DatabaseSettings(database=alias), timeout=5)
        with transaction.atomic(using=alias):
            with pytest.raises(StoreUnavailable):
                store.place()
            execute(alias, "INSERT INTO sessionpersist_storedsession VALUES (1)")


def a_database(kind: str, folder: Path) -> str:
    """Return the URL of a new one."""
    servers: dict[str, type[Postgres | MariaDB]] = {"postgresql": Postgres, "mariadb": MariaDB}
    if kind not in servers:
        return f"sqlite:///{folder}/new.sqlite3"
    require(servers[kind])
    return shared(servers[kind]).create_database(f"new_{secrets.token_hex(4)}")


def execute(alias: str, statement: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)
