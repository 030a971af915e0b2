"""What the settings allow to whoever changes the configuration: which variables a password is read from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import django
import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from sessionpersist.configuration import allowed
from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.stores.certificates import FILES
from sessionpersist.stores.settings import reveal
from tests.admin.support import TEST, create_staff, shown, typed
from tests.commands.running import run
from tests.servers import Valkey, require, shared
from tests.servers.certificates import Certificates as MadeCertificates
from tests.servers.certificates import make_certificates

SENTENCE = "This variable is not set on this node, or may not be used here. Allowed: SESSIONPERSIST_*."

MAILERS = {"default": {"OPTIONS": {"password": "secret-of-the-mail-server"}}, "local": {}}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Some that are set, of which one may be named."""
    if django.VERSION < (6, 1):
        settings.EMAIL_HOST_PASSWORD = "secret-of-the-mail-server"
    else:
        settings.MAILERS = MAILERS
    settings.SECRET_KEY_FALLBACKS = ["an-earlier-secret-key/of-this-site"]
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "secret-of-the-database")
    for name, value in {
        "SESSIONPERSIST_REDIS": "s3cret",
        "OTHER": "s3cret",
        "SECRET_KEY": "s3cret",
        "SESSIONPERSIST_KEY": settings.SECRET_KEY,
        "SESSIONPERSIST_KEYS": f"another,{settings.SECRET_KEY_FALLBACKS[0]}",
        "SESSIONPERSIST_QUOTED": "x://u:an-earlier-secret-key%2Fof-this-site@h",
        "SESSIONPERSIST_MAIL": "secret-of-the-mail-server",
        "SESSIONPERSIST_URL": "postgres://u:secret-of-the-database@db/site",
    }.items():
        monkeypatch.setenv(name, value)


REFUSED = [
    *("OTHER", "SECRET_KEY", "SESSIONPERSIST_NOT_SET", "NOT_SET", "", "PATH"),
    *(f"SESSIONPERSIST_{name}" for name in ("KEY", "KEYS", "QUOTED", "MAIL", "URL")),
]


def test_password_of_a_mailer_of_django_6_1_is_refused_as_well(settings: Settings) -> None:
    if django.VERSION < (6, 1):
        settings.EMAIL_HOST_PASSWORD = ""
    settings.MAILERS = MAILERS
    assert not allowed.may_name("SESSIONPERSIST_MAIL")
    assert allowed.may_name("SESSIONPERSIST_REDIS")


def form_for(name: str, **fields: Any) -> LoginConfigurationForm:
    fields = {"persistence_type": "REDIS", "redis_host": "r", "redis_password": f"env:{name}", **fields}
    data = LoginConfigurationForm.data_of(LoginConfiguration.get_solo()) | fields
    return LoginConfigurationForm(data, probe=False)


def test_variable_that_is_allowed_is_taken() -> None:
    form = form_for("SESSIONPERSIST_REDIS")
    assert form.is_valid(), form.errors


@pytest.mark.parametrize("name", REFUSED)
def test_every_other_variable_gets_one_sentence_set_or_not(name: str) -> None:
    assert form_for(name).errors == {"redis_password": [SENTENCE]}


@pytest.mark.parametrize(
    "name",
    ["SECRET_KEY", "SECRET_KEY_FALLBACKS", "DATABASE_URL", "DATABASE_URL_REPORTS", "SESSIONPERSIST_KEY"],
)
def test_variable_of_the_project_s_own_is_refused_though_all_are_allowed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    settings.SESSIONPERSIST = {"SECRETS_ALLOWED": ["*", name]}
    monkeypatch.setenv(name, os.environ.get(name, "a value of its own"))
    assert "redis_password" in form_for(name).errors
    assert form_for("OTHER").is_valid()


def test_bytes_as_secret_key_and_no_password_at_all_are_no_trouble(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SECRET_KEY = b"a secret key \xff of bytes, long enough for tests"
    monkeypatch.delitem(settings.DATABASES["default"], "PASSWORD")
    monkeypatch.setenv("SESSIONPERSIST_EMPTY", "")
    assert form_for("SESSIONPERSIST_REDIS").is_valid()
    assert allowed.may_name("SESSIONPERSIST_EMPTY")


@pytest.mark.parametrize(
    ("entries", "may", "may_not"),
    [
        (["EXACT"], ["EXACT"], ["EXACT_", "EXACTLY", "exact", "SESSIONPERSIST_REDIS"]),
        (["SITE_"], ["SITE_", "SITE_A"], ["SITE", "SITEA", "A_SITE_"]),
        (["SITE*"], ["SITE", "SITEA", "SITE_A"], ["SIT", "A_SITE"]),
        (["A", "B_"], ["A", "B_C"], ["B", "AB_"]),
        ([], [], ["SESSIONPERSIST_REDIS", ""]),
    ],
)
def test_entry_with_an_underscore_or_a_star_at_its_end_is_a_prefix(
    settings: Settings, entries: list[str], may: list[str], may_not: list[str]
) -> None:
    settings.SESSIONPERSIST = {"SECRETS_ALLOWED": entries}
    assert [name for name in may + may_not if allowed.may_name(name)] == may


def test_help_names_what_is_allowed(settings: Settings) -> None:
    settings.SESSIONPERSIST = {"SECRETS_ALLOWED": ["REDIS_PASSWORD", "SITE_", "SHOP*"]}
    assert (
        "Allowed: REDIS_PASSWORD, SITE_*, SHOP*."
        in shown(LoginConfigurationForm())["redis_password"].help_text
    )
    settings.SESSIONPERSIST = {"SECRETS_ALLOWED": []}
    assert "Allowed: none." in shown(LoginConfigurationForm())["redis_password"].help_text


def test_setting_that_is_no_list_is_told() -> None:
    with pytest.raises(ImproperlyConfigured, match="SECRETS_ALLOWED"):
        with_setting("SESSIONPERSIST_")


def with_setting(value: Any) -> None:
    from django.test import override_settings

    with override_settings(SESSIONPERSIST={"SECRETS_ALLOWED": value}):
        allowed.check_variable("env:OTHER")


def test_password_that_is_no_variable_is_left_alone() -> None:
    allowed.check_variable("environment:OTHER")
    with pytest.raises(StoreMisconfigured, match="may not be used"):
        allowed.check_variable("env:OTHER")


class TestFiles:
    """A ``file:/path`` is allowed by the folder that it is in."""

    @pytest.fixture
    def folder(self, settings: Settings, tmp_path: Path) -> Path:
        folder = tmp_path / "secrets"
        folder.mkdir()
        settings.SESSIONPERSIST = {"SECRETS_ALLOWED": [str(folder)]}
        return folder

    def test_a_file_in_an_allowed_folder_may_be_used(self, folder: Path) -> None:
        (folder / "redis").write_text("hush\n")
        allowed.check_variable(f"file:{folder}/redis")
        assert reveal(f"file:{folder}/redis") == "hush"

    def test_a_link_within_the_folder_may_be_used_as_kubernetes_makes_one(self, folder: Path) -> None:
        (folder / "..2026").mkdir()
        (folder / "..2026" / "redis").write_text("hush")
        (folder / "redis").symlink_to("..2026/redis")
        allowed.check_variable(f"file:{folder}/redis")

    def test_every_other_file_gets_one_sentence_there_or_not(
        self, folder: Path, settings: Settings, tmp_path: Path
    ) -> None:
        for name in ("outside", "secrets-of-others"):
            (tmp_path / name).write_text("hush")
        (folder / "out").symlink_to(tmp_path / "outside")
        (folder / "own").write_text(f"key={settings.SECRET_KEY}")
        (folder / "binary").write_bytes(b"\xff\xfe")
        (folder / "long").write_bytes(b"x" * 100_000)
        os.mkfifo(folder / "pipe")
        others = ["outside", "secrets-of-others", "secrets/../outside", "nowhere"]
        inside = ["out", "own", "binary", "long", "pipe", "nowhere", "", "\0"]
        paths = (
            [f"{tmp_path}/{each}" for each in others]
            + [f"{folder}/{each}" for each in inside]
            + ["redis", ""]
        )
        for path in paths:
            with pytest.raises(StoreMisconfigured, match="may not be used here"):
                allowed.check_variable(f"file:{path}")

    @pytest.mark.django_db
    def test_check_warns_of_one_that_may_no_longer_be_used_or_is_not_there(
        self, folder: Path, tmp_path: Path
    ) -> None:
        (folder / "redis").write_text("hush")
        (tmp_path / "elsewhere").write_text("hush")
        said = {f"{tmp_path}/elsewhere": ["W007"], f"{folder}/gone": ["E006"], f"{folder}/redis": []}
        for path, ids in said.items():
            fields = {"redis_host": "redis.example.org", "redis_password": f"file:{path}"}
            LoginConfiguration(persistence_type="REDIS", **fields).save()
            found = [each for each in run_checks(databases=["default"]) if path in each.msg]
            assert [each.id for each in found] == [f"sessionpersist.{each}" for each in ids], path

    def test_a_folder_allows_no_variable(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(str(folder), "hush")
        with pytest.raises(StoreMisconfigured, match="may not be used here"):
            allowed.check_variable(f"env:{folder}")


class TestCertificates:
    """A certificate or a key is allowed by the folder that it is in, too."""

    REFUSED = "This file is not on this node, or may not be used here. Folders in SECRETS_ALLOWED: {}."

    @pytest.fixture
    def made(self, settings: Settings, tmp_path: Path) -> MadeCertificates:
        folder = tmp_path / "certificates"
        folder.mkdir()
        settings.SESSIONPERSIST = {"SECRETS_ALLOWED": ["SESSIONPERSIST_", str(folder)]}
        return make_certificates(folder)

    @staticmethod
    def errors(**files: str) -> dict[str, list[str]]:
        fields = {f"redis_{name}": path for name, path in files.items()}
        form = form_for("SESSIONPERSIST_REDIS", redis_tls="on", **fields)
        return {
            name.removeprefix("redis_"): [str(each) for each in found] for name, found in form.errors.items()
        }

    def test_those_in_an_allowed_folder_may_be_used(self, made: MadeCertificates) -> None:
        own = {"client_certificate": str(made.client_certificate), "client_key": str(made.client_key)}
        assert self.errors(ca_file=str(made.ca_file), **own) == {}
        alone = self.errors(client_key=str(made.client_key))
        assert alone == {"client_certificate": ["This key needs a client certificate beside it."]}

    @pytest.mark.parametrize("field", FILES)
    def test_every_other_gets_one_sentence_there_or_not(
        self, made: MadeCertificates, settings: Settings, tmp_path: Path, field: str
    ) -> None:
        folder = made.ca_file.parent
        (elsewhere := tmp_path / "certificates-of-others").mkdir()
        other = make_certificates(elsewhere)
        (folder / "out").symlink_to(other.client_key)
        elsewhere_too = [str(other.client_key), str(other.ca_file), "/etc/hostname", "/root", "/no/such/file"]
        inside = [
            f"{folder}/out",
            f"{folder}/gone",
            f"{folder}/../certificates-of-others/{other.ca_file.name}",
        ]
        rest = {name: str(getattr(made, name)) for name in FILES}
        for path in (*elsewhere_too, *inside, "ca.pem"):
            assert self.errors(**rest | {field: path}) == {field: [self.REFUSED.format(folder)]}
        settings.SESSIONPERSIST = {}
        assert self.errors(ca_file=str(made.ca_file)) == {"ca_file": [self.REFUSED.format("none")]}

    def test_the_authorities_of_the_project_may_be_named_as_such(
        self, made: MadeCertificates, settings: Settings
    ) -> None:
        settings.SESSIONPERSIST = {"TLS_CA_FILE": made.ca_file}
        path = str(made.ca_file)
        assert self.errors(ca_file=path) == {}
        assert self.errors(client_certificate=path).keys() == {"client_certificate"}

    def test_initial_may_name_any(self, made: MadeCertificates, settings: Settings) -> None:
        initial = {"persistence_type": "REDIS", "redis_host": "r", "redis_tls": True}
        settings.SESSIONPERSIST = {"INITIAL": {**initial, "redis_ca_file": str(made.ca_file)}}
        assert [each for each in run_checks() if each.id == "sessionpersist.E007"] == []

    def test_check_warns_of_one_that_may_no_longer_be_used(
        self, made: MadeCertificates, settings: Settings
    ) -> None:
        files = {"redis_ca_file": str(made.ca_file), "mongodb_client_key": "/elsewhere/key.pem"}
        LoginConfiguration(persistence_type="REDIS", redis_host="r", redis_tls=True, **files).save()

        def warnings() -> list[str]:
            found = [each for each in run_checks(databases=["default"]) if each.id == "sessionpersist.W007"]
            return [each.msg.split("the file ")[1].split(",")[0] for each in found]

        assert warnings() == ["/elsewhere/key.pem"]
        settings.SESSIONPERSIST = {}
        assert warnings() == sorted(["/elsewhere/key.pem", str(made.ca_file)])


def test_secret_key_is_not_sent_to_a_host_of_one_s_own_by_test_connection() -> None:
    """A real server stands for that host: it would say that the password is wrong."""
    require(Valkey)
    staff = create_staff("grace", "view_loginconfiguration", "change_loginconfiguration")
    client = Client()
    client.force_login(staff)
    server = shared(Valkey)
    place = {
        "redis_host": server.host,
        "redis_port": server.port,
        "redis_username": "",
        "redis_database": "0",
    }
    data = typed(persistence_type="REDIS", redis_password="env:SESSIONPERSIST_KEY", **place)
    answer = client.post(TEST, data, headers={"accept": "application/json"}).json()
    assert answer["steps"] == []
    assert answer["errors"]["redis_password"][0]["message"] == SENTENCE


def test_command_refuses_it_and_says_what_is_allowed() -> None:
    set_ = ("login_configuration", "set", "--type", "REDIS", "--host", "r", "--no-probe")
    error = run(*set_, "--password-env", "OTHER").error
    assert error is not None
    assert f"--password-…: {SENTENCE}" in error
    assert run(*set_, "--password-env", "SESSIONPERSIST_REDIS").error is None


class TestSavedBefore:
    """A configuration that was saved when any name was allowed."""

    @pytest.fixture(autouse=True)
    def saved(self) -> None:
        LoginConfiguration(persistence_type="REDIS", redis_host="r", redis_password="env:OTHER").save()

    def test_it_is_opened_as_before(self) -> None:
        from sessionpersist.stores import build_store

        build_store(LoginConfiguration.get_solo().store_settings()).close()
        shown = run("login_configuration", "show").output
        assert "env:OTHER (set on this node)" in shown

    def test_check_warns_of_it_and_of_no_other(self, settings: Settings) -> None:
        assert self.warnings() == ["OTHER"]
        settings.SESSIONPERSIST = {"SECRETS_ALLOWED": ["OTHER"]}
        assert self.warnings() == []

    def test_check_warns_of_a_file_as_well(self, settings: Settings, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("pw")
        LoginConfiguration.objects.update(redis_password=f"file:{tmp_path}/password")
        settings.SESSIONPERSIST = {"SECRETS_ALLOWED": ["/run/secrets"]}
        [warning] = [each for each in run_checks(databases=["default"]) if each.id == "sessionpersist.W007"]
        assert f"from the file {tmp_path}/password, which is not allowed" in warning.msg
        settings.SESSIONPERSIST = {"SECRETS_ALLOWED": [str(tmp_path)]}
        assert self.warnings() == []

    def test_saving_it_once_more_is_refused(self) -> None:
        form = LoginConfigurationForm(
            LoginConfigurationForm.data_of(LoginConfiguration.get_solo()) | {"redis_tls": True}, probe=False
        )
        assert form.errors == {"redis_password": [SENTENCE]}

    def test_switching_back_to_it_is_refused(self) -> None:
        number = Revision.objects.latest("pk").pk
        LoginConfiguration.objects.update(redis_password="")
        configuration = LoginConfiguration.get_solo()
        configuration.persistence_type = "IN_MEMORY"
        configuration.save()
        client = Client()
        client.force_login(create_staff("grace", "view_loginconfiguration", "change_loginconfiguration"))
        url = reverse("admin:sessionpersist_loginconfiguration_switch_back", args=[number])
        answer = client.post(url, {"edition": LoginConfiguration.get_solo().edition})
        assert SENTENCE in answer.content.decode()
        assert LoginConfiguration.get_solo().persistence_type == "IN_MEMORY"

    def test_saving_another_type_leaves_it_as_it_is(self) -> None:
        form = form_for("SESSIONPERSIST_REDIS", persistence_type="IN_MEMORY")
        assert form.is_valid(), form.errors
        form.save()
        assert LoginConfiguration.get_solo().redis_password == "env:OTHER"

    def warnings(self) -> list[str]:
        found = [each for each in run_checks(databases=["default"]) if each.id == "sessionpersist.W007"]
        return [each.msg.split("variable ")[1].split(",")[0] for each in found]
