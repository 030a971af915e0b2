"""Requests in which the session gets a new key: it is saved once, and whoever asks before that is told no lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import routing
from sessionpersist.session.reasons import Reason
from sessionpersist.session.sealing import stored_key
from sessionpersist.stores.base import now_ms
from sessionpersist.testing import override_login_configuration
from tests.engine import urls, views
from tests.engine.support import RecordingStore, key_of, new_session
from tests.engine.test_requests import COOKIE, PASSWORD, post_login, text, user

__all__ = ["user"]


def log_in(request: HttpRequest) -> None:
    login(request, User.objects.get(username="ada"), "django.contrib.auth.backends.ModelBackend")


def key_after_login(request: HttpRequest) -> HttpResponse:
    """As an app does that notes the session of each login; it also looks for it."""
    log_in(request)
    key = request.session.session_key
    return HttpResponse(f"{key} {SessionStore(key).get('visits')}")


async def key_after_async_login(request: HttpRequest) -> HttpResponse:
    await sync_to_async(log_in)(request)
    return HttpResponse(request.session.session_key)


def fail(request: HttpRequest) -> HttpResponse:
    log_in(request)
    raise RuntimeError


def only_cycle(request: HttpRequest) -> HttpResponse:
    request.session.cycle_key()
    return HttpResponse()


def ended_by_then(request: HttpRequest) -> HttpResponse:
    """A slow page, which draws a new key, and during which staff end the session."""
    request.session.cycle_key()
    key = stored_key(request.COOKIES[COOKIE])
    routing.current_store().end(key, now_ms() + 60_000, Reason.BY_STAFF)
    raise UpdateError


urlpatterns = [
    *urls.urlpatterns,
    path("key/", key_after_login),
    path("async-key/", key_after_async_login),
    path("fail-after-login/", fail),
    path("cycle/", only_cycle),
    path("ended/", ended_by_then),
    *(
        path(f"{name}-page/", views.ignore, name=name) for name in ("home", "login")
    ),  # of the pages about errors
]

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db(transaction=True)]


@pytest.fixture(params=["IN_MEMORY", "JDBC"])
def in_force(request: pytest.FixtureRequest) -> Iterator[None]:
    jdbc: dict[str, Any] = {"jdbc_database": "default"} if request.param == "JDBC" else {}
    with override_login_configuration(persistence_type=request.param, **jdbc):
        yield


def cookie(client: Client) -> str:
    return str(client.cookies[COOKIE].value)


@pytest.mark.usefixtures("in_force")
class TestMoving:
    @pytest.fixture
    def visitor(self, client: Client, user: User) -> Client:
        client.get("/visit/")
        return client

    def test_a_view_that_asks_for_the_key_finds_the_session_there(self, visitor: Client) -> None:
        before = cookie(visitor)
        assert text(visitor.get("/key/")) == f"{cookie(visitor)} 1"
        assert cookie(visitor) != before
        assert not SessionStore().exists(before)
        assert text(visitor.get("/whoami/")) == "ada"

    def test_nor_is_an_async_view_told_another(self, visitor: Client) -> None:
        before = cookie(visitor)
        assert text(visitor.get("/async-key/")) == cookie(visitor) != before
        assert text(visitor.get("/whoami/")) == "ada"

    def test_a_crash_after_a_login_leaves_the_visitor_with_what_was_there(self, visitor: Client) -> None:
        before = cookie(visitor)
        visitor.raise_request_exception = False
        assert visitor.get("/fail-after-login/").status_code == 500
        assert cookie(visitor) == before
        assert text(visitor.get("/whoami/")) == ""
        assert text(visitor.get("/visit/")) == "2"

    def test_a_session_that_has_nothing_else_to_save_moves_too(self, visitor: Client) -> None:
        before = cookie(visitor)
        visitor.get("/cycle/")
        assert cookie(visitor) != before
        assert not SessionStore().exists(before)
        assert text(visitor.get("/visit/")) == "2"

    def test_a_visitor_without_a_session_gets_one(self, client: Client, user: User) -> None:
        client.get("/cycle/")
        assert SessionStore().exists(cookie(client))

    def test_a_session_that_was_ended_before_it_moves_is_over(self, client: Client, user: User) -> None:
        post_login(client)
        before = cookie(client)
        assert client.get("/ended/").status_code < 500
        assert not SessionStore().exists(before)
        assert text(client.get("/whoami/")) == ""

    def test_a_new_password_ends_the_key_before(self, client: Client, user: User) -> None:
        post_login(client)
        before, new = cookie(client), "a-new-password-of-twenty"
        fields = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
        assert client.post("/password/", fields).status_code == 302
        assert cookie(client) != before
        assert not SessionStore().exists(before)
        assert text(client.get("/whoami/")) == "ada"


@pytest.mark.usefixtures("own_memory", "in_memory")
class TestOutage:
    def test_a_login_that_can_t_be_saved_is_a_503_and_the_visitor_keeps_the_session(
        self, client: Client, user: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client.get("/visit/")
        before = cookie(client)
        with monkeypatch.context() as lost:
            lose_the_store(lost)
            assert client.get("/key/").status_code == 503
            assert client.post("/login/", {"username": "ada", "password": PASSWORD}).status_code == 503
        assert cookie(client) == before
        assert text(client.get("/visit/")) == "2"

    def test_a_second_try_moves_it_all_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Saved under the key that it had, it would be in the hands of whoever knows that."""
        old_key = key_of(new_session(cat="tabby"))
        session = SessionStore(old_key)
        with monkeypatch.context() as lost:
            lose_the_store(lost)
            with pytest.raises(StoreUnavailable):
                session.cycle_key()
        session["dog"] = "rex"
        session.save()
        assert not SessionStore().exists(old_key)
        assert SessionStore(session.session_key)["cat"] == "tabby"


class Lost(RecordingStore):
    """A store that can be read, and not written to."""

    def __getattr__(self, name: str) -> Any:
        if name in ("rotate", "create", "save_both", "replace"):
            raise StoreUnavailable("down")
        return super().__getattr__(name)


def lose_the_store(until_its_end: pytest.MonkeyPatch) -> None:
    store = Lost(routing.current_store())
    until_its_end.setattr(routing, "current_store", lambda: store)
