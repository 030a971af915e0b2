"""The settings in fresh processes, each with nothing but the environment it is given."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.load.warm import warm

ROOT = Path(__file__).resolve().parents[2]
LONG_KEY = "$ecret-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ"
PRODUCTION = {"SECRET_KEY": LONG_KEY, "ALLOWED_HOSTS": "www.example.org", "DATABASE_URL": "sqlite://:memory:"}


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return warm().run(arguments, {"PATH": os.environ["PATH"], "ENV_FILE": "", **environment}, "", seconds=60)


def value_of(expression: str, **environment: str) -> Any:
    """Evaluate an expression on the settings ``s`` of a process with this environment."""
    program = f"import json, project.settings as s; print(json.dumps({expression}))"
    result = python("-c", program, **environment)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_a_missing_secret_key_is_one_clear_sentence() -> None:
    result = python("manage.py", "check")
    assert result.returncode != 0
    assert result.stderr.splitlines()[-1] == (
        "django.core.exceptions.ImproperlyConfigured: "
        "Set the environment variable SECRET_KEY to a long random text (or DEBUG=true for development)."
    )


def test_with_debug_a_secret_key_is_not_needed() -> None:
    assert python("manage.py", "check", DEBUG="true").returncode == 0


def test_debug_is_off_unless_it_is_asked_for() -> None:
    assert value_of("s.DEBUG", **PRODUCTION) is False


def test_a_secret_key_that_begins_with_a_dollar_sign_is_taken_as_it_is() -> None:
    assert value_of("s.SECRET_KEY", **PRODUCTION) == LONG_KEY


def test_earlier_secret_keys_are_a_list() -> None:
    assert value_of("s.SECRET_KEY_FALLBACKS", **PRODUCTION) == []
    assert value_of("s.SECRET_KEY_FALLBACKS", SECRET_KEY_FALLBACKS="$one,two", **PRODUCTION) == [
        "$one",
        "two",
    ]


def test_without_debug_django_finds_nothing_insecure() -> None:
    result = python("manage.py", "check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert result.returncode == 0, result.stderr


def test_the_environment_can_turn_https_off() -> None:
    assert value_of("s.SECURE_SSL_REDIRECT", **PRODUCTION) is True
    assert value_of("s.SECURE_SSL_REDIRECT", SECURE_SSL_REDIRECT="false", **PRODUCTION) is False


def test_secure_cookies_have_names_that_no_other_host_can_plant() -> None:
    names = "[s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME]"
    assert value_of(names, **PRODUCTION) == ["__Host-sessionid", "__Host-csrftoken"]
    assert value_of(names, DEBUG="true") == ["sessionid", "csrftoken"]


def test_a_cookie_that_is_not_secure_has_a_name_that_browsers_take() -> None:
    names = "[s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME]"
    plain = value_of(names, SESSION_COOKIE_SECURE="false", **PRODUCTION)
    assert plain == ["sessionid", "__Host-csrftoken"]
    assert value_of(names, CSRF_COOKIE_SECURE="false", **PRODUCTION) == ["__Host-sessionid", "csrftoken"]


def test_the_forwarded_protocol_is_trusted_only_when_asked_to() -> None:
    header = "getattr(s, 'SECURE_PROXY_SSL_HEADER', None)"
    assert value_of(header, **PRODUCTION) is None
    trusted = value_of(header, TRUST_X_FORWARDED_PROTO="true", **PRODUCTION)
    assert trusted == ["HTTP_X_FORWARDED_PROTO", "https"]


def test_the_app_gets_only_the_settings_that_are_given() -> None:
    assert value_of("s.SESSIONPERSIST", **PRODUCTION) == {}
    given = {"NODE_NAME": "web-1", "REFRESH_SECONDS": "0.5", "ACTIVATION_SECONDS": "0", "TIMEOUT_SECONDS": ""}
    assert value_of("s.SESSIONPERSIST", **PRODUCTION, **given) == {
        "NODE_NAME": "web-1",
        "REFRESH_SECONDS": 0.5,
        "ACTIVATION_SECONDS": 0,
    }


def test_an_env_file_is_read_and_the_environment_wins_over_it(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("SECRET_KEY=from-the-file\nNODE_NAME=from-the-file\n")
    names = "[s.SECRET_KEY, s.SESSIONPERSIST['NODE_NAME']]"
    assert value_of(names, ENV_FILE=str(file), NODE_NAME="web-1") == ["from-the-file", "web-1"]


def test_every_variable_with_an_alias_is_one_more_database() -> None:
    databases = value_of(
        "s.DATABASES",
        DATABASE_URL_REPORTS="postgres://me:pass@db.example.org:5433/reports",
        **PRODUCTION,
    )
    assert set(databases) == {"default", "reports"}
    assert databases["reports"]["ENGINE"] == "django.db.backends.postgresql"
    assert databases["reports"]["HOST"] == "db.example.org"
    assert databases["reports"]["PORT"] == 5433


def test_the_tests_themselves_read_no_env_file() -> None:
    assert settings.SECRET_KEY.startswith("for-tests-only")


@pytest.mark.parametrize("module", ["project.wsgi", "project.asgi"])
def test_the_entry_point_of_a_server_starts(module: str) -> None:
    result = python("-c", f"import {module}", **PRODUCTION)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "postgres://me:sec/ret@db.example.org/site"),
        ("DATABASE_URL_REPORTS", "postgres://me:sec/ret@db.example.org/site"),
        ("REFRESH_SECONDS", "sec"),
        ("ACTIVATION_SECONDS", "-sec"),
        ("TIMEOUT_SECONDS", "nan"),
        ("SECURE_HSTS_SECONDS", "1.5"),
        ("SECURE_SSL_REDIRECT", "sec"),
        ("DEBUG", "sec"),
        ("LOG_LEVEL", "sec"),
    ],
)
def test_a_value_that_is_wrong_is_refused_by_the_name_of_its_variable(variable: str, value: str) -> None:
    result = python("manage.py", "check", **PRODUCTION | {variable: value})
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(
        f"django.core.exceptions.ImproperlyConfigured: The environment variable {variable} "
    )
    assert "sec" not in result.stderr.replace("_seconds", "").replace("sqlite://", "")


def test_a_value_that_begins_with_a_dollar_sign_is_no_reference_to_another_variable() -> None:
    assert value_of("s.SESSIONPERSIST", NODE_NAME="$web", **PRODUCTION) == {"NODE_NAME": "$web"}


def test_a_line_of_the_file_that_is_none_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("DATABASE_URL: postgres://me:password@db.example.org\nNODE_NAME=web-1\n")
    result = python(
        "-c", "import project.settings as s; print(s.SESSIONPERSIST)", **PRODUCTION, ENV_FILE=str(file)
    )
    assert result.stdout.strip() == "{'NODE_NAME': 'web-1'}"
    assert "is not of the form NAME=value" in result.stderr
    assert "password" not in result.stderr
