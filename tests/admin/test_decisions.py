"""Who decides over the sessions of all users is a line in the audit log, with the store and no secret."""

from __future__ import annotations

import getpass
import logging
import os

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from sessionpersist.handover import snapshot
from sessionpersist.models import LoginConfiguration, Revision
from tests.admin.support import login_of, save
from tests.commands.running import run
from tests.servers import Valkey
from tests.telemetry.reading import sentences

DEAD = "REDIS at 127.0.0.1:1, database 0"
PASSWORD = "s3cret"

pytestmark = pytest.mark.django_db


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "sessionpersist.audit")
    return caplog


@pytest.fixture
def left(settings: Settings) -> int:
    """The number of a Redis that is gone, and which sessions were about to leave."""
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 0, "GUARD_SECONDS": 0}
    LoginConfiguration(
        persistence_type="REDIS", redis_host="127.0.0.1", redis_port=1, redis_password=PASSWORD
    ).save()
    LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
    snapshot.reset()
    number: int = Revision.objects.get(persistence_type="REDIS").pk
    return number


def address(name: str, number: int) -> str:
    return reverse(f"admin:sessionpersist_loginconfiguration_{name}", args=[number])


def decisions(lines: pytest.LogCaptureFixture) -> list[str]:
    found = sentences(each.getMessage() for each in lines.records if each.name == "sessionpersist.audit")
    assert PASSWORD not in lines.text
    return [line for line in found if line.startswith(("saved", "switched back", "abandoned"))]


def test_save_is_one(browser: Client, staff: User, lines: pytest.LogCaptureFixture) -> None:
    login = login_of(Valkey)
    assert save(browser, **login).status_code == 302
    store = f"REDIS at {login['redis_host']}:{login['redis_port']}, database {login['redis_database']}"
    assert decisions(lines) == [f"saved: by {staff.username}, {store}"]
    assert login["redis_password"] not in lines.text


def test_what_was_not_saved_is_none(browser: Client, lines: pytest.LogCaptureFixture) -> None:
    assert save(browser, persistence_type="IN_MEMORY", edition=4711).status_code == 200
    assert decisions(lines) == []


def test_switch_back_is_one(browser: Client, staff: User, lines: pytest.LogCaptureFixture) -> None:
    LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
    LoginConfiguration(persistence_type="IN_MEMORY").save()
    number = Revision.objects.get(persistence_type="JDBC").pk
    edition = LoginConfiguration.get_solo().edition
    assert browser.post(address("switch_back", number), {"edition": edition}).status_code == 302
    assert decisions(lines) == [f"switched back: by {staff.username}, JDBC, database “default”"]


def test_abandon_is_one(left: int, staff: User, lines: pytest.LogCaptureFixture) -> None:
    browser = Client()
    browser.force_login(staff)
    assert browser.get(address("abandon", left)).status_code == 200
    assert decisions(lines) == []
    assert browser.post(address("abandon", left)).status_code == 302
    assert decisions(lines) == [f"abandoned: by {staff.username}, {DEAD}"]


def test_abandon_by_the_command_is_one(left: int, lines: pytest.LogCaptureFixture) -> None:
    assert run("drain_sessions", "--abandon", "--no-input").error is None
    who = f"{getpass.getuser()} (command line)"
    assert decisions(lines) == [
        f"abandoned: by {who}, {DEAD}",
        f"abandoned: by {who}, In-Memory of every node",
    ]


def test_set_by_the_command_is_one(lines: pytest.LogCaptureFixture) -> None:
    assert run("login_configuration", "set", "--type", "JDBC", "--database", "default").error is None
    assert decisions(lines) == [f"saved: by {getpass.getuser()} (command line), JDBC, database “default”"]


def test_a_user_of_the_machine_without_a_name_is_a_number(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert run("login_configuration", "set", "--type", "JDBC", "--database", "default").error is None
    [line] = decisions(lines)
    assert line.startswith(f"saved: by user {os.getuid()} (command line), ")
