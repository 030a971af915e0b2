"""How often the store is asked. Each verb is one round trip (the stores' own tests see to that)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest, HttpResponse
from django.test import Client
from pytest_django import Settings

from sessionpersist import engine
from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import routing
from sessionpersist.handover.driving import LONGEST_PAUSE
from sessionpersist.session.reasons import Reason
from sessionpersist.session.sealing import stored_key
from sessionpersist.stores.base import now_ms
from sessionpersist.testing import override_login_configuration
from tests.engine.behaviour.keys import UNUSUAL_KEYS
from tests.engine.support import ChangingStore, RecordingStore, RivalStore, StubbornStore, key_of, new_session
from tests.engine.test_requests import COOKIE, post_login, user

__all__ = ["user"]

site = pytest.mark.urls("tests.engine.urls")
database = pytest.mark.django_db


@pytest.fixture
def recording(in_memory: None) -> RecordingStore:
    return RecordingStore(routing.current_store())


@site
@database
def test_page_that_needs_no_session_asks_nothing(client: Client, user: User, asked: list[str]) -> None:
    client.force_login(user)
    asked.clear()
    client.get("/ignore/")
    assert asked == []


@site
@database
def test_page_view_of_a_logged_in_user_is_one_read(client: Client, user: User, asked: list[str]) -> None:
    client.force_login(user)
    asked.clear()
    client.get("/whoami/")
    assert asked == ["get"]


def knows_its_user(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """A middleware that asks who is there, and for something else in the session, before the view does."""

    def middleware(request: HttpRequest) -> HttpResponse:
        request.user.get_username()
        request.session.get("theme")
        return get_response(request)

    return middleware


@site
@database
@pytest.mark.parametrize("session", ["live", "ended", "gone", "never there"])
def test_what_a_middleware_and_then_the_view_want_to_know_is_one_read(
    client: Client, user: User, asked: list[str], settings: Settings, session: str
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.knows_its_user"]
    client.force_login(user)
    key = client.cookies[COOKIE].value
    match session:
        case "ended":
            routing.current_store().end(stored_key(key), now_ms() + 60_000, Reason.BY_STAFF)
        case "gone":
            SessionStore(key).delete()
        case "never there":
            client.cookies[COOKIE] = "a-key-that-nobody-has"
    asked.clear()
    for attempt in (1, 2):
        name = client.get("/whoami/").content.decode()
        assert (attempt, bool(name)) == (attempt, session == "live")
        assert asked == (["get"] * attempt if session == "live" else ["get"])


@site
@database
def test_login_from_an_anonymous_session_is_two_and_one_for_the_roster(
    client: Client, user: User, asked: list[str]
) -> None:
    client.get("/visit/")
    asked.clear()
    post_login(client)
    assert asked == ["get", "get_many", "save_both"]


@site
@database
def test_login_of_a_user_who_is_listed_already_is_two_and_one_for_the_roster(
    client: Client, user: User, asked: list[str]
) -> None:
    post_login(Client())
    client.get("/visit/")
    asked.clear()
    post_login(client)
    assert asked == ["get", "get_many", "save_both"]


@site
@database
@pytest.mark.parametrize("visited", [True, False])
def test_login_that_ends_another_session_is_five_at_most(
    client: Client, user: User, asked: list[str], settings: Settings, visited: bool
) -> None:
    with override_login_configuration(persistence_type="IN_MEMORY", max_sessions=1):
        post_login(Client())
        if visited:
            client.get("/visit/")
        asked.clear()
        post_login(client)
    listing = ["get_many", "get_many", "end_and_replace"]
    assert asked == (["get", *listing, "rotate"] if visited else [*listing, "create"])


@site
@database
def test_login_without_a_session_is_one_and_one_for_the_roster(
    client: Client, user: User, asked: list[str]
) -> None:
    post_login(client)
    assert asked == ["get_many", "save_both"]


@site
@database
def test_login_costs_the_roster_nothing_where_none_is_wanted(
    client: Client, user: User, asked: list[str], settings: Settings
) -> None:
    settings.SESSIONPERSIST |= {"ROSTER": False}
    with override_login_configuration():
        asked.clear()
        post_login(client)
    assert asked == ["create"]


@site
@database
def test_logout_is_a_read_and_a_delete(client: Client, user: User, asked: list[str]) -> None:
    client.force_login(user)
    asked.clear()
    client.post("/logout/")
    assert asked == ["get", "delete"]


@site
@database
@pytest.mark.parametrize("cookie", ["a-key-that-nobody-has", "short", "a" * 5000, "key-with-ümlaut"])
def test_cookie_that_leads_nowhere_costs_one_read_at_most(
    client: Client, asked: list[str], cookie: str
) -> None:
    client.cookies[COOKIE] = cookie
    client.get("/whoami/")
    assert asked in (["get"], [])


@site
@database
def test_save_every_request_with_nothing_changed_is_a_touch(
    client: Client, user: User, asked: list[str], settings: Settings
) -> None:
    client.force_login(user)
    settings.SESSION_SAVE_EVERY_REQUEST = True
    asked.clear()
    client.get("/whoami/")
    assert asked == ["get", "touch"]
    asked.clear()
    client.get("/visit/")
    assert asked == ["get", "replace"]


@pytest.mark.parametrize("key", UNUSUAL_KEYS.values(), ids=UNUSUAL_KEYS)
def test_made_up_key_costs_one_read(asked: list[str], key: str) -> None:
    session = SessionStore(key)
    session.get("cat")
    session.get("dog")
    assert asked == ["get"]


def test_new_session_is_one_create(asked: list[str]) -> None:
    session = new_session(cat="tabby")
    session["cat"] = "siamese"
    session.save()
    assert asked == ["create", "replace"]


def test_flush_of_an_unread_session_is_one_delete(asked: list[str]) -> None:
    key = key_of(new_session(cat="tabby"))
    asked.clear()
    SessionStore(key).flush()
    assert asked == ["delete"]


def test_key_clash_is_noticed_by_the_store_and_another_key_drawn(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = key_of(new_session(cat="tabby"))
    drawn = iter([taken, "another-random-key"])
    monkeypatch.setattr(engine, "new_key", lambda: next(drawn))
    asked.clear()
    assert new_session().session_key == "another-random-key"
    assert asked == ["create", "create"]
    assert SessionStore(taken)["cat"] == "tabby"


def test_save_over_a_parallel_save_is_a_refusal_a_read_and_a_save(asked: list[str]) -> None:
    key = key_of(new_session(cat="tabby"))
    mine, theirs = SessionStore(key), SessionStore(key)
    mine["dog"], theirs["bird"] = "rex", "tweety"
    theirs.save()
    asked.clear()
    mine.save()
    assert asked == ["replace", "get", "replace"]


def test_save_during_which_the_session_is_deleted_does_not_revive_it(
    recording: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rivals: one saves just before our replace, one logs out just before we read what the first one saved."""
    session = new_session(cat="tabby")
    key = key_of(session)
    theirs = SessionStore(key)
    theirs["bird"] = "tweety"
    rival = RivalStore(recording.inner)
    monkeypatch.setattr(routing, "current_store", lambda: rival)
    session["dog"] = "rex"
    rival.before = {"replace": theirs.save, "get": lambda: SessionStore(key).delete()}
    with pytest.raises(UpdateError):
        session.save()
    assert not SessionStore().exists(key)


def test_session_that_others_never_stop_changing_is_an_outage_after_a_bounded_time(
    recording: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = new_session(cat="tabby")
    stubborn = StubbornStore(recording.inner)
    monkeypatch.setattr(routing, "current_store", lambda: stubborn)
    pauses: list[int] = []
    monkeypatch.setattr(engine, "pause", pauses.append)
    session["cat"] = "siamese"
    with pytest.raises(StoreUnavailable):
        session.save()
    assert pauses == list(range(engine.ATTEMPTS))
    assert stubborn.asked.count("replace") == engine.ATTEMPTS
    assert session.outage is not None


def test_cycling_over_a_parallel_save_is_one_refusal(asked: list[str]) -> None:
    session = new_session(cat="tabby")
    theirs = SessionStore(key_of(session))
    theirs["bird"] = "tweety"
    theirs.save()
    asked.clear()
    session.cycle_key()
    assert asked == ["rotate", "get", "replace", "delete"]


def test_cycling_ends_a_session_that_others_never_stop_changing(
    recording: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who fixed the key of a login must not be able to hold on to it by saving again and again."""
    session = new_session(cat="tabby")
    old_key = key_of(session)
    changing = ChangingStore(recording.inner)
    monkeypatch.setattr(routing, "current_store", lambda: changing)
    session.cycle_key()
    assert not SessionStore().exists(old_key)
    assert SessionStore(session.session_key)["cat"] == "tabby"


@pytest.mark.parametrize("attempt", [0, 1, 10, 24])
def test_pause_between_attempts_is_bounded(attempt: int, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    engine.pause(attempt)
    assert 0 <= slept[0] <= min(0.001 * 2**attempt, LONGEST_PAUSE)
