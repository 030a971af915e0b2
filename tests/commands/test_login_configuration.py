"""``manage.py login_configuration``."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from pytest_django import Settings

from sessionpersist.configuration import probing
from sessionpersist.handover import snapshot
from sessionpersist.models import LoginConfiguration, Revision, RevisionQuerySet
from sessionpersist.stores.probe import Step
from sessionpersist.stores.settings import MongoSettings
from tests.commands.running import Result, run
from tests.engine.support import server_fields
from tests.servers import MongoDB, Valkey, shared
from tests.servers.places import free_port

PASSWORD = "s3cret"
REDIS = ["--type", "REDIS", "--host", "redis.example.org", "--no-probe"]

pytestmark = pytest.mark.django_db


def show(*arguments: str) -> Result:
    return run("login_configuration", "show", *arguments)


def change(*arguments: str) -> Result:
    return run("login_configuration", "set", *arguments)


def saved() -> LoginConfiguration:
    return LoginConfiguration.get_solo()


def configure(**fields: Any) -> None:
    LoginConfiguration(**fields).save()


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


class TestShow:
    def test_what_is_configured_and_in_force(self) -> None:
        result = show()
        assert result.error is None
        assert result.output.splitlines() == ["Configured:  In-Memory", "In force:    In-Memory"]

    def test_settings_without_the_password(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"ACTIVATION_SECONDS": 100}
        configure(persistence_type="REDIS", redis_host="redis.example.org", redis_password=PASSWORD)
        output = show().output
        assert "redis.example.org" in output
        assert "password:     saved" in output
        assert PASSWORD not in output

    def test_switch_that_waits(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"ACTIVATION_SECONDS": 100}
        configure(persistence_type="REDIS", redis_host="redis.example.org")
        lines = show().output.splitlines()
        assert lines[-2] == "In force:    In-Memory"
        assert lines[-1].startswith("Pending:     REDIS at redis.example.org:6379, database 0, in ")

    def test_row_that_was_loaded_without_its_revision(self) -> None:
        configure(persistence_type="REDIS", redis_host="redis.example.org")
        LoginConfiguration.objects.update(redis_host="elsewhere.example.org")
        recorded = "REDIS at redis.example.org:6379, database 0"
        assert f"the site uses what was last saved, {recorded}." in show().output
        assert json.loads(show("--json").output)["overruled_by"] == recorded

    @pytest.mark.parametrize(
        ("password", "said"),
        [
            ("", "none"),
            (PASSWORD, "saved"),
            ("env:SET_HERE", "env:SET_HERE (set on this node)"),
            ("env:NOT_SET", "env:NOT_SET (not set on this node)"),
        ],
    )
    def test_password_is_told_by_its_kind(
        self, password: str, said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SET_HERE", PASSWORD)
        configure(persistence_type="REDIS", redis_host="r", redis_password=password)
        result = show("--json")
        assert json.loads(result.output)["settings"]["password"] == said
        assert PASSWORD not in result.output

    def test_password_that_can_not_be_decrypted(self, settings: Settings) -> None:
        configure(persistence_type="REDIS", redis_host="r", redis_password=PASSWORD)
        settings.SECRET_KEY = "another"
        assert "SECRET_KEY has changed" in show().output

    def test_json_has_everything(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"ACTIVATION_SECONDS": 100}
        configure(persistence_type="JDBC", jdbc_database="default")
        found = json.loads(show("--json").output)
        assert found["type"] == "JDBC"
        assert found["settings"] == {"database": "default"}
        assert found["in_force"] == "In-Memory"
        (pending,) = found["pending"]
        assert pending["store"] == "JDBC, database “default”"
        assert 90 < pending["seconds"] <= 100

    def test_a_setting_that_is_wrong_is_an_error_in_words(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"REFRESH_SECONDS": "often"}
        error = "SESSIONPERSIST['REFRESH_SECONDS'] must be a number of seconds, zero or more."
        assert show().error == error

    def test_configuration_that_can_not_be_read_is_an_error_in_words(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unreachable(queryset: RevisionQuerySet) -> None:
            raise OperationalError("host=db password=hunter2")

        monkeypatch.setattr(RevisionQuerySet, "in_force", unreachable)
        snapshot.reset()
        error = show().error
        assert error is not None
        assert "hunter2" not in error


class TestSet:
    def test_store_is_tried_and_saved_and_what_is_next_is_said(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"ACTIVATION_SECONDS": 60}
        result = change("--type", "JDBC", "--database", "default")
        assert result.error is None
        assert "Compare and set" in result.output
        assert "Saved: JDBC, database “default”." in result.output
        assert "Every process of the site switches to it in 60 s, all at the same moment." in result.output
        assert (saved().persistence_type, saved().jdbc_database) == ("JDBC", "default")

    def test_store_that_activates_at_once_says_so(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"ACTIVATION_SECONDS": 0, "REFRESH_SECONDS": 7}
        result = change("--type", "JDBC", "--database", "default")
        assert "Every process of the site uses it within 7 s." in result.output

    def test_history_says_that_it_was_the_command_line(self) -> None:
        change(*REDIS)
        assert Revision.objects.latest("pk").saved_by.endswith(" (command line)")

    @pytest.mark.parametrize("server", [Valkey, MongoDB])
    def test_real_server_with_its_password_from_the_standard_input(
        self, server: type[Valkey] | type[MongoDB], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fields = server_fields(server)
        store_type = fields.pop("persistence_type")
        prefix = f"{store_type.lower()}_"
        password = fields.pop(f"{prefix}password")
        options = [
            f"--{name.removeprefix(prefix).replace('_', '-')}={value}" for name, value in fields.items()
        ]
        type_in(monkeypatch, f"{password}\n")
        result = change("--type", store_type, *options, "--password-stdin")
        assert result.error is None
        assert getattr(saved(), f"{prefix}password") == password
        assert password not in result.everything

    def test_wrong_password_saves_nothing_and_blames_the_password(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server_fields(Valkey)
        port = str(shared(Valkey).port)
        type_in(monkeypatch, "a-wrong-password")
        result = change("--type", "REDIS", "--host", "127.0.0.1", "--port", port, "--password-stdin")
        assert result.error is not None
        assert result.error.startswith("Nothing was saved.\n--password-…: ")
        assert "FAILED" in result.output
        assert "a-wrong-password" not in result.everything
        assert saved().persistence_type == "IN_MEMORY"
        assert not Revision.objects.exists()

    def test_without_a_probe_a_store_that_is_down_is_saved(self) -> None:
        port = str(free_port())
        refused = change("--type", "REDIS", "--host", "127.0.0.1", "--port", port)
        assert refused.error is not None
        assert "--port: " in refused.error
        assert saved().persistence_type == "IN_MEMORY"
        assert change("--type", "REDIS", "--host", "127.0.0.1", "--port", port, "--no-probe").error is None
        assert saved().redis_port == int(port)

    def test_way_out_of_a_store_that_is_down(self, settings: Settings) -> None:
        """Nobody can log in, because the current store is what is down."""
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 0}
        configure(persistence_type="REDIS", redis_host="127.0.0.1", redis_port=free_port())
        result = change("--type", "IN_MEMORY")
        assert result.error is None
        assert snapshot.current().current.settings.type == "IN_MEMORY"

    def test_what_is_not_given_stays(self) -> None:
        configure(
            persistence_type="REDIS",
            redis_host="r",
            redis_port=1,
            redis_username="app",
            redis_password=PASSWORD,
            redis_tls=True,
            mongodb_host="m",
        )
        assert change("--database", "3", "--no-probe").error is None
        now = saved()
        assert (now.redis_host, now.redis_port, now.redis_username, now.redis_tls) == ("r", 1, "app", True)
        assert (now.redis_database, now.redis_password, now.mongodb_host) == (3, PASSWORD, "m")

    def test_what_is_given_beside_a_connection_string_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        configure(
            persistence_type="MONGODB",
            mongodb_host="m",
            mongodb_database="d",
            mongodb_username="app",
            mongodb_password=PASSWORD,
            mongodb_mechanism="SCRAM-SHA-1",
            mongodb_auth_source="people",
        )
        type_in(monkeypatch, "new")
        string = ["--host", "mongodb://m,n/?replicaSet=rs1", "--no-probe"]
        login = ["--username", "app", "--password-stdin", "--mechanism", "", "--auth-source", ""]
        assert change("--replica-set", "rs2", *login, *string).error is None
        assert saved().store_settings() == MongoSettings(
            host="m", nodes="n:27017", database="d", replica_set="rs2", username="app", password="new"
        )
        assert change(*string).error is None
        assert (saved().mongodb_username, saved().mongodb_password, saved().mongodb_replica_set) == (
            "",
            "",
            "rs1",
        )

    def test_connection_string_that_cannot_be_read_is_an_error_of_the_host(self) -> None:
        string = f"mongodb://m:{'9' * 5000}/d"
        error = change("--type", "MONGODB", "--host", string, "--database", "d", "--no-probe").error
        assert error is not None
        assert "--host: A host of this connection string is not a name, or its port" in error

    def test_password_of_the_environment_is_saved_by_its_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SESSIONPERSIST_REDIS_SECRET", PASSWORD)
        assert change(*REDIS, "--password-env", "SESSIONPERSIST_REDIS_SECRET").error is None
        assert saved().redis_password == "env:SESSIONPERSIST_REDIS_SECRET"

    def test_password_of_a_variable_that_is_not_set_is_refused(self) -> None:
        result = change(*REDIS, "--password-env", "NOT_SET")
        assert result.error is not None
        assert "not set on this node" in result.error
        assert saved().persistence_type == "IN_MEMORY"

    def test_who_is_overtaken_while_the_store_is_tried_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def overtaken(*args: Any, **kwargs: Any) -> list[Step]:
            saved().save(saved_by="grace")
            return []

        monkeypatch.setattr(probing, "probe", overtaken)
        assert "grace saved this configuration" in str(
            change("--type", "JDBC", "--database", "default").error
        )
        assert saved().persistence_type == "IN_MEMORY"

    def test_password_can_be_removed(self) -> None:
        configure(persistence_type="REDIS", redis_host="r", redis_password=PASSWORD)
        assert change("--no-password", "--no-probe").error is None
        assert saved().redis_password == ""

    def test_empty_standard_input_is_no_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        type_in(monkeypatch, "\n")
        assert change(*REDIS, "--password-stdin").error == "The standard input holds no password."
        by_sentinel = change(*REDIS, "--sentinel-password-stdin")
        assert by_sentinel.error == "The standard input holds no sentinel password."

    @pytest.mark.parametrize(
        "arguments", [["--password", PASSWORD], [f"--password={PASSWORD}"], ["--password"]]
    )
    def test_password_on_the_command_line_is_refused_with_the_reason(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(CommandError) as caught:
            call_command("login_configuration", "set", *REDIS, *arguments)
        assert "--password-stdin" in str(caught.value)
        assert PASSWORD not in str(caught.value) + capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "blamed"),
        [
            (["--type", "REDIS", "--host", "redis://r"], "--host: "),
            (["--type", "REDIS", "--host", ""], "--host: "),
            (["--type", "REDIS", "--host", "r", "--port", "70000"], "--port: "),
            (["--type", "REDIS", "--host", "r", "--port", "text"], "--port: "),
            (["--type", "REDIS", "--host", "r", "--database", "-1"], "--database: "),
            (["--type", "MONGODB", "--host", "m", "--database", "a.b"], "--database: "),
            (
                ["--type", "MONGODB", "--host", "m", "--database", "d", "--auth-source", "a b"],
                "--auth-source: ",
            ),
            (["--type", "JDBC", "--database", "gone"], "--database: "),
        ],
    )
    def test_bad_value_is_refused_and_its_option_blamed(self, arguments: list[str], blamed: str) -> None:
        result = change(*arguments)
        assert result.error is not None
        assert result.error.startswith(f"Nothing was saved.\n{blamed}")
        assert saved().persistence_type == "IN_MEMORY"

    @pytest.mark.parametrize(
        ("arguments", "option"),
        [
            (["--type", "IN_MEMORY", "--host", "r"], "--host"),
            (["--type", "JDBC", "--port", "1"], "--port"),
            (["--type", "REDIS", "--auth-source", "admin"], "--auth-source"),
            (["--type", "JDBC", "--tls"], "--tls"),
            (["--type", "IN_MEMORY", "--no-password"], "--no-password"),
        ],
    )
    def test_option_of_another_type_is_refused(self, arguments: list[str], option: str) -> None:
        assert change(*arguments).error == f"{option} does not apply to {arguments[1]}."

    def test_tls_can_be_turned_on_and_off(self) -> None:
        change(*REDIS, "--tls")
        assert saved().redis_tls is True
        change("--no-tls", "--no-probe")
        assert saved().redis_tls is False

    def test_another_target_says_what_becomes_of_the_sessions_and_another_password_does_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "Nobody is logged out" in change(*REDIS).output
        type_in(monkeypatch, PASSWORD)
        assert "Nobody is logged out" not in change("--password-stdin", "--no-probe").output


def test_to_set_nothing_is_an_error() -> None:
    assert "nothing to set" in str(change().error)
    assert "nothing to set" in str(change("--no-probe").error)


@pytest.mark.parametrize("arguments", [[], ["show"], ["set"]])
def test_help_says_how_passwords_are_given(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        call_command("login_configuration", *arguments, "--help")
    assert caught.value.code == 0
    if arguments == ["set"]:
        out = capsys.readouterr().out
        assert "--password-stdin < password.txt" in out
        assert "--password " not in out
