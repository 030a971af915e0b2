"""``manage.py validate_connections``."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from sessionpersist.management.commands.validate_connections import every_store
from sessionpersist.models import LoginConfiguration
from sessionpersist.stores.settings import TYPES
from tests.commands.running import Result, run
from tests.engine.support import server_fields
from tests.load.warm import warm
from tests.probing.answering import Answering
from tests.servers import MongoDB, Postgres, Valkey, require, shared
from tests.servers.places import free_port
from tests.stores.databases import added_database

WRONG = "a-wrong-password"
pytestmark = pytest.mark.django_db


def configure(**fields: Any) -> None:
    LoginConfiguration(**fields).save()


def validate(*arguments: str) -> Result:
    return run("validate_connections", *arguments)


def closed_port() -> dict[str, Any]:
    return {"persistence_type": "REDIS", "redis_host": "127.0.0.1", "redis_port": free_port()}


def test_configured_store_that_works() -> None:
    result = validate()
    lines = result.output.splitlines()
    assert result.error is None
    assert lines[0] == "In-Memory"
    assert all(line.startswith("  ok ") and " ms" in line for line in lines[1:])
    assert [line.split(maxsplit=1)[1].split("  ")[0] for line in lines[-9:]] == [
        *("Write", "Read", "Compare and set", "Delete", "Expiry", "Log out"),
        *("Many at once", "List", "Delete many"),
    ]


@pytest.mark.parametrize("store_type", ["REDIS", "MONGODB"])
def test_a_store_that_nobody_has_filled_in_is_said_to_have_no_host(store_type: str) -> None:
    result = validate("--type", store_type)
    assert result.output.splitlines()[-1].endswith("No host is entered.")
    assert result.error is not None


@pytest.mark.parametrize("server", [Valkey, MongoDB])
def test_real_server_that_works(server: type[Valkey] | type[MongoDB]) -> None:
    configure(**server_fields(server))
    result = validate()
    assert result.error is None
    assert "FAILED" not in result.output
    assert shared(server).password not in result.everything


@pytest.mark.parametrize("server", [Valkey, MongoDB])
def test_wrong_password_fails_and_is_not_shown(server: type[Valkey] | type[MongoDB]) -> None:
    fields = server_fields(server)
    prefix = fields["persistence_type"].lower()
    configure(**{**fields, f"{prefix}_password": WRONG})
    result = validate()
    last = result.output.splitlines()[-1]
    assert last.startswith("  FAILED ")
    assert "password" in last
    assert result.error is not None
    assert WRONG not in result.everything


def test_port_of_another_service_fails() -> None:
    require(Postgres)
    configure(persistence_type="REDIS", redis_host="127.0.0.1", redis_port=shared(Postgres).port)
    result = validate()
    assert "FAILED" in result.output
    assert result.error is not None


def test_store_that_fails_is_named_in_the_error_and_stops_at_that_step() -> None:
    configure(**closed_port())
    result = validate()
    assert result.error is not None
    assert result.error.startswith("1 of 1 failed: REDIS at 127.0.0.1:")
    assert [line.split()[0] for line in result.output.splitlines()[1:]] == ["ok", "FAILED"]


def test_warning_is_no_failure() -> None:
    configure(**server_fields(MongoDB))  # a server without a replica set
    result = validate()
    assert result.error is None
    assert "  warning  " in result.output


def test_type_is_tried_with_its_saved_fields_though_another_is_configured() -> None:
    configure(**{**closed_port(), "persistence_type": "IN_MEMORY"})
    assert validate().error is None
    result = validate("--type", "redis")
    assert result.output.startswith("REDIS at 127.0.0.1:")
    assert result.error is not None


def test_type_jdbc_without_a_saved_database_is_the_default_one() -> None:
    result = validate("--type", "JDBC")
    assert result.output.startswith("JDBC, database “default”")
    assert result.error is None


def test_all_is_every_store_that_is_filled_in_and_every_database_once() -> None:
    configure(**{**closed_port(), "persistence_type": "JDBC", "jdbc_database": "default"})
    result = validate("--all")
    titles = [line for line in result.output.splitlines() if not line.startswith(" ")]
    assert titles[0] == "JDBC, database “default”"  # the configured one comes first
    assert sorted(title.split(" at ")[0] for title in titles) == [
        "In-Memory",
        "JDBC, database “default”",
        "REDIS",
    ]
    assert result.error is not None
    assert result.error.startswith("1 of 3 failed: REDIS")


@pytest.mark.parametrize(
    ("fields", "description"),
    [
        (
            {"redis_mode": "CLUSTER", "redis_nodes": "redis.example.org:6379"},
            "REDIS Cluster at redis.example.org:6379",
        ),
        (
            {"redis_mode": "SENTINEL", "redis_nodes": "a.example.org:26379", "redis_sentinel_name": "main"},
            "REDIS at “main” of a.example.org:26379, database 0",
        ),
        ({"mongodb_alias": "documents"}, "MONGODB, database “documents” of the project"),
        ({"mongodb_host": "db.example.org"}, "MONGODB at db.example.org:27017, database “”"),
    ],
)
def test_all_has_a_store_that_is_reached_in_another_way_than_by_its_host(
    fields: dict[str, str], description: str
) -> None:
    saved = LoginConfiguration(persistence_type="JDBC", jdbc_database="default", **fields)
    assert [each.describe() for each in every_store(saved)].count(description) == 1


def test_all_has_each_database_of_the_project_whichever_is_configured() -> None:
    with added_database("second", "sqlite://:memory:"):
        saved = LoginConfiguration(persistence_type="JDBC", jdbc_database="second")
        found = [each.describe() for each in dict.fromkeys(every_store(saved))]
    assert found == ["JDBC, database “second”", "In-Memory", "JDBC, database “default”"]


@pytest.mark.parametrize("store_type", ["REDIS", "MONGODB"])
def test_all_passes_over_a_store_of_which_nothing_was_entered(store_type: str) -> None:
    assert store_type not in {each.type for each in every_store(LoginConfiguration())}


def test_database_that_is_no_longer_in_the_project_fails() -> None:
    configure(persistence_type="JDBC", jdbc_database="gone")
    result = validate()
    assert "gone" in result.output
    assert result.error is not None
    assert "1 of " in str(validate("--all").error)


def test_json_says_it_all_and_nothing_else() -> None:
    configure(**closed_port(), redis_password=WRONG)
    result = validate("--json")
    (store,) = json.loads(result.output)
    assert (store["type"], store["ok"]) == ("REDIS", False)
    assert [step["ok"] for step in store["steps"]] == [True, False]
    assert store["steps"][-1]["field"] == "port"
    assert store["steps"][-1]["milliseconds"] > 0
    assert result.error is not None
    assert WRONG not in result.everything


def test_words_of_the_driver_are_shown_when_asked_for() -> None:
    configure(**closed_port())
    assert "ConnectionRefusedError" not in validate().output
    last = validate("-v", "2").output.splitlines()[-1]
    assert last.strip().startswith("ConnectionRefusedError: ")


def test_json_has_the_words_of_the_driver() -> None:
    configure(**closed_port())
    (store,) = json.loads(validate("--json").output)
    assert store["steps"][-1]["detail"].startswith("ConnectionRefusedError: ")


def test_what_a_server_says_does_not_steer_the_terminal() -> None:
    with Answering(b"-ERR \x1b]0;a new title\x07 two\r\n") as server:
        configure(persistence_type="REDIS", redis_host="127.0.0.1", redis_port=server.port)
        result = validate("-v", "2")
    assert "a new title" in result.output
    assert "\x1b" not in result.everything
    assert "\x07" not in result.everything


def test_probing_leaves_nothing_behind() -> None:
    configure(**server_fields(Valkey))
    with shared(Valkey).connect() as client:
        before = set(client.keys("*"))
        validate()
        time.sleep(0.01)  # the record that is written to see it expire lives for a millisecond
        assert set(client.keys("*")) <= before


def test_configuration_that_can_not_be_read_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> None:
        raise OperationalError("host=db password=hunter2")

    monkeypatch.setattr(LoginConfiguration, "get_solo", unreachable)
    error = validate().error
    assert error is not None
    assert "could not be read" in error
    assert "hunter2" not in error


@pytest.mark.parametrize("arguments", [["--type", "FLOPPY"], ["--all", "--type", "REDIS"]])
def test_arguments_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("validate_connections", *arguments)


def test_exit_code_and_help_in_a_real_process(tmp_path: Path) -> None:
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path / 'not-migrated.sqlite3'}"}

    def manage(*arguments: str) -> subprocess.CompletedProcess[str]:
        return warm().run(["manage.py", "validate_connections", *arguments], environment, "", 60)

    failed, helped = manage(), manage("--help")
    assert failed.returncode == 1
    assert "migrate" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert helped.returncode == 0
    assert all(option in helped.stdout for option in ("--all", "--type", "--json", *TYPES))
