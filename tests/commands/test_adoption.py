"""``drain_sessions`` moves what is left at the engine used before, too."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.contrib.sessions.models import Session
from django.db import OperationalError
from pytest_django import Settings

from sessionpersist.engine import SessionStore
from sessionpersist.handover import routing, snapshot
from sessionpersist.session import adoption
from tests.commands.running import run

DB, CACHE = (f"django.contrib.sessions.backends.{name}" for name in ("db", "cache"))

pytestmark = pytest.mark.django_db


def log_in(users: int) -> list[str]:
    """Users log in before the app is installed; return their session keys."""
    sessions = [DatabaseSession() for _ in range(users)]
    for number, session in enumerate(sessions):
        session["visits"] = number
        session.save()
    return [str(session.session_key) for session in sessions]


@pytest.fixture(autouse=True)
def adopting(settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ADOPT_FROM": DB}


@pytest.fixture
def keys(db: None) -> list[str]:
    return log_in(25)


def test_all_move_and_the_setting_can_go() -> None:
    """In more than one batch."""
    keys = log_in(250)
    result = run("drain_sessions")
    assert (result.error, result.output.splitlines()[0]) == (None, f"{DB}: 250 sessions to move.")
    assert f"{DB}: 250 sessions moved. ADOPT_FROM can be removed from the settings." in result.output
    assert not Session.objects.exists()
    assert [SessionStore(key)["visits"] for key in keys] == list(range(250))


def test_then_the_sessions_stay_where_they_are_without_the_setting(
    keys: list[str], settings: Settings
) -> None:
    """From a review: whoever followed that advice moved the site into memory, and everybody was logged out."""
    run("drain_sessions")
    options = {name: value for name, value in settings.SESSIONPERSIST.items() if name != "ADOPT_FROM"}
    settings.SESSIONPERSIST = options
    snapshot.reset()
    assert routing.current_settings().type == "JDBC"
    assert SessionStore(keys[0])["visits"] == 0


def test_when_none_is_left_it_says_so_again(keys: list[str]) -> None:
    run("drain_sessions")
    result = run("drain_sessions")
    assert f"{DB}: 0 sessions moved. ADOPT_FROM can be removed from the settings." in result.output


def test_what_can_not_be_read_is_told_and_is_no_failure(keys: list[str]) -> None:
    Session.objects.filter(session_key__in=keys[:2]).update(session_data="damaged")
    result = run("drain_sessions")
    assert result.error is None
    assert f"{DB}: 2 sessions could not be moved" in result.output
    assert f"{DB}: 23 sessions moved." in result.output


def test_what_came_meanwhile_is_told(keys: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    remove = adoption.remove

    def another_logs_in(session_key: str) -> None:
        monkeypatch.setattr(adoption, "remove", remove)
        remove(session_key)
        Session.objects.create(session_key="0" * 32, session_data="", expire_date="2999-01-01T00:00Z")

    monkeypatch.setattr(adoption, "remove", another_logs_in)
    monkeypatch.setattr("sessionpersist.configuration.leftovers.ROWS", 1000)
    result = run("drain_sessions")
    assert result.error == f"{DB}: 25 sessions moved, 1 arrived in the meantime. Run this again."


def test_one_session_is_one(keys: list[str]) -> None:
    Session.objects.exclude(session_key__in=keys[:2]).delete()
    Session.objects.filter(session_key=keys[0]).update(session_data="damaged")
    output = run("drain_sessions").output
    assert f"{DB}: 1 session could not be moved: it can't be read" in output
    assert f"{DB}: 1 session moved." in output
    assert f"{DB}: 1 session to move." in run("drain_sessions").output


def test_giving_up_the_draining_stores_leaves_it_alone(keys: list[str]) -> None:
    run("drain_sessions", "--abandon", "--no-input")
    assert Session.objects.count() == 25


def test_an_engine_that_can_not_list_its_sessions_says_when_none_is_left(settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ADOPT_FROM": CACHE}  # on LocMem
    result = run("drain_sessions")
    assert result.error is None
    assert f"{CACHE}: This engine can't list its sessions." in result.output
    assert "14 days after" in result.output


def test_an_outage_is_a_sentence(keys: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def down(self: DatabaseSession) -> None:
        raise OperationalError("down")

    monkeypatch.setattr(import_module(DB).SessionStore, "load", down)
    result = run("drain_sessions")
    assert result.error == "The sessions of the engine used before could not be read."
