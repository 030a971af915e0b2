"""Django's behaviour list, once for each store."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from pytest_django import DjangoDbBlocker

from tests.engine.behaviour import EngineBehaviour
from tests.engine.behaviour.asynchronous import Asynchronous
from tests.engine.behaviour.contents import Contents
from tests.engine.behaviour.expiry import Expiry
from tests.engine.behaviour.keys import Keys
from tests.engine.behaviour.moving import Moving
from tests.engine.behaviour.rosters import Rosters
from tests.engine.behaviour.time_outs import TimeOuts
from tests.engine.support import Fields, extra_database, postgres_values, server_fields, sqlite_values
from tests.servers import MariaDB, MongoDB, Valkey, require, shared
from tests.stores.databases import added_database

ALIAS = "engine_sessions"

# What the engine does by itself: it is the same on any store.
BESIDE_RECORDS = (Contents, Expiry, Keys, TimeOuts)
# What it does with the verbs of any store: there is one way where a store saves two records at once, as In-Memory does,
# and one where it does not, as PostgreSQL. That each store does what its verbs promise, its own contract shows.
WITH_ITS_VERBS = (Moving, Rosters)


class TestInMemory(EngineBehaviour):
    @pytest.fixture
    def fields(self) -> Fields:
        return {"persistence_type": "IN_MEMORY"}


class TestRedis(EngineBehaviour):
    long_parts: ClassVar[tuple[type, ...]] = (Asynchronous, *BESIDE_RECORDS, *WITH_ITS_VERBS)

    @pytest.fixture
    def fields(self) -> Fields:
        return server_fields(Valkey)


class TestMongo(EngineBehaviour):
    long_parts = (Asynchronous, *BESIDE_RECORDS, *WITH_ITS_VERBS)

    @pytest.fixture
    def fields(self) -> Fields:
        return server_fields(MongoDB)


class TestSQLite(EngineBehaviour):
    long_parts = (Asynchronous, *BESIDE_RECORDS, *WITH_ITS_VERBS)

    @pytest.fixture
    def fields(self, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[Fields]:
        with (
            django_db_blocker.unblock(),
            extra_database(ALIAS, **sqlite_values(tmp_path / "sessions.sqlite3")),
        ):
            yield {"persistence_type": "JDBC", "jdbc_database": ALIAS}


class TestPostgreSQL(EngineBehaviour):
    long_parts = BESIDE_RECORDS  # a database has a connection for each thread that a coroutine meets

    @pytest.fixture
    def fields(self, django_db_blocker: DjangoDbBlocker) -> Iterator[Fields]:
        with django_db_blocker.unblock(), extra_database(ALIAS, **postgres_values()):
            yield {"persistence_type": "JDBC", "jdbc_database": ALIAS}


@pytest.fixture(scope="module")
def latin1() -> str:
    """The URL of a database on MariaDB that knows the letters of Western Europe only, as those of old do."""
    require(MariaDB)
    server, name = shared(MariaDB), f"engine_{secrets.token_hex(4)}"
    url = server.create_database(name)
    with server.connect() as connection:
        connection.cursor().execute(f"ALTER DATABASE `{name}` CHARACTER SET latin1")
    return url


class TestMariaDBInLatin1(EngineBehaviour):
    long_parts = (Asynchronous, *BESIDE_RECORDS, *WITH_ITS_VERBS)

    @pytest.fixture
    def fields(self, latin1: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Fields]:
        with django_db_blocker.unblock(), added_database(ALIAS, latin1):
            yield {"persistence_type": "JDBC", "jdbc_database": ALIAS}
