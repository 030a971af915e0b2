"""System checks, each with what sets it off and what does not."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import django
import pytest
from django.core.checks import CheckMessage, Tags, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import OperationalError, connection
from django.db.models.functions import Now
from pytest_django import Settings

from sessionpersist import checks, conf
from sessionpersist.configuration import option_checks
from sessionpersist.engine import SessionStore as Engine
from sessionpersist.handover import routing
from sessionpersist.middleware import SessionMiddleware
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.stores import build_store
from sessionpersist.stores.memory import MemoryStore
from sessionpersist.stores.settings import MemorySettings

LONG_KEY = "a-long-random-key-0123456789-abcdefghijklmnopqrstuvwxyz"


class SessionStore(Engine):
    """An engine that a project derived from ours."""


class OwnMiddleware(SessionMiddleware):
    """A middleware that a project derived from ours."""


def found(databases: Sequence[str] = (), **options: Any) -> list[CheckMessage]:
    """The app's own messages, where these databases are asked. (Django 6.1 asks all unless it is told otherwise.)"""
    messages = run_checks(databases=databases, **options)
    return [each for each in messages if str(each.id).startswith("sessionpersist.")]


def ids(**options: Any) -> list[str]:
    return [str(each.id).removeprefix("sessionpersist.") for each in found(**options)]


def test_site_of_this_repository_passes_for_production(settings: Settings) -> None:
    settings.SECRET_KEY = LONG_KEY
    assert found(include_deployment_checks=True) == []


@pytest.mark.parametrize("options", [["REFRESH_SECONDS"], "text", None, 5])
def test_options_that_are_no_dictionary(settings: Settings, options: object) -> None:
    settings.SESSIONPERSIST = options
    assert ids() == ["E001"]


def test_options_may_be_absent(settings: Settings) -> None:
    del settings.SESSIONPERSIST
    assert ids() == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("REFRESH_SECOND", "Did you mean 'REFRESH_SECONDS'?"),
        ("memory_dir", "Did you mean 'MEMORY_DIR'?"),
        ("TIMEOUT", "Did you mean 'TIMEOUT_SECONDS'?"),
        ("COLOUR", "Known are REFRESH_SECONDS, "),
    ],
)
def test_option_with_a_typo(settings: Settings, name: str, hint: str) -> None:
    settings.SESSIONPERSIST = {name: 1}
    (message,) = found()
    assert message.id == "sessionpersist.E002"
    assert name in message.msg
    assert str(message.hint).startswith(hint)


BAD: dict[str, list[Any]] = {
    "REFRESH_SECONDS": ["5", -1, True, float("nan"), float("inf"), timedelta(seconds=5), Decimal(5)],
    "ACTIVATION_SECONDS": ["5", -0.1],
    "TIMEOUT_SECONDS": ["2", 0, -1, None, 0.01, timedelta(seconds=2), Decimal(2)],
    "GUARD_SECONDS": ["2", -1, None],
    "LONGEST_LIFE_SECONDS": ["2", -1, 0, True],
    "MEMORY_DIR": [5, ""],
    "KEY_PREFIX": ["", " ", 5, None],
    "NODE_NAME": ["", 5],
    "TLS_CA_FILE": ["/nowhere/ca.pem", 5],
    "QUIET_TESTS": ["no", 5, None],
    "TRACES": ["yes", 1, None],
    "ROSTER": ["no", 5, None],
    "COMPRESSION": ["gzip", None, True, ""],
    "ADDRESSES": ["no", 5, None],
    "DRAIN_RATE": ["500", -1, True, None, float("inf")],
    "CLEAR_SECONDS": ["300", -1, True, None, timedelta(minutes=5)],
    "METRICS_TOKEN": ["", " ", 5, b"token"],
    "REAUTHENTICATE_SECONDS": ["600", -1, True, timedelta(minutes=10)],
    "ADOPT_FROM": [
        "nowhere.engine",
        "django.contrib.auth",
        5,
        "django.contrib.sessions.backends.signed_cookies",
        checks.ENGINE,
        __name__,  # an engine that a project derived from ours
    ],
    "CREDENTIALS": [5, "", "no.such.thing", {"JDBC": "os.getcwd"}, {"REDIS": None}],
    "SECRETS_ALLOWED": ["REDIS_PASSWORD", None, [""], [5], {"A": "B"}],
    "ALLOWED_STORE_HOSTS": [
        "redis",
        5,
        [5],
        [""],
        ["."],
        ["redis://r"],
        ["r:6379"],
        ["*.example.org"],
        ["10.0.0.0/99"],
    ],
    "INITIAL": ["REDIS", 5, ["persistence_type"]],
}
GOOD: dict[str, list[Any]] = {
    "REFRESH_SECONDS": [0, 1, 2.5],
    "ACTIVATION_SECONDS": [None, 0, 10],
    "TIMEOUT_SECONDS": [0.05, 0.5, 10],
    "GUARD_SECONDS": [0, 0.5, 5],
    "LONGEST_LIFE_SECONDS": [30 * 86_400, None],
    "MEMORY_DIR": [None, "/tmp", Path("/tmp")],
    "KEY_PREFIX": ["my-site"],
    "NODE_NAME": [None, "web-1"],
    "TLS_CA_FILE": [None, __file__],
    "ADOPT_FROM": [None, "django.contrib.sessions.backends.db", "django.contrib.sessions.backends.cached_db"],
    "QUIET_TESTS": [True, False],
    "TRACES": [True, False],
    "ROSTER": [True, False],
    "COMPRESSION": ["zlib", "zstd", "none"],
    "ADDRESSES": [True, False],
    "DRAIN_RATE": [0, 0.5, 500, 20_000],
    "CLEAR_SECONDS": [0, 60, 0.5],
    "METRICS_TOKEN": [None, "token"],
    "REAUTHENTICATE_SECONDS": [None, 0, 600, 0.5],
    "CREDENTIALS": [None, "os.getcwd", {}, {"REDIS": "os.getcwd", "MONGODB": "os.getcwd"}],
    "SECRETS_ALLOWED": [[], ["REDIS_PASSWORD", "SITE_"], ("SITE*",)],
    "ALLOWED_STORE_HOSTS": [
        None,
        [],
        ["redis", ".example.org", "10.0.0.0/8", "::1", "fe80::/10"],
        ("10.0.0.7",),
    ],
    "INITIAL": [None, {}, {"persistence_type": "JDBC", "jdbc_database": "default"}],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_option_with_a_bad_value(settings: Settings, name: str, value: object) -> None:
    settings.SESSIONPERSIST = {name: value}
    (message,) = found()
    assert message.id == "sessionpersist.E003"
    assert name in message.msg


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in GOOD.items() for value in values]
)
def test_option_with_a_good_value(settings: Settings, name: str, value: object) -> None:
    settings.SESSIONPERSIST = {name: value}
    assert found() == []


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (timedelta(minutes=2), "Write 120, a plain number, and not datetime.timedelta(seconds=120)."),
        (Decimal("0.5"), "Write 0.5, a plain number, and not Decimal('0.5')."),
        ("5", "Write 5, a plain number, and not '5'."),
        ("soon", None),
        ([5], None),
        (float("inf"), None),
    ],
)
def test_number_of_another_type_is_told_how_to_write_it(
    settings: Settings, value: object, hint: str | None
) -> None:
    settings.SESSIONPERSIST = {"REFRESH_SECONDS": value}
    (message,) = found()
    assert message.hint == hint


@pytest.mark.parametrize(("guard", "expected"), [(0, []), (5, []), (5.1, ["W005"]), (60, ["W005"])])
def test_guard_that_makes_requests_wait(settings: Settings, guard: float, expected: list[str]) -> None:
    settings.SESSIONPERSIST = {"GUARD_SECONDS": guard}
    assert ids() == expected


@pytest.mark.parametrize(
    ("refresh", "activation", "expected"),
    [(5, 9.9, ["W003"]), (5, 10, []), (5, 0, []), (5, None, []), (2, 5, []), (60, 10, ["W003"])],
)
def test_switch_before_all_processes_know(
    settings: Settings, refresh: float, activation: float | None, expected: list[str]
) -> None:
    settings.SESSIONPERSIST = {"REFRESH_SECONDS": refresh, "ACTIVATION_SECONDS": activation}
    assert ids() == expected


def test_every_option_is_checked() -> None:
    assert option_checks.OPTIONS.keys() == conf.DEFAULTS.keys() == BAD.keys() == GOOD.keys()


def test_memory_folder_that_can_not_be_made(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings.SESSIONPERSIST = {"MEMORY_DIR": tmp_path / "file" / "folder"}
    assert ids() == ["E004"]


def test_memory_folder_that_may_not_be_written(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSIONPERSIST = {"MEMORY_DIR": tmp_path}
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    assert ids() == ["E004"]


def test_memory_folder_that_is_not_there_yet_is_fine_and_is_not_made(
    settings: Settings, tmp_path: Path
) -> None:
    """Made by the user who checks, it could be closed to the user of the site."""
    settings.SESSIONPERSIST = {"MEMORY_DIR": tmp_path / "new" / "folder"}
    assert ids() == []
    assert list(tmp_path.iterdir()) == []


def test_memory_that_is_not_there_yet_is_tried_and_nothing_is_left(
    settings: Settings, tmp_path: Path
) -> None:
    settings.SESSIONPERSIST = {"MEMORY_DIR": tmp_path}
    assert ids() == []
    assert list(tmp_path.iterdir()) == []


def memory_of(settings: Settings, folder: Path) -> Path:
    """The In-Memory store of the site in this folder, made as the first process of the site makes it."""
    settings.SESSIONPERSIST = {"MEMORY_DIR": folder}
    store = build_store(MemorySettings())
    assert isinstance(store, MemoryStore)
    assert store.count() == 0
    store.close()
    return store.folder


def test_memory_of_the_site_is_opened_and_fine(settings: Settings, tmp_path: Path) -> None:
    before = memory_of(settings, tmp_path)
    assert ids() == []
    assert list(tmp_path.iterdir()) == [before]


def open_to_all(memory: Path) -> None:
    memory.chmod(0o777)


def a_link(memory: Path) -> None:
    memory.rename(memory.with_name("elsewhere"))
    memory.symlink_to(memory.with_name("elsewhere"))


def of_another_user(memory: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root gives a folder away")
    os.chown(memory, 65534, 65534)


def no_database(memory: Path) -> None:
    for path in memory.iterdir():
        path.unlink()
    (memory / "sessions.sqlite3").write_bytes(b"something else" * 100)


@pytest.mark.parametrize("spoil", [open_to_all, a_link, of_another_user, no_database])
def test_memory_that_can_not_be_opened_is_told(
    settings: Settings, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    memory = memory_of(settings, tmp_path)
    spoil(memory)
    (message,) = found()
    assert (message.id, str(memory) in message.msg) == ("sessionpersist.E004", True)
    assert "MEMORY_DIR" in str(message.hint)


def test_memory_of_an_earlier_secret_key_is_left_to_the_site(settings: Settings, tmp_path: Path) -> None:
    """Processes with the earlier key are still serving while a deploy checks the new settings."""
    before = memory_of(settings, tmp_path)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = LONG_KEY
    assert ids() == []
    assert list(tmp_path.iterdir()) == [before]


@pytest.mark.parametrize("engine", ["django.contrib.sessions.backends.db", "nowhere.engine"])
def test_engine_of_somebody_else(settings: Settings, engine: str) -> None:
    settings.SESSION_ENGINE = engine
    (message,) = found()
    assert (message.id, engine in message.msg) == ("sessionpersist.W001", True)


def test_engine_that_a_project_derived_is_ours(settings: Settings) -> None:
    settings.SESSION_ENGINE = __name__
    assert ids() == []


def test_middleware_of_django_in_the_place_of_ours(settings: Settings) -> None:
    settings.MIDDLEWARE = [
        each.replace(checks.MIDDLEWARE, checks.DJANGO_MIDDLEWARE) for each in settings.MIDDLEWARE
    ]
    (message,) = found()
    assert message.id == "sessionpersist.W002"
    assert "in the place of" in str(message.hint)


def test_middleware_that_is_missing(settings: Settings) -> None:
    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if each != checks.MIDDLEWARE]
    (message,) = found()
    assert message.id == "sessionpersist.W002"
    assert "before AuthenticationMiddleware" in str(message.hint)


def test_middleware_that_a_project_derived_is_ours(settings: Settings) -> None:
    own = f"{__name__}.OwnMiddleware"
    settings.MIDDLEWARE = [
        "nowhere.Middleware",
        *(each.replace(checks.MIDDLEWARE, own) for each in settings.MIDDLEWARE),
    ]
    assert ids() == []


@pytest.mark.django_db
@pytest.mark.parametrize("fields", [{"idle_minutes": 30}, {"remember_days": 14}])
def test_time_outs_without_the_middleware_that_notes_a_use(
    settings: Settings, fields: dict[str, int]
) -> None:
    LoginConfiguration(**fields).save()
    assert ids(databases=["default"]) == []
    settings.MIDDLEWARE = [
        each.replace(checks.MIDDLEWARE, checks.DJANGO_MIDDLEWARE) for each in settings.MIDDLEWARE
    ]
    assert sorted(ids(databases=["default"])) == ["W002", "W010"]
    LoginConfiguration(max_sessions=1).save()
    assert ids(databases=["default"]) == ["W002"]
    LoginConfiguration(max_sessions=1, at_limit="REFUSE").save()
    assert sorted(ids(databases=["default"])) == ["W002", "W010"]
    LoginConfiguration().save()
    assert ids(databases=["default"]) == ["W002"]


@pytest.mark.parametrize("name", ["SECRET_KEY", "SECRET_KEY_FALLBACKS"])
def test_key_for_development_in_production(settings: Settings, name: str) -> None:
    key = "django-insecure-for-development-only"
    settings.SECRET_KEY = LONG_KEY
    setattr(settings, name, key if name == "SECRET_KEY" else ["another", key])
    assert ids() == []  # while one develops, it is what one uses
    (message,) = found(include_deployment_checks=True)
    assert (message.id, message.msg.startswith(f"{name} ")) == ("sessionpersist.E005", True)
    assert key not in f"{message.msg} {message.hint}"


@pytest.mark.django_db
class TestConfiguredStore:
    def test_store_that_can_be_opened(self) -> None:
        LoginConfiguration(persistence_type="REDIS", redis_host="redis.example.org").save()
        assert ids(databases=["default"]) == []

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"persistence_type": "JDBC", "jdbc_database": "gone"}, "gone"),
            ({"persistence_type": "REDIS", "redis_host": "r", "redis_password": "env:NOT_SET"}, "NOT_SET"),
        ],
    )
    def test_store_that_can_not_be_opened(
        self, settings: Settings, fields: dict[str, str], said: str
    ) -> None:
        settings.SESSIONPERSIST = {"SECRETS_ALLOWED": ["NOT_SET"]}
        LoginConfiguration(**fields).save()
        (message,) = found(databases=["default"])
        assert (message.id, said in message.msg) == ("sessionpersist.E006", True)
        assert ids() == []  # where no database may be asked

    def test_store_whose_driver_is_missing_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        LoginConfiguration(persistence_type="MONGODB", mongodb_host="m", mongodb_database="d").save()
        monkeypatch.delitem(sys.modules, "sessionpersist.stores.mongodb.store", raising=False)
        monkeypatch.setitem(sys.modules, "pymongo", None)
        (message,) = found(databases=["default"])
        assert "pip install 'sessionpersist[mongodb]'" in message.msg

    def test_command_fails_for_it(self) -> None:
        LoginConfiguration(persistence_type="JDBC", jdbc_database="gone").save()
        with pytest.raises(SystemCheckError, match=r"sessionpersist\.E006"):
            call_command("check", databases=["default"])


class Replicated:
    """A router of a project that reads from a replica."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"


@pytest.mark.django_db
def test_configuration_is_checked_where_it_is_written(settings: Settings) -> None:
    settings.DATABASE_ROUTERS = [f"{__name__}.Replicated"]
    LoginConfiguration(persistence_type="JDBC", jdbc_database="gone").save()
    assert ids(databases=["default"]) == ["E006"]


@pytest.mark.django_db
class TestOverruled:
    """A row that was changed other than by saving it, such as by a fixture of it alone."""

    def test_row_that_was_saved_is_not(self) -> None:
        LoginConfiguration(persistence_type="REDIS", redis_host="r", redis_password="p").save()
        assert ids(databases=["default"]) == []

    def test_row_that_nobody_has_made_is_not(self) -> None:
        assert ids(databases=["default"]) == []

    @pytest.mark.parametrize("edition", [0, 5])
    def test_row_without_a_revision_is_told(self, edition: int) -> None:
        LoginConfiguration.make_row("default")
        LoginConfiguration.objects.update(persistence_type="REDIS", redis_host="r", edition=edition)
        (message,) = found(databases=["default"])
        assert message.id == "sessionpersist.W004"
        assert "says REDIS at r:6379, database 0" in message.msg
        assert "last saved: In-Memory." in message.msg

    @pytest.mark.parametrize("change", [{"redis_host": "h2"}, {"redis_password": "s3cret"}])
    def test_row_that_differs_from_its_revision_is_told(self, change: dict[str, str]) -> None:
        LoginConfiguration(persistence_type="REDIS", redis_host="r", redis_password="p").save()
        LoginConfiguration.objects.update(**change)
        (message,) = found(databases=["default"])
        assert message.id == "sessionpersist.W004"
        assert "last saved: REDIS at r:6379" in message.msg
        assert "s3cret" not in message.msg

    def test_saving_it_once_more_is_all(self) -> None:
        LoginConfiguration.make_row("default")
        LoginConfiguration.objects.update(persistence_type="REDIS", redis_host="r")
        LoginConfiguration.get_solo().save()
        assert ids(databases=["default"]) == []
        assert routing.current_settings().type == "REDIS"


@pytest.mark.django_db
def test_database_without_the_tables_is_not_the_business_of_these_checks() -> None:
    with connection.cursor() as cursor:  # taken back with the test's transaction
        cursor.execute("ALTER TABLE sessionpersist_loginconfiguration RENAME TO not_there_yet")
    assert ids(databases=["default"]) == []


FILES = {"ADOPT_FROM": "django.contrib.sessions.backends.file"}


@pytest.mark.django_db
class TestAdoption:
    """E008 and W008: nobody has chosen a store that all nodes share for the sessions that are adopted."""

    def test_site_that_has_saved_no_store_is_stopped_where_the_database_is_asked(
        self, settings: Settings
    ) -> None:
        settings.SESSIONPERSIST = FILES
        (message,) = found(databases=["default"])
        assert (message.id, message.is_serious()) == ("sessionpersist.E008", True)
        assert message.msg.startswith("The sessions of django.contrib.sessions.backends.file would move")
        with pytest.raises(SystemCheckError, match=r"sessionpersist\.E008"):
            call_command("migrate", skip_checks=False)

    def test_before_the_first_migrate_it_is_stopped_too(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = FILES
        with connection.cursor() as cursor:  # taken back with the test's transaction
            cursor.execute("ALTER TABLE sessionpersist_revision RENAME TO not_there_yet")
        assert ids(databases=["default"]) == ["E008"]

    def test_where_no_database_is_asked_it_is_a_warning_with_its_condition(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = FILES
        (message,) = found(tags=[Tags.database])
        assert (message.id, message.is_serious()) == ("sessionpersist.W008", False)
        assert message.msg.startswith("Unless a store has been saved, the sessions of ")
        if django.VERSION < (6, 1):  # which asks no database unless it is told to
            call_command("check")

    def test_site_that_has_saved_a_store_is_not_stopped(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = FILES
        LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
        assert ids(databases=["default"]) == []
        call_command("check", databases=["default"])
        call_command("migrate", skip_checks=False, verbosity=0)

    def test_database_that_does_not_answer_is_not_taken_for_an_empty_one(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def down(*args: object) -> None:
            raise OperationalError("down")

        settings.SESSIONPERSIST = FILES
        monkeypatch.setattr(connection.introspection, "table_names", down)
        assert ids(databases=["default"]) == ["W008"]


@pytest.mark.django_db
class TestUnheededInitial:
    """W009: what is in force without anybody having saved it is not what INITIAL or ADOPT_FROM says."""

    INITIAL: ClassVar[dict[str, str]] = {
        "persistence_type": "REDIS",
        "redis_host": "r",
        "redis_password": "new",
    }

    @pytest.fixture(autouse=True)
    def of_an_earlier_release(self) -> None:
        """The rows that its migration made."""
        LoginConfiguration.make_row("default")
        Revision.objects.create(persistence_type="IN_MEMORY", activates_at=Now())

    def test_in_memory_of_an_earlier_release_is_told_with_both_stores_and_the_way(
        self, settings: Settings
    ) -> None:
        settings.SESSIONPERSIST = {"INITIAL": self.INITIAL}
        (message,) = found(databases=["default"])
        assert message.id == "sessionpersist.W009"
        assert (
            "stored in In-Memory, although SESSIONPERSIST['INITIAL'] stands for REDIS at r:6379"
            in message.msg
        )
        assert "page Login Configuration" in str(message.hint)
        assert routing.current_settings() == MemorySettings(), "and nobody is logged out"

    def test_store_that_adopt_from_stands_for_is_told(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"ADOPT_FROM": "django.contrib.sessions.backends.db"}
        (message,) = found(databases=["default"])
        assert "although SESSIONPERSIST['ADOPT_FROM'] stands for JDBC, database “default”" in message.msg

    @pytest.mark.parametrize(
        ("change", "said"),
        [({"host": "h2"}, "in REDIS at h2:6379"), ({}, "with another user, password or TLS")],
    )
    def test_initial_that_was_changed_since_is_told_and_no_password(
        self, settings: Settings, change: dict[str, str], said: str
    ) -> None:
        settings.SESSIONPERSIST = {"INITIAL": self.INITIAL}
        columns = {"host": "r", "port": 6379, "database": 0, **change}
        Revision.objects.update(persistence_type="REDIS", settings=columns, password="s3cret", initial=True)
        (message,) = found(databases=["default"])
        assert (message.id, said in message.msg) == ("sessionpersist.W009", True)
        assert not {"s3cret", "new"} & set(re.findall(r"\w+", message.msg))

    @pytest.mark.parametrize(
        "options", [{}, {**FILES, "INITIAL": {"persistence_type": "IN_MEMORY"}}], ids=["none", "the same"]
    )
    def test_settings_that_say_nothing_else_are_not(
        self, settings: Settings, options: dict[str, Any]
    ) -> None:
        settings.SESSIONPERSIST = options
        assert ids(databases=["default"]) == []

    def test_sessions_that_are_adopted_into_in_memory_are_told(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = FILES
        (message,) = found(databases=["default"])
        assert message.id == "sessionpersist.W008"
        assert message.msg.startswith(
            "The sessions of django.contrib.sessions.backends.file move into the memory"
        )
        assert "page Login Configuration" in str(message.hint)
        LoginConfiguration.get_solo().save()
        assert ids(databases=["default"]) == [], "somebody has chosen In-Memory"

    def test_site_that_has_saved_is_not(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"INITIAL": self.INITIAL}
        LoginConfiguration.get_solo().save()
        assert ids(databases=["default"]) == []

    def test_initial_with_a_typo_hides_no_other_message(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"INITIAL": {"redis_hosts": "typo"}}
        Revision.objects.update(persistence_type="JDBC", settings={"database": "gone"})
        assert sorted(ids(databases=["default"])) == ["E006", "E007"]


def test_compression_by_what_this_node_lacks(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(option_checks, "zstandard", None)
    settings.SESSIONPERSIST = {"COMPRESSION": "zstd"}
    (message,) = found()
    assert message.id == "sessionpersist.E003"
    assert "sessionpersist[fast]" in message.msg
