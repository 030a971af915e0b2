"""What becomes of a database URL, tried on real SQLite files."""

import sqlite3
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection
from django.db.backends.sqlite3.base import DatabaseWrapper

from project.databases import database, databases


@contextmanager
def connected(config: dict[str, Any]) -> Iterator[DatabaseWrapper]:
    """A connection of Django's own with these settings, outside of settings.DATABASES."""
    defaults = dict(connection.settings_dict) | {"OPTIONS": {}}
    wrapper = DatabaseWrapper(defaults | config, alias="tried")
    try:
        yield wrapper
    finally:
        wrapper.close()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An SQLite file with one table, in a folder whose name needs quoting in a URL."""
    folder = tmp_path / "an archive"
    folder.mkdir()
    path = folder / "archive.sqlite3"
    file = sqlite3.connect(path)
    file.execute("CREATE TABLE note (text TEXT)")
    file.commit()
    file.close()
    return path


def test_without_a_url_the_database_is_a_file_in_the_project(tmp_path: Path) -> None:
    found = databases({}, tmp_path)
    assert list(found) == ["default"]
    assert found["default"]["NAME"] == str(tmp_path / "db.sqlite3")


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    found = databases({"DATABASE_URL": "", "DATABASE_URL_REPORTS": ""}, tmp_path)
    assert list(found) == ["default"]
    assert found["default"]["NAME"] == str(tmp_path / "db.sqlite3")


def test_an_absolute_sqlite_path_stays_as_it_is(tmp_path: Path, archive: Path) -> None:
    assert database(f"sqlite:///{archive}", tmp_path)["NAME"] == str(archive)


def test_an_sqlite_database_in_memory_has_no_file(tmp_path: Path) -> None:
    assert database("sqlite://:memory:", tmp_path)["NAME"] == ":memory:"
    assert database("sqlite://", tmp_path)["NAME"] == ":memory:"


@pytest.mark.django_db
def test_a_writable_sqlite_file_has_a_write_ahead_log(tmp_path: Path, archive: Path) -> None:
    with connected(database(f"sqlite:///{archive}", tmp_path)) as wrapper, wrapper.cursor() as cursor:
        cursor.execute("INSERT INTO note VALUES ('hello')")
        cursor.execute("PRAGMA journal_mode")
        assert cursor.fetchone() == ("wal",)


@pytest.mark.django_db
@pytest.mark.parametrize("parameter", ["mode=ro", "immutable=1"])
def test_a_read_only_sqlite_file_can_be_read_but_not_written(
    tmp_path: Path, archive: Path, parameter: str
) -> None:
    with (
        connected(database(f"sqlite:///{archive}?{parameter}", tmp_path)) as wrapper,
        wrapper.cursor() as cursor,
    ):
        cursor.execute("SELECT count(*) FROM note")
        assert cursor.fetchone() == (0,)
        with pytest.raises(OperationalError, match="readonly"):
            cursor.execute("INSERT INTO note VALUES ('hello')")


def test_other_sqlite_parameters_are_options_of_django(tmp_path: Path) -> None:
    options = database("sqlite:///site.sqlite3?timeout=3&mode=rw", tmp_path)["OPTIONS"]
    assert options["timeout"] == 3
    assert options["uri"] is True
    assert "mode" not in options


def test_connections_to_a_server_are_kept_and_checked(tmp_path: Path) -> None:
    config = database("postgres://me:pass@db.example.org/site", tmp_path)
    assert (config["CONN_MAX_AGE"], config["CONN_HEALTH_CHECKS"]) == (60, True)
    assert config["OPTIONS"]["connect_timeout"] == 5


def test_the_url_wins_over_the_defaults(tmp_path: Path) -> None:
    config = database("postgres://db.example.org/site?conn_max_age=0&connect_timeout=1", tmp_path)
    assert config["CONN_MAX_AGE"] == 0
    assert config["OPTIONS"]["connect_timeout"] == 1


def test_mysql_gets_a_driver(tmp_path: Path) -> None:
    config = database("mysql://me:pass@db.example.org/site", tmp_path)
    assert config["ENGINE"] == "django.db.backends.mysql"
    # Django's backend checks the version of the driver as it is imported.
    import django.db.backends.mysql.base  # noqa: F401

    assert "MySQLdb" in sys.modules


@pytest.mark.parametrize(
    "url",
    [
        "me:secret@db.example.org",
        "postgres://me:sec/ret@db.example.org/site",
        "postgres://me:12/secret@db.example.org/site",
        "postgres://me:sec?ret@db.example.org/site",
        "postgres://me:12?secret@db.example.org/site",
        "postgres://me:sec/r#et@db.example.org/site",
        "postgres://me:secret@db.example.org:secret/site",
        "postgres://me:secret@db.example.org:99999/site",
        "postgres://me:secret@[::1/site",
        "secret://me:secret@db.example.org/site",
        "://me:secret@db.example.org/site",
        "sqlite://me:secret@db.example.org/site",
    ],
)
@pytest.mark.parametrize("variable", ["DATABASE_URL", "DATABASE_URL_REPORTS"])
def test_a_url_that_is_wrong_is_refused_by_the_name_of_its_variable(
    variable: str, url: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        databases({variable: url}, tmp_path)
    told = "".join(traceback.format_exception(refusal.value))
    assert str(refusal.value).startswith(f"The environment variable {variable} is not a database URL")
    assert not any(part in told for part in ("sec", "ret@", "12/", "12?"))
    assert not recwarn.list


@pytest.mark.parametrize("written", ["s%2Fe%3Fc%23r%40e%3At%25+", "s[e]c#ret", "s:e@c", "né"])
def test_a_password_with_odd_characters_arrives_as_it_is(written: str, tmp_path: Path) -> None:
    config = database(f"postgres://me:{written}@db.example.org:5433/site", tmp_path)
    assert config["PASSWORD"] == unquote(written)
    assert (config["HOST"], config["PORT"], config["NAME"]) == ("db.example.org", 5433, "site")


@pytest.mark.parametrize("variable", ["DATABASE_URL_", "DATABASE_URL_DEFAULT"])
def test_an_alias_that_is_none_is_refused(variable: str, tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=variable):
        databases({variable: "sqlite://:memory:"}, tmp_path)
