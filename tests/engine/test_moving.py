"""Requests in which the session gets a new key: it is saved once, and whoever asks before that is told no lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.auth import login, user_logged_in
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from pytest_django import Settings

from sessionpersist import receivers, sessions
from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import routing
from sessionpersist.stores.base import Outcome, Saving
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


def delete_the_old_one_too(request: HttpRequest) -> HttpResponse:
    """As a project does that trusts nobody."""
    old_key = request.session.session_key
    log_in(request)
    request.session.delete(old_key)
    return HttpResponse()


def delete_the_old_one_elsewhere(request: HttpRequest) -> HttpResponse:
    old_key = request.session.session_key
    log_in(request)
    SessionStore(old_key).delete()
    return HttpResponse()


def log_in_and_delete(request: HttpRequest) -> HttpResponse:
    log_in(request)
    request.session.delete()
    return HttpResponse()


def miss_another(request: HttpRequest) -> HttpResponse:
    """Log in, and then save another session, which is gone."""
    log_in(request)
    other = SessionStore(key_of(new_session(cat="tabby")))
    other["cat"] = "siamese"
    SessionStore(other.session_key).delete()
    other.save()
    return HttpResponse()


def log_another_in(request: HttpRequest) -> HttpResponse:
    request.session.cycle_key()
    login(request, User.objects.get(username="bob"), "django.contrib.auth.backends.ModelBackend")
    return HttpResponse()


def answer_500(request: HttpRequest) -> HttpResponse:
    log_in(request)
    return HttpResponse(status=500)


urlpatterns = [
    *urls.urlpatterns,
    path("key/", key_after_login),
    path("async-key/", key_after_async_login),
    path("fail-after-login/", fail),
    path("cycle/", only_cycle),
    path("delete-too/", delete_the_old_one_too),
    path("delete-elsewhere/", delete_the_old_one_elsewhere),
    path("log-in-and-delete/", log_in_and_delete),
    path("miss-another/", miss_another),
    path("500/", answer_500),
    path("another/", log_another_in),
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


def logs_the_key(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """A middleware outside ours, as for a log of all requests."""

    def middleware(request: Any) -> HttpResponse:
        response = get_response(request)
        request.logged = request.session.session_key
        return response

    return middleware


def logged(client: Client, settings: Settings) -> Client:
    """The same browser, on a site with such a middleware."""
    settings.MIDDLEWARE = [f"{__name__}.logs_the_key", *settings.MIDDLEWARE]
    again = Client()
    again.cookies = client.cookies
    return again


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

    def test_an_async_view_in_the_transaction_of_a_test_finds_it_there(self, visitor: Client) -> None:
        with transaction.atomic():
            before = cookie(visitor)
            assert text(visitor.get("/async-key/")) == cookie(visitor) != before

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

    @pytest.mark.parametrize("page", ["/delete-too/", "/delete-elsewhere/"])
    @pytest.mark.parametrize("known", [True, False])
    def test_a_view_may_delete_what_lay_under_the_key_before(
        self, visitor: Client, page: str, known: bool
    ) -> None:
        if known:
            post_login(visitor)
        before = cookie(visitor)
        assert visitor.get(page).status_code == 200
        assert text(visitor.get("/whoami/")) == "ada"
        assert not SessionStore().exists(before)

    @pytest.mark.parametrize("visited", [True, False])
    def test_a_login_that_the_view_deletes_is_none(self, client: Client, user: User, visited: bool) -> None:
        if visited:
            client.get("/visit/")
        assert client.get("/log-in-and-delete/").status_code < 500
        assert text(client.get("/whoami/")) == ""

    def test_that_another_session_is_gone_is_a_crash_and_moves_none(self, visitor: Client) -> None:
        before = cookie(visitor)
        with pytest.raises(UpdateError):
            visitor.get("/miss-another/")
        assert text(visitor.get("/visit/")) == "2"
        assert cookie(visitor) == before

    def test_whoever_asks_once_the_request_has_been_served_moves_nothing(
        self, visitor: Client, settings: Settings
    ) -> None:
        before = cookie(visitor)
        response: Any = logged(visitor, settings).get("/500/")
        assert (response.status_code, response.wsgi_request.logged) == (500, before)
        assert text(visitor.get("/visit/")) == "2"

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
        self, client: Client, user: User, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        client.get("/visit/")
        before = cookie(client)
        with monkeypatch.context() as lost:
            lose_the_store(lost)
            assert client.get("/key/").status_code == 503
            client = logged(client, settings)
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


@pytest.mark.usefixtures("own_memory", "in_memory")
def test_a_login_that_is_listed_early_has_its_device_all_the_same(
    client: Client, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another app hears of the login before ours does, and asks for the key."""
    received: list[str | None] = []

    def receive(request: HttpRequest, **kwargs: Any) -> None:
        received.append(request.session.session_key)

    monkeypatch.setattr(user_logged_in, "receivers", [])
    user_logged_in.connect(receive)
    user_logged_in.connect(receivers.pass_on_login)
    client.get("/visit/")
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
    client.get("/key/", headers={"user-agent": firefox})
    assert received == [cookie(client)]
    assert "Firefox" in sessions.of(user)[0].device


@pytest.mark.usefixtures("own_memory", "in_memory")
def test_another_user_may_log_in_after_the_session_has_moved(client: Client, user: User) -> None:
    other = User.objects.create_user("bob")
    post_login(client)
    assert client.get("/another/").status_code == 200
    assert text(client.get("/whoami/")) == "bob"
    assert [len(sessions.of(each)) for each in (user, other)] == [0, 1]


@pytest.mark.usefixtures("own_memory", "in_memory")
def test_a_limit_that_comes_during_a_login_counts_it_once(user: User) -> None:
    session = SessionStore(key_of(new_session(cat="tabby")))
    session.saved_with_response = True
    session.cycle_key()
    session[USER_ID] = str(user.pk)
    with override_login_configuration(persistence_type="IN_MEMORY", max_sessions=1, at_limit="REFUSE"):
        session.note_login(str(user.pk))
        session.save()
        assert SessionStore(session.session_key)[USER_ID] == str(user.pk)


@pytest.mark.usefixtures("own_memory", "in_memory")
@pytest.mark.parametrize("visited", [True, False])
def test_a_login_whose_answer_was_lost_is_one_all_the_same(
    user: User, monkeypatch: pytest.MonkeyPatch, visited: bool
) -> None:
    session = SessionStore(key_of(new_session(cat="tabby")) if visited else None)
    session.saved_with_response = True
    session.cycle_key()
    session[USER_ID] = str(user.pk)
    store = LosesAnAnswer(routing.current_store())
    monkeypatch.setattr(routing, "current_store", lambda: store)
    session.save()
    assert SessionStore(session.session_key)[USER_ID] == str(user.pk)
    assert len(sessions.of(user)) == 1
    session["dog"] = "rex"
    session.save()
    assert SessionStore(session.session_key)["dog"] == "rex"


class LosesAnAnswer(RecordingStore):
    """A store whose answer to a list and a session does not arrive; both are saved."""

    def save_both(self, first: Saving, second: Saving) -> tuple[Outcome, Outcome | None]:
        self.inner.save_both(first, second)
        raise StoreUnavailable("no answer")


class Lost(RecordingStore):
    """A store that can be read, and not written to."""

    def __getattr__(self, name: str) -> Any:
        if name in ("rotate", "create", "save_both", "replace"):
            raise StoreUnavailable("down")
        return super().__getattr__(name)


def lose_the_store(until_its_end: pytest.MonkeyPatch) -> None:
    store = Lost(routing.current_store())
    until_its_end.setattr(routing, "current_store", lambda: store)
