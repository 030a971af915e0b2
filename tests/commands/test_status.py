"""``manage.py login_configuration status``: how the site is, in words and in JSON."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.core.management import call_command
from pytest_django import Settings

from sessionpersist.configuration import leftovers
from sessionpersist.handover import nodes, snapshot
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.stores import open_store
from sessionpersist.stores.base import Record, new_version, now_ms
from sessionpersist.stores.settings import MemorySettings
from tests.commands.running import run
from tests.engine.support import server_fields
from tests.servers import Valkey
from tests.servers.places import free_port

PASSWORD = "s3cret"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def at_once(settings: Settings) -> None:
    settings.SESSIONPERSIST |= {"ACTIVATION_SECONDS": 0, "GUARD_SECONDS": 0, "NODE_NAME": "здесь-1"}
    snapshot.reset()


def status() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("login_configuration", "status", "--json").output)
    return found


def lines() -> list[str]:
    return run("login_configuration", "status").output.splitlines()


def configure(**fields: Any) -> None:
    LoginConfiguration(**fields).save(saved_by="Zoë")


def test_a_new_site() -> None:
    found = status()
    assert found["store"] == {
        "type": "IN_MEMORY",
        "name": "In-Memory",
        "since": None,
        "chosen_by": "",
        "revision": None,
    }
    assert found["health"]["answers"] is True
    assert found["health"]["milliseconds"] > 0
    assert (found["pending"], found["draining"], found["nodes"]) == (None, [], [])
    assert found["policy"]["max_sessions"] == -1
    assert [line.partition(":")[0] for line in lines()] == ["Store", "Health", "Policy"]


def test_the_store_in_force_answers() -> None:
    configure(**server_fields(Valkey))
    found = status()
    assert (found["store"]["type"], found["store"]["chosen_by"]) == ("REDIS", "Zoë")
    assert found["store"]["revision"] == Revision.objects.latest("pk").pk
    assert found["health"]["answers"] is True
    assert lines()[1].startswith("Health:    answers in ")


def test_a_store_that_does_not_answer_is_told_with_its_problem_and_without_its_password() -> None:
    configure(
        persistence_type="REDIS", redis_host="localhost", redis_port=free_port(), redis_password=PASSWORD
    )
    result = run("login_configuration", "status", "--json")
    found = json.loads(result.output)
    assert result.error is None
    assert found["health"]["answers"] is False
    assert "refused" in found["health"]["problem"]
    assert PASSWORD not in result.output
    assert any("does not answer" in line and "refused" in line for line in lines())


def test_what_is_draining_is_counted() -> None:
    record = Record(b"payload", new_version(), now_ms(), now_ms() + 600_000)
    open_store(MemorySettings()).create("a" * 64, record)
    configure(**server_fields(Valkey))
    [draining] = status()["draining"]
    assert (draining["left"], draining["at_least"], draining["problem"]) == (1, False, "")
    assert any(line.startswith("Draining:  In-Memory") and line.endswith("1 left") for line in lines())


class TestAdopting:
    """The engine in ``ADOPT_FROM``, which is no store and drains nevertheless."""

    def test_it_is_counted(self, settings: Settings) -> None:
        settings.SESSIONPERSIST |= {"ADOPT_FROM": "django.contrib.sessions.backends.db"}
        leftovers.reset()
        old = DatabaseSession()
        old["cat"] = "tabby"
        old.save()
        engine = {"name": "django.contrib.sessions.backends.db", "left": 1, "at_least": False, "problem": ""}
        assert status()["adopting"] == engine
        assert "Adopting:  django.contrib.sessions.backends.db, 1 left" in lines()
        assert "Adopts from: django.contrib.sessions.backends.db" in run("login_configuration", "show").output

    def test_one_that_lists_nothing_says_until_when(self, settings: Settings) -> None:
        settings.SESSIONPERSIST |= {"ADOPT_FROM": "django.contrib.sessions.backends.cache"}  # on LocMem
        found = status()["adopting"]
        assert found["left"] is None
        assert found["problem"].startswith("This engine can't list its sessions.")

    def test_nothing_is_adopted(self) -> None:
        assert status()["adopting"] is None
        assert not any(line.startswith("Adopting") for line in lines())


def test_a_switch_to_come(settings: Settings) -> None:
    settings.SESSIONPERSIST |= {"ACTIVATION_SECONDS": 100}
    configure(persistence_type="REDIS", redis_host="redis.example.org")
    pending = status()["pending"]
    assert pending["name"] == "REDIS at redis.example.org:6379, database 0"
    assert 0 < pending["seconds"] <= 100
    assert pending["ends_everybody"] is False
    assert any(line.startswith("Pending:   REDIS at redis.example.org") for line in lines())


@pytest.mark.django_db(transaction=True)
def test_nodes() -> None:
    nodes.reset()
    nodes.report()
    [node] = status()["nodes"]
    assert (node["name"], node["processes"], node["switched"]) == ("здесь-1", 1, True)
    assert any(line.startswith("Node:      здесь-1 has switched, heard from ") for line in lines())


def test_the_policy_in_force(settings: Settings) -> None:
    settings.SESSIONPERSIST |= {"INITIAL": {"persistence_type": "IN_MEMORY", "idle_minutes": 15}}
    assert status()["policy"]["idle_minutes"] == 15
    configure(idle_minutes=30, max_sessions=3)
    assert (status()["policy"]["idle_minutes"], status()["policy"]["max_sessions"]) == (30, 3)
    assert lines()[-1] == "Policy:    idle 30 minutes, at most 3 sessions a user, END_OLDEST"


@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-8", "Zoë"), ("ascii", r"Zo\u00eb"), ("iso-8859-1", r"Zo\u00eb")]
)
@pytest.mark.parametrize("command", [["login_configuration", "status"]])
def test_json_is_utf_8_as_it_is_and_escaped_where_the_output_has_another_encoding(
    command: list[str], encoding: str, said: str
) -> None:
    configure(persistence_type="IN_MEMORY", idle_minutes=5)
    Revision.objects.update(saved_by="Zoë")
    printed = io.BytesIO()
    with io.TextIOWrapper(printed, encoding=encoding) as output:
        call_command(*command, "--json", stdout=output)
        output.flush()
        text = printed.getvalue().decode(encoding)
    assert f'"chosen_by": "{said}"' in text
    assert json.loads(text)["store"]["chosen_by"] == "Zoë"
