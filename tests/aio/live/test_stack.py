"""Other middleware of an async site, above the session's and below it, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib import auth
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import AsyncClient
from django.urls import reverse
from django.utils.decorators import async_only_middleware, sync_only_middleware
from pytest_django import Settings

from sessionpersist.middleware import SessionMiddleware
from sessionpersist.testing import override_login_configuration
from tests.aio.live.pages import BACKEND
from tests.outage.flaky import FlakyStore, flaky_site

Handler = Callable[[HttpRequest], Awaitable[HttpResponseBase]]

OURS = "sessionpersist.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
HERE = __name__

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.aio.live.pages")]


@async_only_middleware
def counting(get_response: Handler) -> Handler:
    """Counts in the session before the view and after it."""

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        await request.session.aset("before", await request.session.aget("before", 0) + 1)
        response = await get_response(request)
        await request.session.aset("after", await request.session.aget("after", 0) + 1)
        response["Counted"] = f"{request.session['before']} {request.session['after']}"
        return response

    return middleware


@sync_only_middleware
def in_a_thread(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Reads the session before the view and after it, in a thread."""

    def middleware(request: HttpRequest) -> HttpResponse:
        before = request.session.get("after", 0)
        response = get_response(request)
        response["Seen"] = f"{before} {request.session.get('after', 0)}"
        return response

    return middleware


@async_only_middleware
def naming(get_response: Handler) -> Handler:
    """Says who is logged in, once the view has answered."""

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        await request.auser()
        response = await get_response(request)
        response["User"] = (await request.auser()).get_username()
        return response

    return middleware


@async_only_middleware
def signing_on(get_response: Handler) -> Handler:
    """Logs whoever comes in by itself, as single sign-on does."""

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        user, _ = await User.objects.aget_or_create(username="ada")
        if not (await request.auser()).is_authenticated:
            await auth.alogin(request, user, backend=BACKEND)
        return await get_response(request)

    return middleware


class Asking(SessionMiddleware):
    """A project's own, which asks a database on its way in and out."""

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        request.META["users"] = User.objects.count()

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response = super().process_response(request, response)
        response["Users"] = f"{request.META['users']} {User.objects.count()}"
        return response


@pytest.fixture(autouse=True)
def in_memory() -> Iterator[None]:
    with override_login_configuration(persistence_type="IN_MEMORY"):
        yield


def answers(*paths: str) -> list[Any]:
    """Post to these pages in turn, as one browser."""

    async def ask() -> list[Any]:
        client = AsyncClient(raise_request_exception=False)  # a middleware that is refused raises
        return [await client.post(path) for path in paths]

    return asyncio.run(ask())


@pytest.mark.parametrize("below", [[f"{HERE}.in_a_thread", f"{HERE}.counting"], [f"{HERE}.counting"]])
def test_async_middleware_uses_the_session_before_and_after_the_view(
    below: list[str], settings: Settings
) -> None:
    settings.MIDDLEWARE = [OURS, *below, AUTHENTICATION]
    found = answers("/basket/milk/", "/basket/eggs/")
    assert [each["Counted"] for each in found] == ["1 1", "2 2"]
    assert found[1].json() == {"basket": ["milk", "eggs"]}
    if len(below) > 1:
        assert [each["Seen"] for each in found] == ["0 1", "1 2"]


def test_a_sync_middleware_above_makes_no_difference(settings: Settings) -> None:
    settings.MIDDLEWARE = [f"{HERE}.above", OURS, f"{HERE}.counting", AUTHENTICATION]
    assert [each["Counted"] for each in answers("/basket/milk/", "/basket/eggs/")] == ["1 1", "2 2"]


@sync_only_middleware
def above(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    return lambda request: get_response(request)


def test_a_subclass_may_ask_a_database(settings: Settings) -> None:
    settings.MIDDLEWARE = [f"{HERE}.Asking", AUTHENTICATION]
    User.objects.create_user("ada")
    found = answers("/basket/milk/", "/basket/eggs/")
    assert [each["Users"] for each in found] == ["1 1", "1 1"]
    assert found[1].json() == {"basket": ["milk", "eggs"]}


def test_a_login_by_a_middleware_is_refused_at_the_limit(settings: Settings) -> None:
    settings.MIDDLEWARE = [OURS, AUTHENTICATION, f"{HERE}.signing_on"]
    with override_login_configuration(max_sessions=1, at_limit="REFUSE"):
        [accepted] = answers("/basket/milk/")
        [refused] = answers("/basket/milk/")
    assert (accepted.status_code, refused.status_code) == (200, 303)
    assert refused["Location"] == reverse("sessionpersist:limit")


def test_an_outage_in_a_middleware_is_a_503(settings: Settings, tmp_path: Path) -> None:
    settings.MIDDLEWARE = [OURS, f"{HERE}.counting", AUTHENTICATION]

    async def ask(store: FlakyStore) -> list[Any]:
        client = AsyncClient(raise_request_exception=False)
        found = [await client.post("/basket/milk/")]
        store.down = True
        found.append(await client.post("/basket/milk/"))
        return found

    with flaky_site(tmp_path) as store:
        served, unavailable = asyncio.run(ask(store))
    assert (served.status_code, unavailable.status_code) == (200, 503)
    assert not unavailable.cookies


def test_after_a_refused_login_nobody_is_logged_in(settings: Settings) -> None:
    settings.MIDDLEWARE = [OURS, AUTHENTICATION, f"{HERE}.naming"]
    with override_login_configuration(max_sessions=1, at_limit="REFUSE"):
        [accepted] = answers("/loop/login/ada/")
        [refused] = answers("/loop/login/ada/")
    assert (accepted.status_code, refused.status_code, refused["User"]) == (200, 303, "")


def test_after_a_session_has_ended_nobody_is_logged_in(settings: Settings) -> None:
    settings.MIDDLEWARE = [OURS, AUTHENTICATION, f"{HERE}.naming"]
    _, interrupted = answers("/loop/login/ada/", "/loop/end-and-save/")
    assert (interrupted.status_code, interrupted["User"]) == (403, "")
