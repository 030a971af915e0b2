"""The fields for stores on several servers: what was saved without them means what it meant."""

from __future__ import annotations

import pytest
from django.db import connection

from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.stores.settings import MongoSettings, RedisSettings, build, fields_of

pytestmark = pytest.mark.django_db


def test_a_revision_of_an_earlier_release_is_the_same_store() -> None:
    old = {"host": "redis.example.org", "port": 6379, "username": "", "database": 0, "tls": False}
    now = RedisSettings(host="redis.example.org")
    assert build("REDIS", old) == now
    assert now.target == ("REDIS", "redis.example.org", 6379, 0)
    assert MongoSettings(host="m", database="d").target == ("MONGODB", "m", 27017, "d")


def test_an_upgrade_appends_no_revision() -> None:
    configuration = LoginConfiguration(persistence_type="REDIS", redis_host="redis.example.org")
    configuration.save()
    newest = Revision.objects.latest("pk")
    new = ("mode", "nodes", "sentinel_name", "sentinel_username", "wait_replicas", "ca_file")
    newest.settings = {name: value for name, value in newest.settings.items() if name not in new}
    newest.save()
    configuration.redis_password = "changed"
    configuration.save()
    assert Revision.objects.latest("pk").pk == newest.pk


def test_a_row_can_be_written_without_the_new_columns() -> None:
    """As nodes of an earlier release do during an upgrade."""
    Revision.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sessionpersist_revision (id, persistence_type, settings, password, saved_by, drained_how) "
            "VALUES (7, 'REDIS', '{\"host\": \"r\"}', '', '', '')"
        )
    assert Revision.objects.get(pk=7).store_settings() == RedisSettings(host="r")


def test_both_secrets_of_a_store_are_kept_and_neither_is_shown() -> None:
    settings = RedisSettings(
        mode="SENTINEL", nodes="a:1", sentinel_name="main", password="hush1", sentinel_password="hush2"
    )
    configuration = LoginConfiguration(**fields_of(settings))
    configuration.save()
    revision = Revision.objects.latest("pk")
    assert revision.store_settings() == settings
    assert "hush" not in f"{settings} {settings.public()} {revision.settings} {vars(revision)}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM sessionpersist_revision")
        assert "hush" not in str(cursor.fetchall())


@pytest.mark.parametrize(
    ("chosen", "description"),
    [
        (
            RedisSettings(mode="SENTINEL", nodes="a:1\n b:2 \n\n", sentinel_name="main", database=3),
            "REDIS at “main” of a:1, b:2, database 3",
        ),
        (RedisSettings(mode="CLUSTER", nodes="a:1\nb:2"), "REDIS Cluster at a:1, b:2"),
        (
            MongoSettings(host="a", nodes="b:2", database="d"),
            "MONGODB at a:27017, b:2, database “d”",
        ),
        (MongoSettings(host="a", srv=True, database="d"), "MONGODB at a, database “d”"),
        (MongoSettings(alias="mongo"), "MONGODB, database “mongo” of the project"),
    ],
)
def test_staff_read_which_servers_are_meant(chosen: RedisSettings | MongoSettings, description: str) -> None:
    assert chosen.describe() == description


def test_the_order_of_the_nodes_makes_no_other_place() -> None:
    one, other = (RedisSettings(mode="CLUSTER", nodes=nodes) for nodes in ("a:1\nb:2", "b:2\r\n\r\na:1\n"))
    assert one.target == other.target
    assert one.target != RedisSettings(mode="SENTINEL", nodes="a:1\nb:2", sentinel_name="main").target
