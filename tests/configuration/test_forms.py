"""The forms of the stores: which fields count by which choice, what each refuses, and that no secret is left out."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from sessionpersist.configuration.forms import STORE_FORMS, LoginConfigurationForm, secret_fields
from sessionpersist.configuration.forms.fields import SecretField
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.stores.allowed_hosts import NOT_ALLOWED
from sessionpersist.stores.passwords import EncryptedPasswordField
from sessionpersist.stores.secret import Secret
from sessionpersist.stores.settings import TYPES, MongoSettings, RedisSettings
from tests.admin.support import PAGE, create_staff, save, shown, typed

pytestmark = pytest.mark.django_db

SENTINEL = {
    "persistence_type": "REDIS",
    "redis_mode": "SENTINEL",
    "redis_nodes": "a.example.org:26379\nb.example.org:26379",
    "redis_sentinel_name": "mymaster",
}
CLUSTER = {"persistence_type": "REDIS", "redis_mode": "CLUSTER", "redis_nodes": "a.example.org:7000"}


def filled(data: dict[str, Any]) -> LoginConfigurationForm:
    """The form after somebody typed this into the page; no store is tried."""
    form = LoginConfigurationForm(typed(**data), probe=False)
    form.is_valid()
    return form


def test_every_setting_has_a_field_in_the_form_and_in_the_model() -> None:
    model = {field.name for field in LoginConfiguration._meta.fields}
    for name, settings in TYPES.items():
        names = {each.name for each in fields(settings)}
        assert names <= STORE_FORMS[name].base_fields.keys()
        assert {settings.field(each) for each in names} <= model


def test_a_secret_of_the_settings_is_one_in_the_form_and_in_the_model() -> None:
    for name, settings in TYPES.items():
        form = STORE_FORMS[name].base_fields
        assert {each for each in form if isinstance(form[each], SecretField)} == set(settings.secret_names())
        for secret in settings.secret_names():
            field = LoginConfiguration._meta.get_field(settings.field(secret))
            assert isinstance(field, EncryptedPasswordField)
            assert settings.field(secret) in secret_fields()


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        ({**SENTINEL, "redis_nodes": ""}, "redis_nodes", "Enter at least one server, as host:port."),
        ({**SENTINEL, "redis_nodes": "a.example.org"}, "redis_nodes", "Line 1 has no port: enter host:port."),
        ({**SENTINEL, "redis_nodes": "a:1\nb:0"}, "redis_nodes", "The port of line 2 is not a whole number"),
        ({**CLUSTER, "redis_nodes": "a:1\nA:1"}, "redis_nodes", "Enter each server once."),
        ({**CLUSTER, "redis_nodes": "a:1\nb$:2"}, "redis_nodes", "Line 2: This is not a host name"),
        ({**CLUSTER, "redis_nodes": "a\x00b:1"}, "redis_nodes", "This field must not contain control"),
        (
            {**SENTINEL, "redis_sentinel_username": "app"},
            "redis_sentinel_password",
            "Enter the password of this",
        ),
        ({**SENTINEL, "redis_sentinel_name": ""}, "redis_sentinel_name", "Enter the name that the Sentinels"),
        ({**CLUSTER, "redis_mode": "RING"}, "redis_mode", "Select a valid choice."),
        ({**CLUSTER, "redis_wait_replicas": "-1"}, "redis_wait_replicas", "This must be a whole number"),
        ({**CLUSTER, "redis_wait_replicas": "many"}, "redis_wait_replicas", "This must be a whole number"),
        (
            {**CLUSTER, "redis_tls": "on", "redis_ca_file": "/no/such/file"},
            "redis_ca_file",
            "This file is not on this node, or may not be used here.",
        ),
        (
            {**CLUSTER, "redis_tls": "on", "redis_client_key": "/no/such/file"},
            "redis_client_key",
            "This file is not on this node, or may not be used here.",
        ),
    ],
)
def test_bad_input_is_refused_at_its_field(data: dict[str, Any], field: str, message: str) -> None:
    errors = filled(data).errors
    assert errors.keys() == {field}
    assert str(errors[field][0]).startswith(message)


@pytest.mark.parametrize(
    ("host", "port", "nodes"),
    [
        ("a.example.org", "27017", "b.example.org:27017\nA.example.org.:27017"),
        ("a.example.org.", "027017", "a.example.org:27017"),
        ("::1", "1", "[0:0:0:0:0:0:0:1]:1"),
        ("mongodb://a.example.org,b.example.org,a.example.org/sessions", "", ""),
    ],
)
def test_a_host_of_mongodb_that_is_among_the_further_ones_is_refused(
    host: str, port: str, nodes: str
) -> None:
    data = {"persistence_type": "MONGODB", "mongodb_host": host, "mongodb_database": "sessions"}
    form = filled({**data, "mongodb_port": port, "mongodb_nodes": nodes})
    assert form.errors == {"mongodb_nodes": ["Enter each server once."]}


@pytest.mark.parametrize("port", ["9" * 5000, "0" * 5000, "00655350", "1.5e3", "६५"])
def test_a_port_of_any_length_is_a_sentence_and_no_crash(port: str) -> None:
    assert filled({**SENTINEL, "redis_nodes": f"a:{port}"}).errors.keys() == {"redis_nodes"}
    data = {"persistence_type": "MONGODB", "mongodb_database": "sessions"}
    assert filled({**data, "mongodb_host": f"mongodb://a:{port}/"}).errors.keys() == {"mongodb_host"}
    for name in ("mongodb", "redis"):
        data = {"persistence_type": name.upper(), "mongodb_database": "sessions", f"{name}_host": "a"}
        found = filled({**data, f"{name}_port": port})
        assert found.errors.keys() <= {f"{name}_port"}
        assert found.errors or port == "६५"  # digits of any script, as Django reads a whole number


def test_only_the_fields_of_the_chosen_mode_count_and_the_others_are_unset() -> None:
    LoginConfiguration(**SENTINEL, redis_sentinel_password="hush").save()
    form = filled(
        {"redis_mode": "STANDALONE", "redis_host": "c.example.org", "redis_nodes": "no list at all"}
    )
    assert form.is_valid(), form.errors
    form.save()
    saved = LoginConfiguration.get_solo()
    assert saved.store_settings() == RedisSettings(host="c.example.org")
    assert saved.redis_sentinel_password == ""


@pytest.mark.parametrize("data", [SENTINEL, CLUSTER])
def test_several_servers_need_no_host(data: dict[str, Any]) -> None:
    form = filled({**data, "redis_host": "", "redis_port": "no port"})
    assert form.is_valid(), form.errors
    form.save()
    assert Revision.objects.latest("pk").store_settings().target[1] == data["redis_mode"]


def test_a_page_from_before_the_choice_of_servers_means_one_server() -> None:
    data = typed(persistence_type="REDIS", redis_host="a.example.org")
    for name in ("redis_mode", "redis_nodes", "redis_wait_replicas", "redis_ca_file"):
        data.pop(name, None)
    form = LoginConfigurationForm(data, probe=False)
    assert form.is_valid(), form.errors
    assert form.store_settings() == RedisSettings(host="a.example.org")


def test_each_secret_is_kept_and_removed_by_itself() -> None:
    LoginConfiguration(**SENTINEL, redis_password="one", redis_sentinel_password="two").save()
    assert filled({}).store_settings().secrets() == {"password": "one", "sentinel_password": "two"}
    form = filled({"redis_sentinel_password_clear": "on"})
    assert form.store_settings().secrets() == {"password": "one", "sentinel_password": ""}
    assert "redis_sentinel_password_clear" in shown(LoginConfigurationForm())


def test_no_saved_secret_goes_to_other_servers() -> None:
    LoginConfiguration(**SENTINEL, redis_password="one", redis_sentinel_password="two").save()
    errors = filled({"redis_nodes": "evil.example.org:26379"}).errors
    only = "again: the saved one is used only while these stay as they are"
    assert errors == {
        "redis_password": [f"Enter the password {only}: Servers, Nodes, Name of the primary."],
        "redis_sentinel_password": [f"Enter the password at the Sentinels {only}: Servers, Nodes."],
    }
    assert filled({"redis_sentinel_name": "other"}).errors.keys() == {"redis_password"}


def test_servers_that_the_settings_do_not_allow_are_refused(settings: Settings) -> None:
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": ["a.example.org"]}
    assert filled(SENTINEL).errors == {"redis_nodes": [NOT_ALLOWED]}
    assert filled(CLUSTER).is_valid()


def test_files_of_certificates_count_with_tls_only(tmp_path: Path) -> None:
    form = filled({**CLUSTER, "redis_ca_file": str(tmp_path / "missing")})
    assert form.is_valid(), form.errors
    assert form.store_settings() == RedisSettings(mode="CLUSTER", nodes="a.example.org:7000")


def test_the_page_says_while_what_choice_a_field_is_shown() -> None:
    client = Client()
    client.force_login(create_staff("eve", "change_loginconfiguration"))
    page = client.get(PAGE).content.decode()
    assert 'data-field="redis_nodes" data-when="redis_mode" data-values="SENTINEL CLUSTER"' in page
    assert 'data-field="redis_ca_file" data-when="redis_tls" data-values="True"' in page


def test_neither_secret_is_in_the_page_or_in_the_log() -> None:
    client = Client()
    client.force_login(create_staff("eve", "change_loginconfiguration"))
    response = save(client, **SENTINEL, redis_password="hush-1", redis_sentinel_password="hush-2")
    assert response.status_code == 200
    assert "hush" not in response.content.decode()


URI = "mongodb://app:hush%40@a.example.org:27018,b.example.org/sessions?replicaSet=rs0&tls=true&authSource=admin"


def test_a_connection_string_is_taken_apart_into_the_fields() -> None:
    form = filled({"persistence_type": "MONGODB", "mongodb_host": Secret(URI)})
    assert form.is_valid(), form.errors
    assert form.store_settings() == MongoSettings(
        database="sessions",
        host="a.example.org",
        port=27018,
        username="app",
        password="hush@",
        auth_source="admin",
        tls=True,
        nodes="b.example.org:27017",
        replica_set="rs0",
    )
    assert form.store is not None
    assert form.store["host"].value() == "a.example.org"
    assert "hush" not in repr([vars(form), vars(form.store)])


EVERYTHING = {
    "persistence_type": "MONGODB",
    "mongodb_host": "a.example.org",
    "mongodb_database": "sessions",
    "mongodb_username": "old",
    "mongodb_password": "hush",
    "mongodb_auth_source": "people",
    "mongodb_mechanism": "SCRAM-SHA-1",
    "mongodb_replica_set": "rs0",
    "mongodb_nodes": "b.example.org:1",
    "mongodb_tls": True,
    **dict.fromkeys(("mongodb_ca_file", "mongodb_client_certificate", "mongodb_client_key"), "/gone.pem"),
}


@pytest.mark.parametrize("host", ["a.example.org", "c.example.org"])
def test_a_connection_string_leaves_nothing_of_what_was_saved_before(host: str) -> None:
    """Not the password either, though it is that of the same host: the string logs nobody in."""
    LoginConfiguration(**EVERYTHING).save()
    form = filled({"mongodb_host": f"mongodb://{host}/"})
    assert form.is_valid(), form.errors
    assert form.store_settings() == MongoSettings(database="sessions", host=host)


def test_a_login_that_is_typed_beside_a_connection_string_counts() -> None:
    LoginConfiguration(**EVERYTHING).save()
    login = {"mongodb_username": "app", "mongodb_password": "new", "mongodb_auth_source": "admin"}
    form = filled(
        {"mongodb_host": "mongodb://c.example.org/?replicaSet=rs1", **login, "mongodb_mechanism": ""}
    )
    assert form.is_valid(), form.errors
    assert form.store_settings() == MongoSettings(
        host="c.example.org",
        database="sessions",
        replica_set="rs1",
        username="app",
        password="new",
        auth_source="admin",
    )


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (URI + "&maxPoolSize=1000", "The option maxPoolSize has no field here: leave it out."),
        ("mongodb+srv://app:hush@a.example.org:27018/sessions", "A connection string with mongodb+srv://"),
    ],
)
def test_a_connection_string_that_has_no_fields_is_refused_and_does_not_come_back(
    uri: str, message: str
) -> None:
    client = Client()
    client.force_login(create_staff("eve", "change_loginconfiguration"))
    response: Any = save(client, persistence_type="MONGODB", mongodb_host=uri)
    form = response.context_data["form"]
    assert str(form.errors["mongodb_host"][0]).startswith(message)
    assert "hush" not in response.content.decode()


def test_the_field_that_takes_a_connection_string_is_hidden_in_reports() -> None:
    assert "mongodb_host" in secret_fields()


def test_the_hosts_of_dns_need_no_port() -> None:
    data = {"persistence_type": "MONGODB", "mongodb_host": "a.example.org", "mongodb_database": "sessions"}
    form = filled({**data, "mongodb_srv": "on", "mongodb_port": "", "mongodb_nodes": "no list"})
    assert form.is_valid(), form.errors
    assert form.store_settings() == MongoSettings(database="sessions", host="a.example.org", srv=True)


def test_who_logs_in_by_certificate_needs_no_password() -> None:
    data = {"persistence_type": "MONGODB", "mongodb_host": "a.example.org", "mongodb_database": "sessions"}
    form = filled({**data, "mongodb_mechanism": "MONGODB-X509", "mongodb_username": "CN=site"})
    assert form.is_valid(), form.errors


def test_a_mongodb_database_of_the_project_needs_no_address(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    data = {"persistence_type": "MONGODB", "mongodb_alias": "documents"}
    assert filled(data).errors.keys() == {"mongodb_alias"}
    assert filled({**data, "mongodb_alias": "default"}).errors.keys() == {"mongodb_alias"}
    monkeypatch.setitem(settings.DATABASES, "documents", {"ENGINE": "django_mongodb_backend"})
    form = filled(data)
    assert form.is_valid(), form.errors
    assert form.store_settings() == MongoSettings(alias="documents")
    assert 'value="documents"' in str(shown(form)["mongodb_alias"])


def test_without_a_mongodb_database_in_the_project_none_is_offered() -> None:
    assert shown(LoginConfigurationForm())["mongodb_alias"].is_hidden


def test_what_most_sites_leave_alone_is_shown_once_it_is_set() -> None:
    def opened(**data: str) -> bool:
        form = filled({**CLUSTER, **data})
        assert form.store is not None
        return form.store.uses_further_fields()

    assert not opened()
    assert opened(redis_wait_replicas="1")
    assert opened(redis_wait_replicas="many")
    form = filled({"persistence_type": "MONGODB", "mongodb_host": URI})
    assert form.store is not None
    assert form.store.uses_further_fields()
