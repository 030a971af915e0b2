"""A login has a key that nobody knew before; logins, logouts and other ends are a line each in the audit log."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.contrib.auth import alogin, login, user_logged_in
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path

from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.session.sealing import stored_key
from tests.engine import urls
from tests.engine.support import RecordingStore, in_event_loop, key_of, new_session
from tests.engine.test_requests import COOKIE, PASSWORD, post_login, session_of, text, user
from tests.telemetry.reading import sentences

__all__ = ["user"]


async def log_in(request: HttpRequest) -> HttpResponse:
    await alogin(
        request, await User.objects.aget(username="ada"), "django.contrib.auth.backends.ModelBackend"
    )
    return HttpResponse()


def fail_after_login(request: HttpRequest) -> HttpResponse:
    login(request, User.objects.get(username="ada"), "django.contrib.auth.backends.ModelBackend")
    return HttpResponse(status=500)


def by_token(request: HttpRequest) -> HttpResponse:
    """An API logs a user in without the session, and says so as Django does."""
    ada = User.objects.get(username="ada")
    user_logged_in.send(type(ada), request=request, user=ada)
    return HttpResponse()


urlpatterns = [
    *urls.urlpatterns,
    path("alogin/", log_in),
    path("fail-after-login/", fail_after_login),
    path("token/", by_token),
]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__), pytest.mark.usefixtures("in_memory")]


class TestNewKey:
    def test_same_user_who_logs_in_again_has_a_new_key_and_keeps_the_content(
        self, client: Client, user: User
    ) -> None:
        post_login(client)
        client.get("/visit/")
        before = session_of(client)
        post_login(client)
        assert session_of(client).session_key != before.session_key
        assert not SessionStore().exists(before.session_key)
        assert text(client.get("/whoami/")) == "ada"
        assert text(client.get("/visit/")) == "2"

    def test_who_knew_the_key_before_is_out(self, client: Client, user: User) -> None:
        post_login(client)
        thief = Client()
        thief.cookies[COOKIE] = client.cookies[COOKIE].value
        late = session_of(client)
        late["draft"] = "of the thief"
        post_login(client)
        assert text(thief.get("/whoami/")) == ""
        with pytest.raises(UpdateError):
            late.save()

    def test_login_by_the_test_client_has_a_new_key_each_time(self, client: Client, user: User) -> None:
        keys = set()
        for _ in range(3):
            client.force_login(user)
            keys.add(session_of(client).session_key)
            assert text(client.get("/whoami/")) == "ada"
        assert len(keys) == 3

    def test_login_in_an_event_loop_has_a_new_key_too(self, client: Client, user: User) -> None:
        client.force_login(user)
        before = key_of(session_of(client))

        @in_event_loop
        async def again() -> None:
            browser: Any = AsyncClient()
            browser.cookies[COOKIE] = before
            assert (await browser.get("/alogin/")).status_code == 200
            after = browser.cookies[COOKIE].value
            assert after != before
            assert await SessionStore().aexists(after)
            assert not await SessionStore().aexists(before)

        again()

    def test_second_login_of_the_same_user_is_two_round_trips_more_than_the_first(
        self, client: Client, user: User, asked: list[str]
    ) -> None:
        client.get("/visit/")
        asked.clear()
        post_login(client)
        first = asked[:]
        asked.clear()
        post_login(client)
        # Its new key is listed before the session moves there.
        assert (len(first), len(asked)) == (3, 5)

    def test_login_by_a_token_leaves_the_session_alone_and_unread(
        self, client: Client, user: User, asked: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "sessionpersist.audit")
        client.get("/visit/")
        asked.clear()
        response = client.get("/token/")
        assert asked == []
        assert "Cookie" not in response.get("Vary", "")
        assert caplog.records == []

    def test_login_without_a_request_or_a_session_is_no_error(self, user: User) -> None:
        for request in (None, RequestFactory().get("/")):
            user_logged_in.send(User, request=request, user=user)


class TestAudit:
    @pytest.fixture(autouse=True)
    def lines(self, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
        caplog.set_level(logging.INFO, "sessionpersist.audit")
        return caplog

    def said(self, lines: pytest.LogCaptureFixture) -> list[str]:
        """What was logged since the last time."""
        found = sentences(each.getMessage() for each in lines.records if each.name == "sessionpersist.audit")
        lines.clear()
        return found

    def test_login_and_logout_are_a_line_each_with_the_session_and_the_user(
        self, client: Client, user: User, lines: pytest.LogCaptureFixture
    ) -> None:
        post_login(client)
        key = digits(session_of(client))
        assert self.said(lines) == [f"login: session {key}, user {user.pk}"]
        client.get("/visit/")
        assert self.said(lines) == []
        client.post("/logout/")
        assert self.said(lines) == [f"logout: session {key}, user {user.pk}"]

    def test_session_that_moves_with_a_login_can_be_followed(
        self, client: Client, user: User, lines: pytest.LogCaptureFixture
    ) -> None:
        client.get("/visit/")
        anonymous = digits(session_of(client))
        post_login(client)
        first = digits(session_of(client))
        assert self.said(lines) == [
            f"new key: session {anonymous} is now {first}",
            f"login: session {first}, user {user.pk}",
        ]
        post_login(client)
        second = digits(session_of(client))
        assert sorted(self.said(lines)) == [
            f"login: session {second}, user {user.pk}",
            f"new key: session {first} is now {second}",
        ]

    def test_login_of_another_user_ends_the_session_of_the_first(
        self, client: Client, user: User, lines: pytest.LogCaptureFixture
    ) -> None:
        client.force_login(user)
        first = digits(session_of(client))
        self.said(lines)
        client.force_login(other := User.objects.create_user("bob"))
        second = digits(session_of(client))
        assert self.said(lines) == [f"ended: session {first}", f"login: session {second}, user {other.pk}"]

    def test_change_of_the_password_is_a_new_key_and_no_login(
        self, client: Client, user: User, lines: pytest.LogCaptureFixture
    ) -> None:
        client.force_login(user)
        before = digits(session_of(client))
        self.said(lines)
        new = {"new_password1": "another long pass phrase", "new_password2": "another long pass phrase"}
        client.post("/password/", {"old_password": PASSWORD, **new})
        assert self.said(lines) == [f"new key: session {before} is now {digits(session_of(client))}"]

    def test_end_without_a_logout_is_a_line(self, lines: pytest.LogCaptureFixture) -> None:
        flushed, deleted = new_session(cat="tabby"), new_session(cat="tabby")
        expected = [f"ended: session {digits(each)}" for each in (flushed, deleted)]
        flushed.flush()
        SessionStore().delete(deleted.session_key)
        assert self.said(lines) == expected

    def test_end_of_what_was_not_there_is_no_line(self, lines: pytest.LogCaptureFixture) -> None:
        SessionStore().delete("a-key-that-nobody-has")
        SessionStore().delete(None)
        SessionStore("a-key-that-nobody-has").flush()
        assert self.said(lines) == []

    def test_logout_of_nobody_is_the_end_of_a_session(
        self, client: Client, lines: pytest.LogCaptureFixture
    ) -> None:
        client.get("/visit/")
        key = digits(session_of(client))
        client.post("/logout/")
        assert self.said(lines) == [f"ended: session {key}"]

    def test_login_that_was_not_saved_is_no_line(
        self, client: Client, user: User, lines: pytest.LogCaptureFixture
    ) -> None:
        client.get("/fail-after-login/")
        assert not [line for line in self.said(lines) if line.startswith("login")]

    def test_logout_that_is_written_down_as_the_store_is_down_has_its_line(
        self,
        client: Client,
        user: User,
        asked: list[str],
        lines: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        client.force_login(user)
        key = digits(session_of(client))
        self.said(lines)

        def down(*arguments: Any) -> Any:
            raise StoreUnavailable("down")

        monkeypatch.setattr(RecordingStore, "delete", down, raising=False)
        assert client.post("/logout/").status_code == 302
        assert self.said(lines) == [f"logout: session {key}, user {user.pk}"]

    def test_user_of_any_id_is_one_printable_line(self, lines: pytest.LogCaptureFixture) -> None:
        session = SessionStore()
        session["_auth_user_id"] = "7\nlogin: session 0123456789ab, user 1"
        session.note_login(session["_auth_user_id"])
        session.save()
        session.note_logout(session["_auth_user_id"])
        session.flush()
        said = self.said(lines)
        assert len(said) == 2
        assert all("user sha256:" in line and line.isprintable() for line in said)

    def test_no_line_leads_to_a_cookie(
        self, client: Client, user: User, lines: pytest.LogCaptureFixture
    ) -> None:
        client.get("/visit/")
        keys = [key_of(session_of(client))]
        post_login(client)
        keys.append(key_of(session_of(client)))
        client.post("/logout/")
        said = self.said(lines)
        assert said
        for key in keys:
            assert key not in str(said)
            assert stored_key(key)[:13] not in str(said)


def digits(session: SessionStore) -> str:
    return stored_key(key_of(session))[:12]
