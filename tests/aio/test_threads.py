"""What an operation on a session takes of threads: none, or one where sessions lie in a database of Django's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
from asgiref.sync import SyncToAsync
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory
from pytest_django import Settings

from sessionpersist.awaiting import awaited
from sessionpersist.engine import SessionStore
from sessionpersist.handover import routing, snapshot
from sessionpersist.middleware import SessionMiddleware
from tests.aio.conftest import KINDS
from tests.engine.support import RecordingStore, in_event_loop, key_of, new_session

WITHOUT = [kind for kind in KINDS if kind != "JDBC"]
pytestmark = pytest.mark.usefixtures("in_force")


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was handed to a thread, in order."""
    noted: list[str] = []
    call, submit = SyncToAsync.__call__, ThreadPoolExecutor.submit

    def noted_call(self: SyncToAsync[Any, Any], *arguments: Any, **named: Any) -> Any:
        noted.append(getattr(self.func, "__qualname__", repr(self.func)))
        return call(self, *arguments, **named)

    def noted_submit(
        self: ThreadPoolExecutor, function: Callable[..., Any], /, *rest: Any, **named: Any
    ) -> Any:
        if "SyncToAsync" not in repr(function):  # which is noted above
            noted.append(repr(function))
        return submit(self, function, *rest, **named)

    monkeypatch.setattr(SyncToAsync, "__call__", noted_call)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", noted_submit)
    return noted


Operation = Callable[[SessionStore], Awaitable[Any]]


async def change(session: SessionStore) -> None:
    await session.aset("dog", "rex")
    await session.asave()


async def log_in(session: SessionStore) -> None:
    await session.aupdate({SESSION_KEY: "7", HASH_SESSION_KEY: "hash"})
    await session.acycle_key()


OPERATIONS: dict[str, Operation] = {
    "load": lambda session: session.aload(),
    "exists": lambda session: session.aexists(session.session_key),
    "change": change,
    "touch": lambda session: session.asave(),
    "create": lambda session: SessionStore().acreate(),
    "log in": log_in,
    "log out": lambda session: session.aflush(),
    "delete": lambda session: session.adelete(),
    "clear expired": lambda session: SessionStore.aclear_expired(),
    "expiry": lambda session: session.aget_expiry_age(),
}


async def carried_out(operation: Operation, hops: list[str]) -> None:
    """Do it on a session that has been loaded, where everything is connected, and note its hops alone."""
    session = SessionStore()
    await session.aset("cat", "tabby")
    await session.asave()
    await session.aload()
    threads = threading.active_count()
    hops.clear()
    await operation(session)
    assert threading.active_count() <= threads  # one of another test may have ended


@pytest.mark.parametrize("kind", WITHOUT)
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_no_thread_is_taken(kind: str, operation: Operation, hops: list[str]) -> None:
    asyncio.run(carried_out(operation, hops))
    assert hops == []


@pytest.mark.parametrize("kind", ["JDBC"])
@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - {"expiry"}))
@in_event_loop
async def test_a_database_takes_one_for_an_operation(kind: str, name: str, hops: list[str]) -> None:
    await carried_out(OPERATIONS[name], hops)
    assert len(hops) == 1


# A page


def page(view: Callable[[Any], Awaitable[HttpResponse]], session: SessionStore | None = None) -> Any:
    """Ask for a page through the middleware."""
    request = AsyncRequestFactory().get("/")
    if session is not None:
        request.COOKIES[settings.SESSION_COOKIE_NAME] = key_of(session)
    return SessionMiddleware(view).__acall__(request)


async def ignore(request: HttpRequest) -> HttpResponse:
    return HttpResponse("no session needed")


async def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await request.session.aget("cat"))


async def write(request: HttpRequest) -> HttpResponse:
    await request.session.aset("cat", "siamese")
    return HttpResponse("saved")


async def write_as_in_a_thread(request: HttpRequest) -> HttpResponse:
    def work() -> None:
        request.session["cat"] += "!"

    await awaited(work)
    return HttpResponse("saved")


@pytest.mark.parametrize("kind", WITHOUT)
@pytest.mark.parametrize("view", [read, write, write_as_in_a_thread])
def test_a_page_takes_no_thread(kind: str, view: Any, hops: list[str]) -> None:
    session = new_session(cat="tabby")
    response = asyncio.run(page(view, session))
    assert response.content in (b"tabby", b"saved")
    assert hops == []
    assert SessionStore(key_of(session))["cat"] in ("tabby", "siamese", "tabby!")


@pytest.mark.parametrize("kind", ["JDBC"])
@pytest.mark.parametrize("view", [write, write_as_in_a_thread])
@in_event_loop
async def test_a_page_takes_one_to_read_and_one_to_save_in_a_database(
    kind: str, view: Any, hops: list[str]
) -> None:
    session = SessionStore()
    await session.aset("cat", "tabby")
    await session.asave()
    routing.reset()  # as in a process that has just begun
    hops.clear()
    await page(view, session)
    assert len(hops) == 2
    assert hops[-1].endswith("SessionStore.save")


# What a project has made of the engine


class Noting(SessionStore):
    """It might ask a database, which Django forbids on a loop."""

    on_a_loop: ClassVar[list[bool]] = []

    def save(self, must_create: bool = False) -> None:
        self.on_a_loop.append(snapshot.in_event_loop())
        super().save(must_create)


@pytest.mark.parametrize("kind", ["REDIS"])
def test_a_subclass_of_the_engine_is_run_in_a_thread(kind: str) -> None:
    session = Noting()
    session["cat"] = "tabby"
    Noting.on_a_loop.clear()
    asyncio.run(session.asave())
    assert Noting.on_a_loop == [False]
    assert SessionStore(key_of(session))["cat"] == "tabby"


@pytest.mark.parametrize("kind", ["REDIS"])
def test_another_engine_beside_our_middleware_is_run_in_a_thread(
    kind: str, hops: list[str], settings: Settings
) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    response = asyncio.run(page(write))
    assert response.content == b"saved"
    assert hops[-1].endswith("process_response")


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_that_leaves_its_session_alone_costs_nothing(
    kind: str, hops: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = new_session(cat="tabby")
    recording = RecordingStore(routing.current_store())
    monkeypatch.setattr(routing, "current_store", lambda: recording)
    response = asyncio.run(page(ignore, session))
    assert response.content == b"no session needed"
    assert (hops, recording.asked) == ([], [])
    assert not response.cookies
