"""What the site tells browsers in headers and cookies. What a browser makes of it: tests/browser/test_production."""

from __future__ import annotations

from http.cookies import Morsel
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.db import DatabaseError
from django.test import AsyncClient, Client
from django.urls import reverse
from pytest_django import Settings

from sessionpersist.handover import logouts
from tests.outage.flaky import flaky_site

EARLIER, NAME = "sessionid", "__Host-sessionid"
POLICY = "Content-Security-Policy"
CLEAR = "Clear-Site-Data"

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create_superuser("ada")


@pytest.fixture
def client(user: User) -> Client:
    """A browser of a logged-in user; errors are answers to it, not exceptions."""
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


@pytest.fixture
def renamed(client: Client, settings: Settings) -> Client:
    """The same browser after an upgrade in which the session cookie got another name."""
    assert list(client.cookies) == [EARLIER]
    settings.SESSION_COOKIE_NAME, settings.EARLIER_SESSION_COOKIE = NAME, EARLIER
    return client


def is_deletion(cookie: Morsel[str]) -> bool:
    return bool(cookie["max-age"] == 0)


def is_logged_in(client: Client) -> bool:
    return "You are logged in as" in client.get("/").content.decode()


# --- Policy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/", "/login/", "/healthz", "/missing", "/admin/", "/admin/missing/"])
def test_every_answer_has_a_policy_that_allows_nothing_inline(client: Client, address: str) -> None:
    policy = client.get(address)[POLICY]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy


@pytest.mark.urls("tests.site.failing_urls")
def test_with_debug_the_report_of_a_crash_may_use_its_inline_style(
    client: Client, settings: Settings
) -> None:
    assert POLICY in client.get("/broken")
    settings.DEBUG = True
    response = client.get("/broken")
    assert "<style" in response.content.decode()
    assert POLICY not in response


def test_the_page_about_an_outage_has_nothing_inline(client: Client, tmp_path: Path) -> None:
    with flaky_site(tmp_path) as store:
        store.down = True
        response = client.get("/")
    assert (response.status_code, POLICY in response) == (503, True)
    page = response.content.decode()
    assert "If you were logged in, you still are" in page
    assert "<style" not in page
    assert "by command" not in page  # what failed is for staff


# --- Clear-Site-Data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["logout", "admin:logout"])
def test_a_logout_clears_cache_and_storage_and_no_cookies_of_others(client: Client, name: str) -> None:
    assert CLEAR not in client.get("/")
    assert client.post(reverse(name))[CLEAR] == '"cache", "storage"'
    client.cookies.clear()  # as a browser has done
    assert CLEAR not in client.get("/")


def test_a_session_that_was_ended_elsewhere_clears_them_too(client: Client) -> None:
    session: SessionBase = client.session
    session.delete()
    assert CLEAR in client.get("/")


def test_a_logout_that_was_not_possible_clears_nothing(
    client: Client, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(alias: str, key: str) -> None:
        raise DatabaseError

    with flaky_site(tmp_path) as store:
        client.force_login(user)
        store.down = True
        with monkeypatch.context() as patch:
            patch.setattr(
                logouts, "_write", fails
            )  # the site's database, which would know of it, is down, too
            response = client.post(reverse("logout"))
        store.down = False
        assert (response.status_code, CLEAR in response) == (503, False)
        assert is_logged_in(client)


def test_a_logout_in_an_outage_clears_them_as_any_other(client: Client, user: User, tmp_path: Path) -> None:
    with flaky_site(tmp_path) as store:
        client.force_login(user)
        store.down = True
        response = client.post(reverse("logout"))
    assert (response.status_code, CLEAR in response) == (302, True)


def test_under_asgi_the_answers_are_the_same(user: User) -> None:
    async def log_in_and_out() -> list[bool]:
        client = AsyncClient()
        await client.aforce_login(user)
        return [POLICY in await client.get("/"), CLEAR in await client.post(reverse("logout"))]

    assert async_to_sync(log_in_and_out)() == [True, True]


# --- The session cookie has another name ----------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/", "/admin/", "/healthz"])
def test_a_session_moves_to_the_new_name_of_its_cookie(renamed: Client, address: str) -> None:
    key = renamed.cookies[EARLIER].value
    response = renamed.get(address)
    assert response.status_code == 200
    assert response.cookies[NAME].value == key
    assert is_deletion(response.cookies[EARLIER])
    del renamed.cookies[EARLIER]
    assert is_logged_in(renamed)
    assert NAME not in renamed.get("/healthz").cookies


def test_without_the_setting_the_earlier_name_is_not_read(renamed: Client, settings: Settings) -> None:
    settings.EARLIER_SESSION_COOKIE = ""
    assert not is_logged_in(renamed)


def test_the_setting_without_a_new_name_changes_nothing(client: Client, settings: Settings) -> None:
    settings.EARLIER_SESSION_COOKIE = settings.SESSION_COOKIE_NAME
    assert is_logged_in(client)
    assert not client.get("/healthz").cookies


def test_a_cookie_of_the_new_name_wins_over_one_that_another_host_planted(
    renamed: Client,
) -> None:
    assert is_logged_in(renamed)
    planted = Client()
    planted.force_login(User.objects.create_user("mallory"))
    renamed.cookies[EARLIER] = planted.cookies[NAME].value
    assert 'You are logged in as <span id="user">ada<' in renamed.get("/").content.decode()


@pytest.mark.parametrize(("address", "status"), [("/", 200), ("/admin/", 302), ("/healthz", 200)])
def test_an_earlier_cookie_without_a_session_is_deleted(renamed: Client, address: str, status: int) -> None:
    renamed.cookies[EARLIER] = "a" * 32
    response = renamed.get(address)
    assert response.status_code == status
    assert is_deletion(response.cookies[EARLIER])
    assert is_deletion(response.cookies[NAME])


@pytest.mark.urls("tests.site.failing_urls")
def test_no_report_of_a_crash_shows_the_key_under_the_earlier_name(
    renamed: Client, settings: Settings
) -> None:
    settings.DEBUG = True
    key = renamed.cookies[EARLIER].value
    report = renamed.get("/broken").content.decode()
    assert "<style" in report
    assert key not in report


def test_a_logout_ends_a_session_that_came_under_the_earlier_name(renamed: Client) -> None:
    key = renamed.cookies[EARLIER].value
    response = renamed.post(reverse("logout"))
    assert is_deletion(response.cookies[EARLIER])
    assert is_deletion(response.cookies[NAME])
    stale: Any = Client()
    stale.cookies[EARLIER] = key
    assert not is_logged_in(stale)


def test_in_an_outage_the_earlier_cookie_stays(renamed: Client, user: User, tmp_path: Path) -> None:
    with flaky_site(tmp_path) as store:
        renamed.force_login(user)
        renamed.cookies[EARLIER] = renamed.cookies.pop(NAME).value
        store.down = True
        response = renamed.get("/")
        assert (response.status_code, dict(response.cookies)) == (503, {})
        store.down = False
        assert is_logged_in(renamed)
