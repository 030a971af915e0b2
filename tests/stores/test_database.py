"""JDBC: the contract, on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from sessionpersist.stores.base import Store
from sessionpersist.stores.database import DatabaseStore
from sessionpersist.stores.settings import DatabaseSettings
from tests.servers import MariaDB, Postgres, require, shared
from tests.stores.contract import ClearsItself, RoundTrips, StoreContract
from tests.stores.databases import added_database


class DatabaseContract(StoreContract, ClearsItself, RoundTrips):
    alias: ClassVar[str]

    @pytest.fixture(autouse=True)
    def unblocked(self, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
        with django_db_blocker.unblock():
            yield

    def make_store(self) -> Store:
        return DatabaseStore(DatabaseSettings(database=self.alias), timeout=5)

    def commands(self, store: Store, action: Callable[[], object]) -> int:
        with CaptureQueriesContext(connections[self.alias]) as queries:
            action()
        return len(queries)


class TestDatabaseStoreOnSqlite(DatabaseContract):
    alias = "contract_sqlite"

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def database(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        path: Path = tmp_path_factory.mktemp("sqlite") / "sessions.sqlite3"
        with added_database(cls.alias, f"sqlite:///{path}"):
            yield


class TestDatabaseStoreOnPostgresql(DatabaseContract):
    alias = "contract_postgresql"

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def database(cls) -> Iterator[None]:
        require(Postgres)
        with added_database(cls.alias, shared(Postgres).create_database(f"contract_{secrets.token_hex(4)}")):
            yield


class TestDatabaseStoreOnMariadb(DatabaseContract):
    alias = "contract_mariadb"

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def database(cls) -> Iterator[None]:
        require(MariaDB)
        with added_database(cls.alias, shared(MariaDB).create_database(f"contract_{secrets.token_hex(4)}")):
            yield
