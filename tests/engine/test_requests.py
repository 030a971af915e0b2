"""The engine under Django's middleware, django.contrib.auth and the messages framework, through the test client."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import AsyncClient, Client
from pytest_django import Settings

from sessionpersist.engine import SessionStore
from sessionpersist.roster.records import recorded_user
from tests.engine.support import in_event_loop, key_of, record_of

COOKIE = django_settings.SESSION_COOKIE_NAME
PASSWORD = "correct horse battery staple"

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls("tests.engine.urls"),
    pytest.mark.usefixtures("in_memory"),
]


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ada", password=PASSWORD)


def post_login(client: Client) -> HttpResponse:
    response: Any = client.post("/login/", {"username": "ada", "password": PASSWORD})
    assert response.status_code == 302
    return response  # type: ignore[no-any-return]


def session_of(client: Client) -> SessionStore:
    """The session that the client's cookie leads to, read again."""
    return SessionStore(client.cookies[COOKIE].value)


def text(response: Any) -> str:
    return str(response.content.decode())


def test_page_without_session_sets_no_cookie(client: Client) -> None:
    assert COOKIE not in client.get("/ignore/").cookies
    assert COOKIE not in client.get("/whoami/").cookies


def test_session_goes_on_from_request_to_request(client: Client) -> None:
    assert [text(client.get("/visit/")) for _ in range(3)] == ["1", "2", "3"]


@in_event_loop
async def test_session_goes_on_in_async_views_and_from_there_to_sync_ones() -> None:
    client = AsyncClient()
    assert [text(await client.get(page)) for page in ("/async/", "/visit/", "/async/")] == ["1", "2", "3"]


def test_login_moves_what_an_anonymous_user_gathered_to_a_new_key(client: Client, user: User) -> None:
    client.get("/visit/")
    anonymous = session_of(client)
    post_login(client)
    assert session_of(client).session_key != anonymous.session_key
    assert not SessionStore().exists(key_of(anonymous))
    assert text(client.get("/whoami/")) == "ada"
    assert text(client.get("/visit/")) == "2"


def test_login_of_another_user_takes_nothing_of_the_first_one_along(client: Client, user: User) -> None:
    other = User.objects.create_user("bob")
    client.force_login(user)
    client.get("/visit/")
    client.force_login(other)
    assert text(client.get("/visit/")) == "1"


def test_record_names_the_user_by_a_keyed_hash(client: Client, user: User) -> None:
    post_login(client)
    record = record_of(session_of(client))
    assert record is not None
    assert record.user_id == recorded_user(user.pk)


def test_logout_ends_the_session_and_takes_the_cookie_away(client: Client, user: User) -> None:
    client.force_login(user)
    session = session_of(client)
    response = client.post("/logout/")
    assert response.cookies[COOKIE]["max-age"] == 0
    assert not SessionStore().exists(key_of(session))
    client.cookies[COOKIE] = key_of(session)  # the cookie of a thief, who kept it
    assert text(client.get("/whoami/")) == ""


def test_logout_of_the_test_client_ends_the_session(client: Client, user: User) -> None:
    client.force_login(user)
    session = session_of(client)
    client.logout()
    assert not SessionStore().exists(key_of(session))


def test_password_change_keeps_this_session_and_ends_the_others(client: Client, user: User) -> None:
    elsewhere = Client()
    elsewhere.force_login(user)
    client.force_login(user)
    before = session_of(client)
    new = {"new_password1": "another long pass phrase", "new_password2": "another long pass phrase"}
    assert client.post("/password/", {"old_password": PASSWORD, **new}).status_code == 302
    assert text(client.get("/whoami/")) == "ada"
    assert session_of(client).session_key != before.session_key
    assert text(elsewhere.get("/whoami/")) == ""


def test_messages_are_kept_in_the_session_and_shown_once(client: Client, settings: Settings) -> None:
    settings.MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
    client.get("/message/")
    client.get("/message/")
    assert text(client.get("/messages/")) == "Saved. Saved."
    assert text(client.get("/messages/")) == ""


def test_session_of_the_test_client_can_be_read_and_written(client: Client) -> None:
    session = client.session
    session["visits"] = 41
    session.save()
    assert text(client.get("/visit/")) == "42"
    assert client.session["visits"] == 42


def test_session_deleted_in_a_parallel_request_leads_to_the_login_and_stays_deleted(
    client: Client, user: User, settings: Settings
) -> None:
    settings.LOGIN_URL = "/login/"
    client.force_login(user)
    session = session_of(client)
    response = client.get("/overtaken/")
    assert response.status_code == 303
    assert response["Location"] == "/login/?next=%2Fovertaken%2F"
    assert not SessionStore().exists(key_of(session))


def test_page_that_failed_saves_nothing(client: Client) -> None:
    client.get("/visit/")
    assert client.get("/fail/").status_code == 500
    assert text(client.get("/visit/")) == "2"


def test_nested_change_is_saved_with_save_every_request(client: Client, settings: Settings) -> None:
    settings.SESSION_SAVE_EVERY_REQUEST = True
    client.get("/nested/")
    assert client.get("/nested/").json() == ["milk", "milk"]
    assert session_of(client)["cart"] == ["milk", "milk"]


def test_cookie_that_leads_nowhere_is_an_anonymous_user_without_a_cookie(client: Client) -> None:
    client.cookies[COOKIE] = "a-key-that-nobody-has"
    response = client.get("/whoami/")
    assert (response.status_code, text(response)) == (200, "")
    assert not SessionStore().exists("a-key-that-nobody-has")


@pytest.mark.parametrize("cookie", ["x", "ä" * 20, "%00" * 10, "a" * 10_000, "\\000\\377" * 4])
def test_cookie_of_any_characters_is_an_anonymous_user(client: Client, cookie: str) -> None:
    client.cookies[COOKIE] = cookie
    response = client.get("/whoami/")
    assert (response.status_code, text(response)) == (200, "")


def test_engine_is_the_one_that_the_settings_name() -> None:
    assert import_module(django_settings.SESSION_ENGINE).SessionStore is SessionStore
