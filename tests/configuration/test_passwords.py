"""Passwords of stores: encrypted at rest, and in no text that anybody sees."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.stores.secret import Sealed, UnreadablePassword, decrypt, encrypt
from sessionpersist.stores.settings import RedisSettings, reveal

PASSWORD = "s3cret-ümlaut-\U0001f511"

pytestmark = pytest.mark.django_db
needs_yaml = pytest.mark.skipif(not importlib.util.find_spec("yaml"), reason="PyYAML is not installed")


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


def test_password_as_the_settings_of_a_store_hold_it_is_saved_as_itself_and_not_as_its_mask() -> None:
    LoginConfiguration(pk=1, redis_password=Sealed("hunter2")).save_base(force_insert=True)  # type: ignore[misc]
    assert LoginConfiguration.objects.get().redis_password == "hunter2"


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


FORMATS = ["json", "xml", "jsonl", pytest.param("yaml", marks=needs_yaml)]


def dumped(form: str = "json", *models: str, **options: Any) -> str:
    """What ``dumpdata`` writes of these models, or of the whole app."""
    out = io.StringIO()
    call_command("dumpdata", *(models or ["sessionpersist"]), format=form, stdout=out, **options)
    return out.getvalue()


def load(dump: str, form: str, folder: Path) -> None:
    """``loaddata`` into an empty database."""
    LoginConfiguration.objects.all().delete()
    Revision.objects.all().delete()
    path = folder / f"dump.{form}"
    path.write_text(dump)
    call_command("loaddata", path, verbosity=0)


@pytest.mark.parametrize("form", FORMATS)
def test_dump_has_the_password_as_ciphertext_and_never_plain(form: str) -> None:
    configure()
    dump = dumped(form)
    assert "redis.example.org" in dump
    assert not any(text in dump for text in (PASSWORD, json.dumps(PASSWORD).strip('"'), "s3cret"))
    assert dump.count("encrypted:") == 2


@pytest.mark.parametrize(
    "options", [{}, {"use_natural_primary_keys": True, "use_natural_foreign_keys": True}]
)
@pytest.mark.parametrize("form", FORMATS)
def test_loading_one_s_own_dump_brings_the_password_back(
    form: str, options: dict[str, bool], tmp_path: Path
) -> None:
    configure()
    before = Revision.objects.latest("pk")
    load(dumped(form, **options), form, tmp_path)
    assert LoginConfiguration.get_solo().redis_password == PASSWORD
    after = Revision.objects.latest("pk")
    assert (after.pk, after.password, after.activates_at) == (before.pk, PASSWORD, before.activates_at)
    assert [decrypt(raw(*place)) for place in PLACES] == [PASSWORD, PASSWORD]


def test_dump_of_an_earlier_secret_key_loads_with_the_fallbacks(settings: Settings, tmp_path: Path) -> None:
    configure()
    dump = dumped()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the new secret key"
    load(dump, "json", tmp_path)
    settings.SECRET_KEY_FALLBACKS = []
    assert LoginConfiguration.get_solo().redis_password == PASSWORD


def test_dump_of_another_site_is_unreadable_says_so_and_keeps_the_ciphertext(
    settings: Settings, tmp_path: Path
) -> None:
    configure()
    dump, secret_key = dumped(), settings.SECRET_KEY
    settings.SECRET_KEY = "the new secret key"
    load(dump, "json", tmp_path)
    with pytest.raises(StoreMisconfigured, match="SECRET_KEY"):
        reveal(LoginConfiguration.get_solo().redis_password)
    dump = dumped()
    settings.SECRET_KEY = secret_key
    assert LoginConfiguration.get_solo().redis_password == PASSWORD
    load(dump, "json", tmp_path)
    assert LoginConfiguration.get_solo().redis_password == PASSWORD


@pytest.mark.parametrize("password", ["", "written-by-hand", "env:REDIS_SECRET"])
def test_fixture_that_somebody_wrote_holds_the_password_itself(password: str, tmp_path: Path) -> None:
    configure()
    rows = json.loads(dumped())
    for row in rows:
        for name in ("redis_password", "password"):
            if name in row["fields"]:
                row["fields"][name] = password
    load(json.dumps(rows), "json", tmp_path)
    assert LoginConfiguration.get_solo().redis_password == password


def test_ciphertext_that_is_typed_is_a_password_like_any_other() -> None:
    """Or whoever reads a dump could have the password sent to a host of their own."""
    typed = f"encrypted:{encrypt(PASSWORD)}"
    fields = {"persistence_type": "REDIS", "redis_host": "mallory.example.org", "redis_password": typed}
    form = LoginConfigurationForm(
        LoginConfigurationForm.data_of(LoginConfiguration.get_solo()) | fields, probe=False
    )
    assert form.is_valid(), form.errors
    form.save()
    assert LoginConfiguration.get_solo().redis_password == typed
    configuration = LoginConfiguration.get_solo()
    configuration.full_clean(exclude=["jdbc_database"])
    assert configuration.redis_password == typed
    assert Revision.objects.latest("pk").password == typed


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
