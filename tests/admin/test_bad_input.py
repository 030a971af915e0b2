"""What can't work gets a clear sentence on the field that is wrong, and nothing is saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.models import LoginConfiguration
from tests.admin.support import Data, errors_of, login_of, save, saved_state, typed
from tests.servers import MongoDB, Postgres, Redis, Valkey, require, shared
from tests.servers.places import free_port
from tests.sizes import first_of_each

pytestmark = pytest.mark.django_db

PORT = "The port must be a whole number from 1 to 65535."
NUMBER = "The database must be a whole number, 0 or higher."
REDIS = {"persistence_type": "REDIS", "redis_host": "localhost"}
MONGODB = {"persistence_type": "MONGODB", "mongodb_host": "localhost", "mongodb_database": "app"}

HOSTS = [
    ("", "Enter the host name or the IP address"),
    ("   ", "Enter the host name or the IP address"),
    ("redis://cache", "without a scheme"),
    ("https://cache.example.com/", "without a scheme"),
    ("ca che", "no spaces"),
    ("cache/0", "without a slash"),
    ("user:secret-pw@cache", "user name and password have fields of their own"),
    ("redis://:secret-pw@cache:6379/0", "user name and password have fields of their own"),
    ("cache:6379", "the port has a field of its own"),
    ("[::1]:6379", "the port has a field of its own"),
    ("-cache", "not a host name"),
    ("cache..example", "not a host name"),
    ("ca,che", "not a host name"),
    ("x" * 64, "not a host name"),
    (".".join(["x" * 60] * 5), "not a host name"),
]


PLACES = [
    ({**fields, f"{prefix}_host": host}, f"{prefix}_host", message)
    for prefix, fields in (("redis", REDIS), ("mongodb", MONGODB))
    for host, message in HOSTS
]

FIELDS: list[tuple[Data, str, str]] = [
    *(
        ({**REDIS, "redis_port": port}, "redis_port", PORT)
        for port in ("", "0", "-1", "70000", "text", "6.5")
    ),
    *(({**MONGODB, "mongodb_port": port}, "mongodb_port", PORT) for port in ("", "0", "70000", "text")),
    *(({**REDIS, "redis_database": n}, "redis_database", NUMBER) for n in ("", "-1", "text", str(2**31))),
    *(
        ({**MONGODB, "mongodb_database": f"ap{character}p"}, "mongodb_database", "must not contain")
        for character in '/\\." $\t'
    ),
    ({**MONGODB, "mongodb_database": ""}, "mongodb_database", "Enter the name of the database"),
    ({**MONGODB, "mongodb_database": "a\0b"}, "mongodb_database", "control characters"),
    ({**MONGODB, "mongodb_database": "x" * 64}, "mongodb_database", "at most 63 bytes"),
    ({**MONGODB, "mongodb_database": "ä" * 32}, "mongodb_database", "at most 63 bytes"),
    ({**MONGODB, "mongodb_auth_source": "a.b"}, "mongodb_auth_source", "must not contain"),
    ({**MONGODB, "mongodb_username": "app"}, "mongodb_password", "Enter the password of this user"),
    ({**MONGODB, "mongodb_password": "pw"}, "mongodb_username", "Enter the user name"),
    ({**REDIS, "redis_username": "app"}, "redis_password", "Enter the password of this user"),
    ({**REDIS, "redis_password": "env:NO_SUCH"}, "redis_password", "not set on this node"),
    (
        {**MONGODB, "mongodb_username": "a", "mongodb_password": "env:"},
        "mongodb_password",
        "not set on this node",
    ),
    ({"persistence_type": "JDBC", "jdbc_database": ""}, "jdbc_database", "Choose a database"),
    ({"persistence_type": "JDBC", "jdbc_database": "nowhere"}, "jdbc_database", "no database “nowhere”"),
    ({"persistence_type": "FLOPPY"}, "persistence_type", "Select a valid choice"),
    ({"persistence_type": ""}, "persistence_type", "required"),
    ({"edition": ""}, "edition", "required"),
]


def assert_told(errors: dict[str, list[str]], field: str, message: str) -> None:
    """Whether this field has an error, which says that and no secret."""
    assert list(errors) == [field]
    assert len(errors[field]) == 1
    assert message in errors[field][0]
    assert "secret-pw" not in errors[field][0]


@pytest.mark.parametrize(("changes", "field", "message"), [*PLACES, *FIELDS])
def test_the_form_refuses_a_value_that_can_not_work(changes: Data, field: str, message: str) -> None:
    errors: Any = LoginConfigurationForm(typed(**changes)).errors
    assert_told(dict(errors), field, message)


@pytest.mark.parametrize(
    ("changes", "field", "message"), first_of_each([*PLACES, *FIELDS], lambda case: case[1])
)
def test_a_value_that_can_not_work_is_told_on_the_page(
    browser: Client, changes: Data, field: str, message: str
) -> None:
    before = saved_state()
    assert_told(errors_of(save(browser, **changes)), field, message)
    assert saved_state() == before


def test_all_that_is_wrong_is_told_at_once(browser: Client) -> None:
    wrong = {"redis_host": "a b", "redis_port": "0", "redis_database": "-1", "redis_password": "env:NO_SUCH"}
    assert set(errors_of(save(browser, **REDIS | wrong))) == set(wrong)


def closed_port() -> Data:
    return {**REDIS, "redis_host": "127.0.0.1", "redis_port": free_port()}


def unknown_host() -> Data:
    return {**REDIS, "redis_host": "no-such-host.invalid"}


def redis_at_postgres() -> Data:
    require(Postgres)
    return {**REDIS, "redis_host": shared(Postgres).host, "redis_port": shared(Postgres).port}


def mongodb_at_redis() -> Data:
    require(Valkey)
    return {**MONGODB, "mongodb_host": shared(Valkey).host, "mongodb_port": shared(Valkey).port}


def changed(login: Callable[[], Data], **changes: Any) -> Callable[[], Data]:
    return lambda: login() | changes


def redis() -> Data:
    return login_of(Valkey)


def mongodb() -> Data:
    return login_of(MongoDB)


def redis_with_tls() -> Data:
    return login_of(Redis, tls=True)


def mongodb_with_tls() -> Data:
    return login_of(MongoDB, tls=True)


# What to type, the fields of which one gets the message, and a part of it.
SERVERS = {
    "unknown host": (unknown_host, {"redis_host"}, "does not resolve"),
    "closed port": (closed_port, {"redis_port"}, "refused"),
    "Redis at PostgreSQL": (redis_at_postgres, {"redis_port"}, ""),
    "MongoDB at Valkey": (mongodb_at_redis, {"mongodb_port"}, ""),
    "Redis password": (changed(redis, redis_password="wrong-pw"), {"redis_password"}, "refused"),
    "Redis no password": (changed(redis, redis_password=""), {"redis_password"}, ""),
    "Redis user": (changed(redis, redis_username="nobody"), {"redis_password", "redis_username"}, "refused"),
    "Redis database": (changed(redis, redis_database="9999"), {"redis_database"}, "9999"),
    "Redis TLS at plain": (changed(redis, redis_tls="on"), {"redis_tls"}, "TLS"),
    "Redis plain at TLS": (changed(redis_with_tls, redis_tls=""), {"redis_port", "redis_tls"}, "TLS"),
    "MongoDB password": (changed(mongodb, mongodb_password="wrong-pw"), {"mongodb_password"}, "refused"),
    "MongoDB user": (changed(mongodb, mongodb_username="nobody"), {"mongodb_password"}, "refused"),
    "MongoDB no login": (
        changed(mongodb, mongodb_username="", mongodb_password=""),
        {"mongodb_username"},
        "user name and a password",
    ),
    "MongoDB other database": (changed(mongodb, mongodb_database="other"), {"mongodb_database"}, "other"),
    "MongoDB TLS at plain": (changed(mongodb, mongodb_tls="on"), {"mongodb_tls"}, "TLS"),
    "MongoDB plain at TLS": (
        changed(mongodb_with_tls, mongodb_tls=""),
        {"mongodb_port", "mongodb_tls"},
        "TLS",
    ),
}


# These say nothing, however long one waits.
SILENT = {"MongoDB at Valkey", "MongoDB plain at TLS", "Redis TLS at plain"}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_refuses(browser: Client, name: str, settings: Settings) -> None:
    """With all the time that a busy machine needs to hear the refusal."""
    seconds = 2 if name in SILENT else 5
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "TIMEOUT_SECONDS": seconds}
    login, fields, message = SERVERS[name]
    data, before = login(), saved_state()
    response = save(browser, **data)
    errors = errors_of(response)
    assert len(errors) == 1
    [(field, [error])] = errors.items()
    assert field in fields
    assert message in error
    assert saved_state() == before
    passwords = {value for key, value in data.items() if key.endswith("password") and value}
    assert not any(password in response.content.decode() for password in passwords)


def test_a_missing_driver_says_what_to_install(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sessionpersist.stores.redis.store", None)
    errors = errors_of(save(browser, **REDIS))
    assert "pip install 'sessionpersist[redis]'" in errors["__all__"][0]


def test_a_password_that_no_key_opens_is_asked_for_and_not_lost(browser: Client, settings: Settings) -> None:
    login = login_of(Valkey)
    save(browser, **login)
    key, settings.SECRET_KEY = settings.SECRET_KEY, "another-" + settings.SECRET_KEY
    form = LoginConfigurationForm(typed())
    assert "Enter the password again" in form.errors["redis_password"][0]
    other = LoginConfigurationForm(typed(persistence_type="IN_MEMORY"))
    assert other.is_valid()
    other.save()
    settings.SECRET_KEY = key
    assert LoginConfiguration.get_solo().redis_password == login["redis_password"]
