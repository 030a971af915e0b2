"""Django's own tests of a session engine, sync and async, as they are, on this engine with each store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import SimpleTestCase
from pytest_django import DjangoDbBlocker

from sessionpersist.engine import SessionStore
from tests.engine import django_source
from tests.engine.support import (
    Fields,
    InForce,
    extra_database,
    postgres_values,
    server_fields,
    sqlite_values,
)
from tests.load.stores import fields_on
from tests.servers import Cluster, MariaDB, MongoDB, Valkey, Watched, require, shared
from tests.stores.databases import added_database

ALIAS = "django_suite"
IS_HERE = django_source.KEPT.exists()
Suite: Any = django_source.mixin() if IS_HERE else object


# A mirror of packages may have no sources.
@pytest.mark.skipif(not IS_HERE, reason="python -m tests.engine.django_source fetches it")
def test_source_of_django_has_its_tests() -> None:
    """Without it the classes below have none."""
    assert any(name.startswith("test_") for name in dir(Suite))


class OnAStore(InForce, Suite):
    """All of Django's tests."""

    backend = SessionStore
    databases: Any = "__all__"


class TestInMemory(OnAStore, SimpleTestCase):
    @pytest.fixture
    def fields(self) -> Fields:
        return {"persistence_type": "IN_MEMORY"}


@pytest.mark.long
class TestRedis(OnAStore, SimpleTestCase):
    @pytest.fixture
    def fields(self) -> Fields:
        return server_fields(Valkey)


@pytest.mark.long
@pytest.mark.xdist_group("sentinel")
class TestSentinel(OnAStore, SimpleTestCase):
    @pytest.fixture
    def fields(self) -> Fields:
        return fields_on(Watched)


@pytest.mark.long
@pytest.mark.xdist_group("cluster")
class TestCluster(OnAStore, SimpleTestCase):
    @pytest.fixture
    def fields(self) -> Fields:
        return fields_on(Cluster)


@pytest.mark.long
class TestMongo(OnAStore, SimpleTestCase):
    @pytest.fixture
    def fields(self) -> Fields:
        return server_fields(MongoDB)


@pytest.mark.long
class TestPostgreSQL(OnAStore, SimpleTestCase):
    @pytest.fixture
    def fields(self, django_db_blocker: DjangoDbBlocker) -> Iterator[Fields]:
        with django_db_blocker.unblock(), extra_database(ALIAS, **postgres_values()):
            yield {"persistence_type": "JDBC", "jdbc_database": ALIAS}


@pytest.mark.long
class TestSQLite(OnAStore, SimpleTestCase):
    @pytest.fixture
    def fields(self, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[Fields]:
        file = sqlite_values(tmp_path / "sessions.sqlite3")
        with django_db_blocker.unblock(), extra_database(ALIAS, **file):
            yield {"persistence_type": "JDBC", "jdbc_database": ALIAS}


@pytest.mark.long
class TestMariaDB(OnAStore, SimpleTestCase):
    @pytest.fixture
    def fields(self, django_db_blocker: DjangoDbBlocker) -> Iterator[Fields]:
        require(MariaDB)
        with django_db_blocker.unblock(), added_database(ALIAS, shared(MariaDB).url):
            yield {"persistence_type": "JDBC", "jdbc_database": ALIAS}
