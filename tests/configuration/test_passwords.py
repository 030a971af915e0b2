"""Passwords of stores: encrypted at rest, and in no text that anybody sees."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.passwords import decrypt, encrypt
from sessionpersist.stores.settings import RedisSettings, UnreadablePassword, reveal

PASSWORD = "s3cret-ümlaut-\U0001f511"

pytestmark = pytest.mark.django_db


def configure(**fields: Any) -> LoginConfiguration:
    """Save a Redis with this password."""
    fields = {"redis_host": "redis.example.org", "redis_password": PASSWORD, **fields}
    LoginConfiguration(persistence_type="REDIS", **fields).save()
    return LoginConfiguration.get_solo()


def raw(table: str, column: str) -> str:
    """What the database holds, in the newest row."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {table} ORDER BY id DESC LIMIT 1")  # noqa: S608
        return str(cursor.fetchone()[0])


PLACES = [("sessionpersist_loginconfiguration", "redis_password"), ("sessionpersist_revision", "password")]


@pytest.mark.parametrize(("table", "column"), PLACES)
def test_password_is_encrypted_in_the_database_and_plain_on_the_model(table: str, column: str) -> None:
    configuration = configure()
    assert PASSWORD not in raw(table, column)
    assert decrypt(raw(table, column)) == PASSWORD
    assert configuration.redis_password == PASSWORD
    assert Revision.objects.latest("pk").password == PASSWORD


def test_no_column_of_any_row_holds_the_password() -> None:
    configure()
    with connection.cursor() as cursor:
        for table in ("sessionpersist_loginconfiguration", "sessionpersist_revision"):
            cursor.execute(f"SELECT * FROM {table}")  # noqa: S608
            assert PASSWORD not in repr(cursor.fetchall())


def test_same_password_is_never_the_same_text() -> None:
    assert encrypt(PASSWORD) != encrypt(PASSWORD)


def test_password_that_looks_encrypted_is_encrypted_all_the_same() -> None:
    password = encrypt("another")
    assert configure(redis_password=password).redis_password == password


def test_no_password_stays_none() -> None:
    assert configure(redis_password="").redis_password == ""
    assert raw(*PLACES[0]) == ""


def test_password_is_in_no_text_of_the_objects() -> None:
    configuration, revision = configure(), Revision.objects.latest("pk")
    settings = revision.store_settings()
    texts = [
        configuration,
        revision,
        settings,
        settings.describe(),
        settings.public(),
        settings.target,
        revision.settings,
    ]
    assert PASSWORD not in " ".join(f"{text!r} {text}" for text in texts)


@pytest.mark.parametrize("form", ["json", "xml", "jsonl"])
def test_dump_has_neither_the_password_nor_its_ciphertext(form: str) -> None:
    configure()
    out = io.StringIO()
    call_command("dumpdata", "sessionpersist", format=form, stdout=out)
    assert "redis.example.org" in out.getvalue()
    assert PASSWORD not in out.getvalue()
    assert raw(*PLACES[0]) not in out.getvalue()
    assert raw(*PLACES[1]) not in out.getvalue()


def test_password_of_the_environment_is_read_on_each_node(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = configure(redis_password="env:REDIS_SECRET").store_settings()
    assert isinstance(settings, RedisSettings)
    assert settings.password == "env:REDIS_SECRET"
    monkeypatch.setenv("REDIS_SECRET", PASSWORD)
    assert reveal(settings.password) == PASSWORD
    monkeypatch.setenv("REDIS_SECRET", "another")
    assert reveal(settings.password) == "another"


@pytest.mark.parametrize("password", ["env:NOT_SET_ANYWHERE", "env:"])
def test_variable_that_is_not_set_is_a_misconfiguration_on_the_password(password: str) -> None:
    with pytest.raises(StoreMisconfigured) as caught:
        reveal(password)
    assert caught.value.field == "password"


def test_secret_key_in_the_fallbacks_still_opens_and_saving_encrypts_with_the_new_one(
    settings: Settings,
) -> None:
    configure()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the new secret key"
    configuration = LoginConfiguration.get_solo()
    assert configuration.redis_password == PASSWORD
    configuration.save()
    settings.SECRET_KEY_FALLBACKS = []
    assert LoginConfiguration.get_solo().redis_password == PASSWORD
    assert Revision.objects.latest("pk").password == PASSWORD


def test_password_of_a_lost_secret_key_is_unreadable_and_says_so(settings: Settings) -> None:
    configure()
    settings.SECRET_KEY = "the new secret key"
    password = LoginConfiguration.get_solo().redis_password
    assert isinstance(password, UnreadablePassword)
    with pytest.raises(StoreMisconfigured, match="SECRET_KEY") as caught:
        reveal(password)
    assert caught.value.field == "password"


def test_saving_an_unreadable_password_keeps_it_for_the_day_the_key_is_back(settings: Settings) -> None:
    configure()
    before, secret_key = raw(*PLACES[0]), settings.SECRET_KEY
    settings.SECRET_KEY = "the new secret key"
    configuration = LoginConfiguration.get_solo()
    configuration.redis_username = "app"
    configuration.save()
    assert [raw(*place) for place in PLACES] == [before, before]
    settings.SECRET_KEY = secret_key
    assert LoginConfiguration.get_solo().redis_password == PASSWORD
    assert Revision.objects.latest("pk").password == PASSWORD
