"""Whatever a view does to a session that gets a new key: in the end it is as if the session had moved at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.auth import login, logout
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionpersist.engine import SessionStore
from sessionpersist.middleware import SessionMiddleware
from tests.engine.support import key_of, new_session, patiently
from tests.engine.test_requests import COOKIE
from tests.sizes import examples

BACKEND = "django.contrib.auth.backends.ModelBackend"
Steps = list[str]


def log_in(name: str) -> Callable[[HttpRequest, str], object]:
    return lambda request, old_key: login(request, User.objects.get(username=name), BACKEND)


# What a view may do, with the request and the key that the browser came with.
STEPS: dict[str, Callable[[Any, str], object]] = {
    "log ada in": log_in("ada"),
    "log bob in": log_in("bob"),
    "log out": lambda request, old_key: logout(request),
    "get a new key": lambda request, old_key: request.session.cycle_key(),
    "change": lambda request, old_key: request.session.update({"dog": "rex"}),
    "clear": lambda request, old_key: request.session.clear(),
    "save": lambda request, old_key: request.session.save(),
    "create": lambda request, old_key: request.session.create(),
    "delete": lambda request, old_key: request.session.delete(),
    "flush": lambda request, old_key: request.session.flush(),
    "ask for the key": lambda request, old_key: request.session.session_key,
    "delete the old key": lambda request, old_key: request.session.delete(old_key),
    "delete the old key elsewhere": lambda request, old_key: SessionStore(old_key).delete(),
}


class AtOnce(SessionStore):
    """A session that moves with ``cycle_key()``."""

    @property
    def saved_with_response(self) -> bool:
        return False

    @saved_with_response.setter
    def saved_with_response(self, value: bool) -> None:
        pass


def served(engine: type[SessionStore], visited: bool, steps: Steps) -> tuple[str | None, str | None, Any]:
    """Serve a request that takes these steps. Return the key that the browser came with, the one that it has then, and
    what lies under that."""
    old_key = key_of(new_session(cat="tabby")) if visited else None
    request: Any = RequestFactory().get("/")
    request.user = AnonymousUser()
    if old_key:
        request.COOKIES[COOKIE] = old_key

    def view(request: HttpRequest) -> HttpResponse:
        for step in steps:
            with suppress(CreateError, UpdateError):
                STEPS[step](request, old_key or "a-key-that-nobody-has")
        return HttpResponse()

    middleware: Any = SessionMiddleware(view)
    middleware.SessionStore = engine
    sent = middleware(request).cookies.get(COOKIE)
    key = (sent.value or None) if sent else old_key
    return old_key, key, dict(SessionStore(key).items()) if key else {}


@pytest.mark.django_db
@pytest.mark.usefixtures("in_memory")
class TestAtRandom:
    @pytest.fixture(autouse=True)
    def users(self) -> None:
        for name in ("ada", "bob"):
            User.objects.create_user(name)

    @settings(patiently, max_examples=examples(10))
    @given(st.booleans(), st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6))
    def test_it_is_as_if_it_had_moved_at_once(self, visited: bool, steps: Steps) -> None:
        _, _, at_once = served(AtOnce, visited, steps)
        old_key, key, found = served(SessionStore, visited, steps)
        # Whoever has asked for the key has had the user saved under it, and what is deleted then is never revived. A
        # session that moves at once is nobody's at that time.
        was_deleted = found == {} and {"delete", "ask for the key"} <= set(steps)
        assert found == at_once or was_deleted
        if USER_ID in found:
            assert key != old_key
            assert USER_ID not in SessionStore(old_key)
