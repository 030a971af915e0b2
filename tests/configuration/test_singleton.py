"""The one row that staff edit."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from sessionpersist.models import LoginConfiguration, Node, Revision
from sessionpersist.stores.settings import DatabaseSettings, MemorySettings, MongoSettings, RedisSettings

pytestmark = pytest.mark.django_db


class Replicated:
    """A router of a project with a replica, which lags behind, for reading."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"


def test_a_replica_is_asked_nothing(settings: Settings) -> None:
    settings.DATABASE_ROUTERS = [f"{__name__}.Replicated"]
    configuration = LoginConfiguration.get_solo()
    configuration.persistence_type = "JDBC"
    configuration.save()
    assert [Revision.objects.latest("pk").persistence_type, Node.objects.count()] == ["JDBC", 0]


def test_reading_never_writes() -> None:
    LoginConfiguration().save()
    with CaptureQueriesContext(connection) as queries:
        LoginConfiguration.get_solo()
    assert [query["sql"].split()[0] for query in queries] == ["SELECT"]


def test_reading_where_there_is_no_row_is_the_defaults_and_never_writes() -> None:
    with CaptureQueriesContext(connection) as queries:
        found = LoginConfiguration.get_solo()
    assert {query["sql"].split()[0] for query in queries} == {"SELECT"}
    assert (found.persistence_type, found.redis_port, found.mongodb_port) == ("IN_MEMORY", 6379, 27017)
    assert not LoginConfiguration.objects.exists()


def test_saving_is_always_the_one_row() -> None:
    LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
    LoginConfiguration(persistence_type="IN_MEMORY").save()
    assert LoginConfiguration.objects.count() == 1
    assert LoginConfiguration.get_solo().persistence_type == "IN_MEMORY"


def test_each_save_is_another_edition() -> None:
    configuration = LoginConfiguration.get_solo()
    before = configuration.edition
    configuration.save()
    configuration.save()
    assert LoginConfiguration.get_solo().edition == before + 2


def test_settings_are_the_fields_of_the_chosen_type_only() -> None:
    fields = {"redis_host": "r", "mongodb_host": "m", "mongodb_database": "d", "jdbc_database": "default"}
    settings = {
        name: LoginConfiguration(persistence_type=name, **fields).store_settings()
        for name in ("IN_MEMORY", "REDIS", "JDBC", "MONGODB")
    }
    assert settings == {
        "IN_MEMORY": MemorySettings(),
        "REDIS": RedisSettings(host="r"),
        "JDBC": DatabaseSettings(database="default"),
        "MONGODB": MongoSettings(host="m", database="d"),
    }
