"""A project that ran on one of Django's engines installs the app, and its users stay logged in."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NoReturn

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.db import OperationalError
from django.test import Client
from pytest_django import Settings

from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.session import adoption
from tests.servers.places import free_port

ENGINES = [f"django.contrib.sessions.backends.{name}" for name in ("db", "cache", "cached_db")]

pytestmark = pytest.mark.django_db


@pytest.fixture(params=ENGINES)
def old(request: pytest.FixtureRequest, settings: Settings) -> SessionBase:
    """A session that the engine used before has made."""
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ADOPT_FROM": request.param}
    session: SessionBase = import_module(request.param).SessionStore()
    session.update({"visits": 3, "_session_expiry": 3600})
    session.save()
    return session


def test_the_session_is_taken_over_and_removed_there(old: SessionBase) -> None:
    key = str(old.session_key)
    session = SessionStore(key)
    assert session["visits"] == 3
    assert session.get_expiry_age() == 3600
    assert not old.exists(key)
    session["visits"] = 4
    session.save()
    assert SessionStore(key)["visits"] == 4


def test_a_logout_before_that_holds(old: SessionBase) -> None:
    key = str(old.session_key)
    SessionStore(key).flush()
    assert SessionStore(key).get("visits") is None
    assert not old.exists(key)


def test_a_logout_during_the_takeover_holds(old: SessionBase, monkeypatch: pytest.MonkeyPatch) -> None:
    key = str(old.session_key)
    save = SessionStore._save_new

    def logged_out_before(self: SessionStore, data: dict[str, object], **given: Any) -> None:
        monkeypatch.setattr(SessionStore, "_save_new", save)
        SessionStore(key).delete()
        save(self, data, **given)

    monkeypatch.setattr(SessionStore, "_save_new", logged_out_before)
    assert SessionStore(key).get("visits") is None
    assert SessionStore(key).get("visits") is None


def test_a_logout_right_after_the_takeover_holds(old: SessionBase) -> None:
    key = str(old.session_key)
    session = SessionStore(key)
    assert session["visits"] == 3
    session.flush()
    assert SessionStore(key).get("visits") is None
    assert not old.exists(key)


def test_of_parallel_requests_one_takes_over_and_the_other_reads_that(
    old: SessionBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = str(old.session_key)
    save = SessionStore._save_new

    def another_is_faster(self: SessionStore, data: dict[str, object], **given: Any) -> None:
        monkeypatch.setattr(SessionStore, "_save_new", save)
        other = SessionStore(key)
        other["visits"] += 1
        other.save()
        save(self, data, **given)

    monkeypatch.setattr(SessionStore, "_save_new", another_is_faster)
    session = SessionStore(key)
    assert session["visits"] == 4
    session["name"] = "both"
    session.save()
    found = SessionStore(key)
    assert (found["visits"], found["name"]) == (4, "both")


def test_a_parallel_request_that_takes_over_between_two_looks_hides_nothing(
    old: SessionBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = str(old.session_key)
    find = adoption.find

    def another_is_faster(session_key: str) -> dict[str, object] | None:
        monkeypatch.setattr(adoption, "find", find)
        assert SessionStore(key)["visits"] == 3
        return find(session_key)

    monkeypatch.setattr(adoption, "find", another_is_faster)
    assert SessionStore(key).get("visits") == 3


@pytest.mark.parametrize(
    "backend", ["django_redis.cache.RedisCache", "django.core.cache.backends.redis.RedisCache"]
)
def test_a_cache_that_is_down_is_not_told_as_no_session(settings: Settings, backend: str) -> None:
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": f"redis://127.0.0.1:{free_port()}"}}
    settings.SESSIONPERSIST = {
        **settings.SESSIONPERSIST,
        "ADOPT_FROM": "django.contrib.sessions.backends.cache",
        "INITIAL": {"persistence_type": "IN_MEMORY"},
    }
    session = SessionStore("0" * 32)
    with pytest.raises(StoreUnavailable):
        session.get("visits")
    assert session.outage is not None


def test_an_outage_as_the_old_copy_is_looked_at_again_is_no_crash(
    old: SessionBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = str(old.session_key)

    def down(self: SessionBase, session_key: str) -> NoReturn:
        raise OperationalError("down")

    with monkeypatch.context() as patched:
        patched.setattr(type(old), "exists", down)
        session = SessionStore(key)
        with pytest.raises(StoreUnavailable):
            session.load()
        assert session.outage is not None
    assert SessionStore(key)["visits"] == 3


def test_an_outage_as_the_old_copy_is_removed_loses_nothing(
    old: SessionBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = str(old.session_key)

    def fail(self: SessionBase, session_key: str | None = None) -> None:
        raise OperationalError("down")

    with monkeypatch.context() as down:
        down.setattr(type(old), "delete", fail)
        session = SessionStore(key)
        with pytest.raises(StoreUnavailable):
            session.get("visits")
        assert session.outage is not None
        assert SessionStore(key)["visits"] == 3, "it has been taken over already"
        with pytest.raises(StoreUnavailable):
            SessionStore(key).delete()  # not acknowledged: the old copy may still be there
    SessionStore(key).delete()
    assert SessionStore(key).get("visits") is None


def test_a_session_that_nobody_knows_is_new(old: SessionBase) -> None:
    session = SessionStore("0" * 32)
    assert dict(session.items()) == {}
    assert session.session_key is None


def test_a_database_that_fails_is_not_told_as_no_session(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ADOPT_FROM": ENGINES[0]}

    def fail(self: SessionBase) -> None:
        raise OperationalError("down")

    monkeypatch.setattr(import_module(ENGINES[0]).SessionStore, "load", fail)
    session = SessionStore("0" * 32)
    with pytest.raises(StoreUnavailable):
        session.get("visits")
    assert session.outage is not None


@pytest.mark.parametrize("engine", ENGINES)
def test_a_logged_in_user_stays_logged_in(settings: Settings, engine: str) -> None:
    user = User.objects.create_user("ada")
    client = Client()
    ours, settings.SESSION_ENGINE = settings.SESSION_ENGINE, engine
    client.force_login(user)
    assert client.get("/").context["user"] == user
    settings.SESSION_ENGINE = ours
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ADOPT_FROM": engine}
    again = Client()  # a client loads the middleware with its first request
    again.cookies = client.cookies
    assert again.get("/").context["user"] == user
