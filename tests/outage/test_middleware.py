"""An outage is a 503 with Retry-After wherever it happens; the cookie stays, and nobody is told to log in."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.signals import request_finished
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.utils import timezone

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.models import PendingLogout
from sessionpersist.session.sealing import stored_key

from .flaky import FlakyStore, flaky_site
from .urls import opened

MIDDLEWARE = [
    "sessionpersist.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tests.outage.urls.TouchingMiddleware",
]
DJANGOS_MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware", *MIDDLEWARE[1:]]
PLACES = ["read", "write", "swallow", "template", "deferred", "before", "after", "async-read", "async-write"]

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.outage.urls")]


class OutermostMiddleware:
    """Notes when an answer comes out of all other middleware."""

    seen: ClassVar[list[str]] = []

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        self.seen.append("answered")
        return response


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FlakyStore]:
    with override_settings(MIDDLEWARE=MIDDLEWARE), flaky_site(tmp_path) as flaky:
        yield flaky


@pytest.fixture
def client(store: FlakyStore) -> Client:
    """A browser of a logged-in user; errors are answers to it, not exceptions."""
    User.objects.create_user("ada")
    client = Client(raise_request_exception=False)
    assert client.post("/login/").content == b"logged in"
    return client


def cookie(client: Client) -> str:
    return str(client.cookies[settings.SESSION_COOKIE_NAME].value)


def is_unavailable(response: Any) -> bool:
    """A 503 that says when to come back, leaves the cookie alone, and is kept by no cache."""
    if response.status_code != 503 or response.cookies:
        return False
    return int(response["Retry-After"]) > 0 and response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_an_outage_anywhere_is_503_and_the_user_is_logged_in_afterwards(
    client: Client, store: FlakyStore, place: str, debug: bool
) -> None:
    before = cookie(client)
    with override_settings(DEBUG=debug):
        store.down = True
        assert is_unavailable(client.get(f"/{place}/"))
        store.down = False
    assert cookie(client) == before
    wait_for_breaker(store)
    assert client.get("/read/").content != b"user nobody"


@pytest.mark.parametrize("place", PLACES)
def test_the_async_stack_answers_the_same(client: Client, store: FlakyStore, place: str) -> None:
    browser = AsyncClient(raise_request_exception=False)
    browser.cookies = client.cookies
    store.down = True
    assert is_unavailable(asyncio.run(browser.get(f"/{place}/")))


def test_a_page_of_the_projects_own_that_says_when_to_come_back_is_kept(
    client: Client, store: FlakyStore
) -> None:
    store.down = True
    response = client.get("/own/", {"Retry-After": "7"})
    assert (response.status_code, response["Retry-After"], response.content) == (503, "7", b"our own page")
    assert b"our own page" not in client.get("/own/").content
    assert is_unavailable(client.get("/own/"))


def test_an_outage_that_begins_with_the_save_is_503(client: Client, store: FlakyStore) -> None:
    refuse = lambda *arguments: (_ for _ in ()).throw(StoreUnavailable("down"))  # noqa: E731
    store.replace = refuse  # type: ignore[method-assign]
    assert is_unavailable(client.get("/write/"))


def test_a_request_whose_answer_is_replaced_finishes_once_and_last(client: Client, store: FlakyStore) -> None:
    """When it has finished, Django gives connections to databases back: middleware outside ours may need them yet."""

    def finished(**arguments: Any) -> None:
        OutermostMiddleware.seen.append("finished")

    browser = Client(raise_request_exception=False)  # whose first request loads the middleware
    browser.cookies = client.cookies
    store.down = True
    OutermostMiddleware.seen.clear()
    request_finished.connect(finished)
    try:
        with override_settings(MIDDLEWARE=[f"{__name__}.OutermostMiddleware", *MIDDLEWARE]):
            assert is_unavailable(browser.get("/swallow/"))
    finally:
        request_finished.disconnect(finished)
    assert OutermostMiddleware.seen == ["answered", "finished"]


def test_what_a_replaced_answer_had_open_is_closed(client: Client, store: FlakyStore) -> None:
    store.down = True
    assert is_unavailable(client.get("/download/"))
    assert opened.pop().closed


def test_a_page_without_the_session_is_served_and_the_store_not_asked(
    client: Client, store: FlakyStore
) -> None:
    store.down = True
    store.calls.clear()
    assert client.get("/static/").content == b"no session here"
    assert store.calls == []


def test_a_login_in_an_outage_is_503_and_works_afterwards(store: FlakyStore) -> None:
    User.objects.create_user("ada")
    client = Client(raise_request_exception=False)
    store.down = True
    assert is_unavailable(client.post("/login/"))
    store.down = False
    assert client.post("/login/").content == b"logged in"
    assert client.get("/read/").content != b"user nobody"


@pytest.mark.parametrize("place", ["logout", "async-logout", "named-logout"])
def test_a_logout_in_an_outage_holds(client: Client, store: FlakyStore, place: str) -> None:
    thief = cookie(client)
    store.down = True
    response = client.post(f"/{place}/")
    assert response.content == b"logged out"
    assert response.cookies[settings.SESSION_COOKIE_NAME]["max-age"] == 0
    store.down = False
    wait_for_breaker(store)
    client.cookies[settings.SESSION_COOKIE_NAME] = thief
    assert client.get("/read/").content == b"user nobody"


def test_a_logout_in_an_outage_is_written_down_without_the_key(client: Client, store: FlakyStore) -> None:
    key, store.down = cookie(client), True
    client.post("/logout/")
    [noted] = PendingLogout.objects.all()
    assert noted.stored_key == stored_key(key)
    assert key not in repr(noted.__dict__)
    assert noted.ends_at > timezone.now()


@pytest.mark.django_db(transaction=True)
def test_a_logout_that_can_be_written_down_nowhere_never_pretends(
    client: Client, store: FlakyStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sessionpersist.audit")
    store.down = True
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE sessionpersist_pendinglogout RENAME TO away")
    assert is_unavailable(client.post("/logout/"))
    assert not [each for each in caplog.records if each.name == "sessionpersist.audit"]
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE away RENAME TO sessionpersist_pendinglogout")
    store.down = False
    wait_for_breaker(store)
    assert client.get("/read/").content != b"user nobody"
    assert client.post("/logout/").content == b"logged out"
    assert client.get("/read/").content == b"user nobody"


def test_another_page_in_an_outage_logs_nobody_out(client: Client, store: FlakyStore) -> None:
    store.down = True
    assert is_unavailable(client.post("/read/"))
    assert is_unavailable(client.get("/named-logout/"))
    assert not PendingLogout.objects.exists()


def test_a_client_that_prefers_json_gets_json(client: Client, store: FlakyStore) -> None:
    store.down = True
    response = client.get("/read/", headers={"accept": "application/json"})
    assert is_unavailable(response)
    assert json.loads(response.content)["error"] == "session_store_unavailable"


def test_a_browser_gets_a_page_that_says_what_happened(client: Client, store: FlakyStore) -> None:
    store.down = True
    page = client.get("/read/", headers={"accept": "text/html,*/*;q=0.8"}).content.decode()
    assert "If you were logged in, you still are" in page
    assert "by command" not in page  # what failed is for staff


def test_a_project_may_give_its_own_page(client: Client, store: FlakyStore) -> None:
    engine = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {"loaders": [("django.template.loaders.locmem.Loader", {"503.html": "our own page"})]},
    }
    store.down = True
    with override_settings(TEMPLATES=[engine]):
        assert client.get("/read/").content == b"our own page"


def test_no_line_a_request_is_logged(
    client: Client, store: FlakyStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.down = True
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            client.get("/read/")
    assert [record.name for record in caplog.records] == ["sessionpersist"]


@pytest.mark.parametrize("place", ["read", "write", "template", "deferred", "before", "after", "async-read"])
def test_with_djangos_own_middleware_an_outage_is_500_and_the_cookie_stays(
    client: Client, store: FlakyStore, place: str
) -> None:
    before = cookie(client)
    plain = Client(raise_request_exception=False)  # a client loads the middleware with its first request
    plain.cookies = client.cookies
    with override_settings(MIDDLEWARE=DJANGOS_MIDDLEWARE):
        store.down = True
        response = plain.get(f"/{place}/")
        store.down = False
        assert response.status_code == 500
        assert not response.cookies
        wait_for_breaker(store)
        assert plain.get("/read/").content != b"user nobody"
    assert cookie(plain) == before


def wait_for_breaker(store: FlakyStore) -> None:
    """Let the breaker's pause pass at once."""
    assert store.breaker is not None
    store.breaker._open_until = None
