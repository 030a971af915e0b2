"""What is in force before anybody has saved anything: ``INITIAL``, and what must hold without a single row."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from django.contrib.sessions.backends import db
from django.core.checks import Tags, run_checks
from django.core.management import call_command
from django.db import connections
from django.db.models.functions import Now
from pytest_django import Settings

from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.handover import routing, snapshot
from sessionpersist.initial import initial_policy, initial_settings
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.session.policy import MINUTE
from sessionpersist.stores.settings import TYPES, DatabaseSettings, MemorySettings, RedisSettings
from tests.load.site import Site
from tests.load.warm import TalkingProcess, warm
from tests.servers import Postgres, require, shared

REDIS = {"persistence_type": "REDIS", "redis_host": "redis.example.org", "redis_password": "env:SECRET"}
AT_REDIS = RedisSettings(host="redis.example.org", password="env:SECRET")


@pytest.fixture
def initial(settings: Settings) -> None:
    """A site that begins with REDIS."""
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "INITIAL": REDIS}


@pytest.mark.django_db
class TestInForce:
    def test_it_is_in_memory_where_nothing_is_said(self) -> None:
        assert routing.current_settings() == MemorySettings()
        assert LoginConfiguration.get_solo().store_settings() == MemorySettings()

    @pytest.mark.usefixtures("initial")
    def test_it_is_what_initial_says_and_what_the_page_shows(self) -> None:
        assert routing.current_settings() == AT_REDIS
        assert LoginConfiguration.get_solo().store_settings() == AT_REDIS
        assert not Revision.objects.exists()

    @pytest.mark.usefixtures("initial")
    def test_a_row_that_nobody_has_saved_shows_it_too(self) -> None:
        LoginConfiguration.make_row("default")
        assert LoginConfiguration.get_solo().store_settings() == AT_REDIS

    @pytest.mark.usefixtures("initial")
    def test_the_store_of_an_earlier_release_stays(self) -> None:
        """Its migration made these rows, and the sessions of its users are in memory."""
        LoginConfiguration.make_row("default")
        Revision.objects.create(persistence_type="IN_MEMORY", activates_at=Now())
        assert routing.current_settings() == MemorySettings()
        assert LoginConfiguration.get_solo().store_settings() == MemorySettings()

    @pytest.mark.usefixtures("initial")
    def test_a_revision_without_the_row_is_what_the_page_shows(self) -> None:
        LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
        LoginConfiguration.objects.all().delete()
        assert LoginConfiguration.get_solo().store_settings() == DatabaseSettings("default")

    @pytest.mark.usefixtures("initial")
    def test_saving_another_store_drains_the_initial_one(self) -> None:
        configuration = LoginConfiguration.get_solo()
        configuration.persistence_type, configuration.jdbc_database = "JDBC", "default"
        configuration.save()
        known = snapshot.current()
        assert [each.settings for each in (known.current, *known.draining)] == [
            DatabaseSettings("default"),
            AT_REDIS,
        ]

    @pytest.mark.usefixtures("initial")
    def test_saving_the_same_store_is_no_switch(self) -> None:
        LoginConfiguration.get_solo().save()
        (revision,) = Revision.objects.all()
        assert revision.store_settings() == AT_REDIS
        assert snapshot.current().draining == ()

    @pytest.mark.usefixtures("initial")
    def test_it_counts_no_more_once_something_is_saved(self) -> None:
        LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
        assert routing.current_settings() == DatabaseSettings("default")
        assert LoginConfiguration.get_solo().store_settings() == DatabaseSettings("default")

    def test_what_can_not_be_used_is_an_outage_and_not_in_memory(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "INITIAL": {"redis_hosts": "typo"}}
        with pytest.raises(StoreMisconfigured, match="redis_hosts"):
            routing.current_settings()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("switches_at_once")
def test_after_a_flush_the_first_switch_logs_nobody_out() -> None:
    LoginConfiguration(persistence_type="IN_MEMORY").save()
    call_command("flush", interactive=False, verbosity=0)
    snapshot.reset()
    session = SessionStore()
    session["visits"] = 3
    session.save()
    LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
    assert routing.current_settings() == DatabaseSettings("default")
    assert SessionStore(session.session_key).get("visits") == 3


SAVE = """
import sys
sys.stderr = sys.stdout
import django
django.setup()
from django.db import transaction
from sessionpersist.initial import initial_settings
from sessionpersist.models import LoginConfiguration
with transaction.atomic():
    LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
    print("saved", flush=True)
    input()
"""


@contextmanager
def saving(site: Site) -> Iterator[TalkingProcess]:
    """A process that saves the configuration, says so, and commits when it is sent a line."""
    process = warm().talk(["-c", SAVE], site.environment)
    try:
        yield process
    finally:
        process.kill()


def test_two_first_saves_at_the_same_moment_both_succeed(tmp_path: Path) -> None:
    require(Postgres)
    url = shared(Postgres).create_database(f"initial_{secrets.token_hex(4)}")
    site = Site(tmp_path, {"default": url})
    site.migrate()
    with saving(site) as first, saving(site) as second, psycopg.connect(url, autocommit=True) as watcher:
        wait_until_one_waits_for_the_other(watcher)
        for process in (first, second):
            print(file=process.stdin, flush=True)
        assert [(process.wait(30), process.stdout.read()) for process in (first, second)] == [
            (0, "saved\n")
        ] * 2
    assert site.manage("shell", "--no-imports", "-c", COUNT).split() == ["1", "2"]


COUNT = """
from sessionpersist.initial import initial_settings
from sessionpersist.models import LoginConfiguration, Revision
print(LoginConfiguration.objects.count(), Revision.objects.count())
"""


def wait_until_one_waits_for_the_other(watcher: Any, seconds: float = 30.0) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    deadline = time.monotonic() + seconds
    while not watcher.execute(query).fetchone()[0]:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"redis_hosts": "r"}, "no field 'redis_hosts'. Did you mean 'redis_host'?"),
        ({"colour": "red"}, "Its fields are persistence_type, redis_host, "),
        ({"edition": 5}, "no field 'edition'"),
        (
            {"persistence_type": "REDDIS"},
            f"persistence_type: This must be one of {', '.join(TYPES)}.",
        ),
        ({"persistence_type": "REDIS"}, "redis_host: Enter the host name"),
        ({**REDIS, "redis_port": "6379"}, "redis_port: This must be a whole number."),
        ({**REDIS, "redis_port": 99_999}, "redis_port: The port must be"),
        ({**REDIS, "redis_tls": "no"}, "redis_tls: "),
        ({**REDIS, "redis_password": 5}, "redis_password: This must be a text."),
        ({**REDIS, "redis_password": "env:NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE"),
        ({**REDIS, "redis_host": "redis://r"}, "redis_host: Enter the host alone"),
        ({"persistence_type": "JDBC"}, "jdbc_database: Choose a database."),
        (
            {"persistence_type": "JDBC", "jdbc_database": "gone"},
            "jdbc_database: The project has no database “gone”",
        ),
        ({"persistence_type": "MONGODB", "mongodb_host": "m"}, "mongodb_database: Enter the name"),
        ({"idle_minutes": 0}, "idle_minutes: Enter 1 or more, or leave this empty."),
        ({"idle_minutes": "30"}, "idle_minutes: This must be a whole number."),
        ({"max_sessions": 0}, "max_sessions: Enter -1 for no limit, or 1 or more, up to 200."),
        ({"at_limit": "ALL"}, "at_limit: This must be one of END_OLDEST, REFUSE."),
    ],
)
def test_check_says_what_is_wrong_with_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    settings.SESSIONPERSIST = {"INITIAL": fields}
    (message,) = [each for each in run_checks(databases=[]) if str(each.id).startswith("sessionpersist.")]
    assert message.id == "sessionpersist.E007"
    assert said in message.msg


def test_check_has_a_message_for_each_mistake(settings: Settings) -> None:
    settings.SESSIONPERSIST = {"INITIAL": {"redis_hosts": "r", "redis_port": "x", "colour": "red"}}
    assert [each.id for each in run_checks(databases=[])] == ["sessionpersist.E007"] * 3


def test_check_asks_no_database(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the mark of the database, pytest-django lets nobody ask one."""
    monkeypatch.setenv("SECRET", "s3cret")
    settings.SESSIONPERSIST = {"INITIAL": REDIS | {"idle_minutes": 30, "absolute_hours": None}}
    assert run_checks(databases=[]) == []


BACKENDS = "django.contrib.sessions.backends"
DJANGO_REDIS, DJANGO = "django_redis.cache.RedisCache", "django.core.cache.backends.redis.RedisCache"


class DatabaseEngine(db.SessionStore):
    """An engine that a project derived from Django's."""


def adopt(settings: Settings, engine: str, **cache: Any) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ADOPT_FROM": engine}
    if cache:
        settings.CACHES = {"default": cache}


class SessionsElsewhere:
    """A router of a project that keeps sessions in a database of their own."""

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "sessions" if model._meta.app_label == "sessions" else None


class TestPlaceOfAdopted:
    """Where sessions are adopted from and nothing else is said, they come into a store that all nodes share."""

    @pytest.mark.parametrize("engine", [f"{BACKENDS}.db", f"{BACKENDS}.cached_db", f"{__name__}.own"])
    def test_of_a_database_it_is_that_database(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch, engine: str
    ) -> None:
        own = ModuleType(f"{__name__}.own")
        own.SessionStore = DatabaseEngine  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, own.__name__, own)
        adopt(settings, engine)
        assert initial_settings() == DatabaseSettings("default")
        assert run_checks(databases=[]) == []

    def test_it_is_that_place_where_initial_names_no_store(self, settings: Settings) -> None:
        adopt(settings, f"{BACKENDS}.db")
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "INITIAL": {"idle_minutes": 30}}
        assert initial_settings() == DatabaseSettings("default")
        assert (initial_policy().idle, run_checks(databases=[])) == (30 * MINUTE, [])

    def test_of_a_database_chosen_by_a_router_it_is_where_sessions_are_written(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(connections.settings, "sessions", connections.settings["default"])
        settings.DATABASE_ROUTERS = [f"{__name__}.SessionsElsewhere"]
        adopt(settings, f"{BACKENDS}.db")
        assert initial_settings() == DatabaseSettings("sessions")

    # Each with a host of its own: django-redis keeps its pools by the URL alone.
    @pytest.mark.parametrize(
        ("cache", "expected"),
        [
            ({"BACKEND": DJANGO_REDIS, "LOCATION": "redis://h1"}, RedisSettings("h1")),
            ({"BACKEND": DJANGO, "LOCATION": "redis://h2:7000/3"}, RedisSettings("h2", 7000, database=3)),
            (
                {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://h3:7000?db=3"},
                RedisSettings("h3", 7000, database=3),
            ),
            (
                {"BACKEND": DJANGO_REDIS, "LOCATION": "rediss://u:p%2F@h4/1"},
                RedisSettings("h4", 6379, "u", "p/", 1, tls=True),
            ),
            (
                {"BACKEND": DJANGO, "LOCATION": ["redis://:a@main:1", "redis://:b@replica:2"]},
                RedisSettings("main", 1, password="a"),
            ),
            ({"BACKEND": DJANGO_REDIS, "LOCATION": "redis://h6,redis://replica"}, RedisSettings("h6")),
            (
                {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://h7/1", "OPTIONS": {"PASSWORD": "p"}},
                RedisSettings("h7", password="p", database=1),
            ),
            (
                {
                    "BACKEND": DJANGO,
                    "LOCATION": "redis://h8",
                    "OPTIONS": {"username": "u", "password": "p", "db": 2},
                },
                RedisSettings("h8", username="u", password="p", database=2),
            ),
            (
                {
                    "BACKEND": DJANGO_REDIS,
                    "LOCATION": "redis://h9",
                    "OPTIONS": {"CONNECTION_POOL_KWARGS": {"password": "p", "max_connections": 5}},
                },
                RedisSettings("h9", password="p"),
            ),
        ],
    )
    def test_of_a_cache_on_redis_it_is_that_redis(
        self, settings: Settings, cache: dict[str, Any], expected: RedisSettings
    ) -> None:
        adopt(settings, f"{BACKENDS}.cache", **cache)
        assert initial_settings() == expected
        assert run_checks(databases=[]) == []

    def test_of_another_cache_than_the_default_it_is_that_of_the_sessions(self, settings: Settings) -> None:
        adopt(settings, f"{BACKENDS}.cache", BACKEND=DJANGO_REDIS, LOCATION="redis://wrong")
        settings.CACHES = {
            **settings.CACHES,
            "sessions": {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://right"},
        }
        settings.SESSION_CACHE_ALIAS = "sessions"
        assert initial_settings() == RedisSettings("right")

    @pytest.mark.parametrize(
        "cache",
        [
            {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": "/nowhere"},
            {"BACKEND": DJANGO_REDIS, "LOCATION": "unix:///run/redis.sock"},
            {"BACKEND": DJANGO, "LOCATION": "unix:///run/redis.sock?db=1"},
            {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://:env%3AX@h"},  # we would take it for a variable
            {"BACKEND": DJANGO_REDIS, "LOCATION": "rediss://h0?ssl_certfile=mine.pem"},
            {"BACKEND": DJANGO_REDIS, "LOCATION": "rediss://h0?ssl_ca_certs=/nowhere/ca.pem"},
            {
                "BACKEND": DJANGO_REDIS,
                "LOCATION": "redis://group/0",
                "OPTIONS": {
                    "CLIENT_CLASS": "django_redis.client.SentinelClient",
                    "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
                    "CONNECTION_POOL_CLASS": "redis.sentinel.SentinelConnectionPool",
                    "SENTINELS": [("sentinel", 26379)],
                },
            },
            {
                "BACKEND": DJANGO_REDIS,
                "LOCATION": ["redis://one", "redis://two"],
                "OPTIONS": {"CLIENT_CLASS": "django_redis.client.ShardClient"},
            },
        ],
    )
    def test_of_another_cache_none_can_be_told_and_check_asks_for_it(
        self, settings: Settings, cache: dict[str, Any]
    ) -> None:
        adopt(settings, f"{BACKENDS}.cache", **cache)
        (message,) = run_checks(tags=[Tags.database], databases=[])
        assert (message.id, "INITIAL" in str(message.hint)) == ("sessionpersist.W008", True)
        assert initial_settings() == MemorySettings()

    def test_of_files_none_can_be_told_and_check_asks_for_it(self, settings: Settings) -> None:
        adopt(settings, f"{BACKENDS}.file")
        assert [each.id for each in run_checks(tags=[Tags.database], databases=[])] == ["sessionpersist.W008"]

    @pytest.mark.parametrize(
        "chosen",
        [{"persistence_type": "IN_MEMORY"}, {"persistence_type": "JDBC", "jdbc_database": "default"}],
    )
    def test_who_says_which_store_is_asked_no_more(self, settings: Settings, chosen: dict[str, Any]) -> None:
        adopt(settings, f"{BACKENDS}.file")
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "INITIAL": chosen}
        assert run_checks(databases=[]) == []
        assert initial_settings().type == chosen["persistence_type"]
