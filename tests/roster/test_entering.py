"""Logins that something else comes between, or that are no view's."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from sessionpersist import sessions
from sessionpersist.engine import SessionStore
from sessionpersist.handover import routing
from sessionpersist.handover.everybody import end_everybody
from sessionpersist.stores.base import is_roster
from sessionpersist.testing import override_login_configuration
from tests.engine.support import RecordingStore
from tests.handover.test_stores import switch

pytestmark = pytest.mark.django_db
REMOTE = "django.contrib.auth.middleware.RemoteUserMiddleware"


class JustBefore(RecordingStore):
    """A store in which something happens just before the first session is created."""

    def __init__(self, happens: Callable[[], Any]) -> None:
        super().__init__(routing.current_store())
        self.happens: Callable[[], Any] | None = happens

    def create(self, key: str, *arguments: Any) -> bool:
        if self.happens is not None and not is_roster(key):
            happens, self.happens = self.happens, None
            happens()
        return self.inner.create(key, *arguments)


@pytest.mark.usefixtures("switches_at_once")
def test_login_that_the_end_of_everybody_overtakes_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a review: it was listed before that, and saved after it."""
    switch("IN_MEMORY")
    store = JustBefore(end_everybody)
    session = SessionStore()
    session[USER_ID] = "ada"
    with monkeypatch.context() as patch:
        patch.setattr(routing, "current_store", lambda: store)
        session.save()
    assert SessionStore().exists(session.session_key)
    assert len(sessions.of("ada")) == 1


def test_login_by_another_middleware_is_refused_like_any(settings: Settings, tmp_path: Path) -> None:
    """From a review: it was a 500, on every page."""
    at = settings.MIDDLEWARE.index("django.contrib.auth.middleware.AuthenticationMiddleware") + 1
    settings.MIDDLEWARE = [*settings.MIDDLEWARE[:at], REMOTE, *settings.MIDDLEWARE[at:]]
    settings.SESSIONPERSIST = {"MEMORY_DIR": str(tmp_path)}
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]
    User.objects.create_user("ada")
    with override_login_configuration(max_sessions=1, at_limit="REFUSE"):
        assert Client().get("/", REMOTE_USER="ada").status_code == 200
        second = Client(raise_request_exception=False).get("/", REMOTE_USER="ada")
    assert 300 <= second.status_code < 500
    assert len(sessions.of(User.objects.get())) == 1


@pytest.mark.usefixtures("switches_at_once")
def test_user_of_before_the_end_of_everybody_logs_in_while_a_store_drains() -> None:
    """From a review: the roster of before was to be replaced, which nobody can, and the login was a 503."""
    switch("REDIS")
    session = SessionStore()
    session[USER_ID] = user_id = secrets.token_hex(8)
    session.save()
    end_everybody()
    switch("IN_MEMORY")
    SessionStore().create()
    switch("REDIS")
    session = SessionStore()
    session[USER_ID] = user_id
    session.save()
    assert len(sessions.of(user_id)) == 1
