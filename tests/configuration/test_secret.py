"""Values that nobody is to read by accident: in no repr, no dictionary of settings, no pickle."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from dataclasses import asdict, fields, replace
from typing import Any
from urllib.parse import quote

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from pytest_django import Settings

from sessionpersist.configuration import probing
from sessionpersist.configuration.forms import STORE_FORMS, LoginConfigurationForm
from sessionpersist.configuration.forms.fields import SecretField
from sessionpersist.engine import SessionStore
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.stores.passwords import EncryptedPasswordField
from sessionpersist.stores.secret import MASKED, Sealed, Secret, SecretBytes, UnreadablePassword, secret_keys
from sessionpersist.stores.settings import (
    TYPES,
    DatabaseSettings,
    MongoSettings,
    RedisSettings,
    StoreSettings,
    reveal,
)
from tests.stores.databases import added_database

PASSWORD = "s3cret-ümlaut"
SETTINGS = [
    RedisSettings(host="redis.example.org", username="app", password=PASSWORD),
    MongoSettings(host="db.example.org", database="app", username="app", password=PASSWORD),
]


def unpickled(pickled: bytes) -> Any:
    return pickle.loads(pickled)  # noqa: S301 - our own


@pytest.mark.parametrize("cls", TYPES.values())
def test_secret_of_a_store_is_one_on_the_page_in_the_row_and_in_the_revision(
    cls: type[StoreSettings],
) -> None:
    """The settings say which fields are secrets; nothing else may take another for one, or one for another."""
    secrets = set(cls.secret_names())
    shown = STORE_FORMS[cls.type].base_fields
    assert {name for name, field in shown.items() if isinstance(field, SecretField)} == secrets
    names = [each.name for each in fields(cls)]
    row = {name: LoginConfiguration._meta.get_field(cls.field(name)) for name in names}
    assert {name for name, field in row.items() if isinstance(field, EncryptedPasswordField)} == secrets
    for name in secrets:
        assert isinstance(Revision._meta.get_field(name), EncryptedPasswordField)


@pytest.mark.parametrize("secret", [Secret(PASSWORD), SecretBytes(PASSWORD.encode()), Sealed(PASSWORD)])
def test_repr_shows_nothing_alone_or_in_a_container(secret: object) -> None:
    for text in (f"{secret!r}", f"{[secret]}", f"{ {'password': secret} }", "%r %s" % (secret, (secret,))):  # noqa: UP031
        assert MASKED in text
        assert "s3cret" not in text


def test_secret_text_is_a_text_like_any_other() -> None:
    secret = Secret(PASSWORD)
    assert secret == PASSWORD
    assert hash(secret) == hash(PASSWORD)
    assert f"{secret}" == str(secret) == PASSWORD
    assert json.loads(json.dumps({"password": secret})) == {"password": PASSWORD}
    assert copy.copy(secret) is copy.deepcopy(secret) is secret


@pytest.mark.parametrize("place", SETTINGS, ids=["REDIS", "MONGODB"])
class TestSettingsOfAStore:
    def test_no_text_of_them_shows_the_password(
        self, place: StoreSettings, caplog: pytest.LogCaptureFixture
    ) -> None:
        logging.getLogger("tests").error("%s %r %s", place, [place], asdict(place))
        texts = [
            caplog.text,
            str(place),
            repr(vars(place)),
            place.describe(),
            repr(place.public()),
        ]
        assert not any("s3cret" in text for text in texts)

    def test_asdict_is_no_json_with_the_password_in_it(self, place: StoreSettings) -> None:
        for encoder in (json.JSONEncoder, DjangoJSONEncoder):
            with pytest.raises(TypeError, match="Sealed"):
                json.dumps(asdict(place), cls=encoder)
        assert "s3cret" not in json.dumps(asdict(place), default=str)
        assert "s3cret" not in json.dumps(place.public())

    def test_they_are_compared_by_their_password_too(self, place: StoreSettings) -> None:
        same, other = replace(place, password=PASSWORD), replace(place, password="other")  # type: ignore[call-arg]
        assert (same == place, hash(same) == hash(place), other == place) == (True, True, False)
        assert reveal(other.password) == "other"  # type: ignore[attr-defined]

    def test_pickle_has_the_password_encrypted(self, place: StoreSettings) -> None:
        pickled = pickle.dumps(place)
        assert b"s3cret" not in pickled
        assert unpickled(pickled) == place
        assert copy.deepcopy(place) == place


@pytest.mark.django_db
class TestModel:
    @pytest.fixture
    def row(self) -> LoginConfiguration:
        LoginConfiguration(persistence_type="REDIS", redis_host="r", redis_password=PASSWORD).save()
        return LoginConfiguration.get_solo()

    def test_attribute_is_what_was_set_and_no_report_shows_it(self, row: LoginConfiguration) -> None:
        new = LoginConfiguration(redis_password="first")
        new.redis_password = PASSWORD
        for each in (row, new):
            assert each.redis_password == PASSWORD
            assert isinstance(each.redis_password, str)
            assert "s3cret" not in repr(vars(each))
        assert "s3cret" not in repr(vars(Revision.objects.latest("pk")))

    def test_pickle_of_a_row_has_the_password_encrypted(self, row: LoginConfiguration) -> None:
        pickled = pickle.dumps(row)
        assert PASSWORD.encode() not in pickled
        assert unpickled(pickled).redis_password == PASSWORD

    def test_pickle_of_a_row_that_can_not_be_decrypted_keeps_the_ciphertext(
        self, row: LoginConfiguration, settings: Settings
    ) -> None:
        settings.SECRET_KEY = "the new secret key"
        unreadable = LoginConfiguration.get_solo()
        again = unpickled(pickle.dumps(unreadable)).redis_password
        assert isinstance(again, UnreadablePassword)
        assert again == unreadable.redis_password

    def test_form_has_it_only_hidden(self, row: LoginConfiguration) -> None:
        data = LoginConfigurationForm.data_of(row) | {"redis_password": Secret("n3w-s3cret")}
        form = LoginConfigurationForm(data, probe=False)
        assert form.is_valid(), form.errors
        assert form.store_settings().secrets()["password"] == "n3w-s3cret"
        assert "s3cret" not in repr(
            [vars(form), form.store_settings(), probing.secrets_of(form.store_settings())]
        )


def test_password_of_a_database_of_the_project_is_hidden_too() -> None:
    with added_database("closed", f"postgres://app:{quote(PASSWORD)}@127.0.0.1:1/app"):
        found = probing.secrets_of(DatabaseSettings("closed"))
        assert found == [PASSWORD]
        assert repr(found) == f"[{MASKED}]"
    assert probing.secrets_of(DatabaseSettings("gone")) == []


@pytest.mark.django_db
def test_session_key_is_hidden_wherever_it_comes_from() -> None:
    given, made = SessionStore("abcdefghijklmnop"), SessionStore()
    made.save()
    for session in (given, made):
        assert isinstance(session.session_key, str)
        assert session.session_key not in repr(vars(session))
    assert given.session_key == "abcdefghijklmnop"


@pytest.mark.parametrize("keys", [("one key", "another"), (b"one key", "another"), ("one key", b"another")])
def test_secret_keys_are_hidden_as_text_and_as_bytes(settings: Settings, keys: tuple[str, str]) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = keys[0], [keys[1]]
    assert secret_keys() == keys
    assert repr(secret_keys()) == f"({MASKED}, {MASKED})"
