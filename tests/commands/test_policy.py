"""``manage.py login_configuration``: the options for time-outs and limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pytest_django import Settings

from sessionpersist.configuration import probing
from sessionpersist.models import LoginConfiguration, Revision
from tests.commands.running import Result, run
from tests.servers.places import free_port

pytestmark = pytest.mark.django_db


def change(*arguments: str) -> Result:
    return run("login_configuration", "set", *arguments)


def saved() -> LoginConfiguration:
    return LoginConfiguration.get_solo()


@pytest.fixture
def nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a store was tried")

    monkeypatch.setattr(probing, "probe", refuse)


@pytest.mark.usefixtures("nothing_is_tried")
def test_all_are_set_while_the_store_is_down(settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 0}
    LoginConfiguration(persistence_type="REDIS", redis_host="127.0.0.1", redis_port=free_port()).save()
    given = ["--idle-minutes", "30", "--absolute-hours", "12", "--remember-days", "14"]
    result = change(*given, "--max-sessions", "3", "--at-limit", "REFUSE")
    assert result.error is None
    row = saved()
    assert (row.idle_minutes, row.absolute_hours, row.remember_days) == (30, 12, 14)
    assert "Saved: idle 30 minutes, absolute 12 hours, remember 14 days" in result.output
    assert "goes by it within" in result.output
    assert "drain_sessions" not in result.output
    assert (row.max_sessions, row.at_limit, row.redis_host) == (3, "REFUSE", "127.0.0.1")
    assert Revision.objects.filter(initial=False).count() == 1


def test_an_empty_value_is_as_django_has_it() -> None:
    LoginConfiguration(idle_minutes=30, max_sessions=3).save()
    assert change("--idle-minutes", "", "--max-sessions", "").error is None
    assert (saved().idle_minutes, saved().max_sessions) == (None, -1)


def test_no_limit_is_given_as_minus_one() -> None:
    LoginConfiguration(max_sessions=3).save()
    assert change("--max-sessions", "-1").error is None
    assert saved().max_sessions == -1


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        (
            "--idle-minutes",
            "0",
            "--idle-minutes: Enter a whole number from 1 to 52,596,000, or leave this empty.",
        ),
        ("--max-sessions", "0", "--max-sessions: Enter -1 for no limit, or 1 or more, up to 200."),
        (
            "--at-limit",
            "BOTH",
            "--at-limit: Select a valid choice. BOTH is not one of the available choices.",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_option(option: str, value: str, said: str) -> None:
    result = change(option, value)
    assert result.error == f"Nothing was saved.\n{said}"
    assert not LoginConfiguration.objects.filter(edition__gt=0).exists()


def test_show_has_what_is_set() -> None:
    LoginConfiguration(idle_minutes=30).save()
    assert "    idle_minutes:  30" in run("login_configuration", "show").output.splitlines()
    found = json.loads(run("login_configuration", "show", "--json").output)
    assert found["policy"] == {
        "idle_minutes": 30,
        "absolute_hours": None,
        "remember_days": None,
        "max_sessions": -1,
        "at_limit": "END_OLDEST",
    }
