"""Django's own tests of a session engine, sync and async, as they are, on this engine with each store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import SimpleTestCase
from pytest_django import DjangoDbBlocker

from sessionpersist.engine import SessionStore
from sessionpersist.testing import override_login_configuration
from tests.engine import django_source
from tests.engine.support import Fields, extra_database, postgres_values, server_fields, sqlite_values
from tests.servers import Cluster, MariaDB, MongoDB, Valkey, Watched, require, shared
from tests.servers.sentinel import NAME
from tests.stores.databases import added_database

ALIAS = "django_suite"
IS_HERE = django_source.KEPT.exists()
Suite: Any = django_source.mixin() if IS_HERE else object


def test_source_of_django_is_here() -> None:
    """Without it the classes below have no tests."""
    if not IS_HERE:  # a mirror of packages may have no sources
        pytest.skip("python -m tests.engine.django_source fetches it")
    assert IS_HERE


class OnAStore(Suite):
    """All of Django's tests. A subclass says in ``fields`` which store is in force."""

    backend = SessionStore
    databases: Any = "__all__"

    @pytest.fixture
    def fields(self) -> Iterator[Fields]:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def in_force(self, fields: Fields) -> Iterator[None]:
        with override_login_configuration(**fields):
            yield


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
        require(Watched)
        watched = shared(Watched)
        return {
            "persistence_type": "REDIS",
            "redis_mode": "SENTINEL",
            "redis_nodes": watched.nodes,
            "redis_sentinel_name": NAME,
            "redis_sentinel_password": watched.sentinel_password,
            "redis_password": watched.password,
        }


@pytest.mark.long
@pytest.mark.xdist_group("cluster")
class TestCluster(OnAStore, SimpleTestCase):
    @pytest.fixture
    def fields(self) -> Fields:
        require(Cluster)
        cluster = shared(Cluster)
        given = {"redis_mode": "CLUSTER", "redis_nodes": cluster.nodes, "redis_password": cluster.password}
        return {"persistence_type": "REDIS", **given}


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
