"""The configuration is read where a request begins: on its own connection, before its transaction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import path
from pytest_django import Settings

from sessionpersist.handover import nodes, routing, snapshot
from sessionpersist.models import LoginConfiguration, RevisionQuerySet
from tests.configuration.test_snapshot import Clock
from tests.engine.support import in_event_loop

REFRESH = 5.0


def readings(queries: CaptureQueriesContext) -> int:
    """How often the configuration was read."""
    return len([each for each in queries if "sessionpersist_revision" in each["sql"]])


def visit(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    assert connection.in_atomic_block
    return HttpResponse(routing.current_settings().type)


def slow(request: HttpRequest) -> HttpResponse:
    """A page in whose midst the configuration becomes due."""
    snapshot.monotonic.now += float(request.GET["seconds"])  # type: ignore[attr-defined] # the clock of the test
    with CaptureQueriesContext(connection) as queries:
        response = visit(request)
    assert readings(queries) == 0, "in the transaction of the page"
    return response


async def visit_in_event_loop(request: HttpRequest) -> HttpResponse:
    await request.session.aset("visits", await request.session.aget("visits", 0) + 1)
    return HttpResponse(routing.current_settings().type)


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("no session")


urlpatterns = [
    path("visit/", visit),
    path("slow/", slow),
    path("async/", visit_in_event_loop),
    path("plain/", plain),
    path("", plain, name="home"),  # the page of an outage leads to it
]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Clock:
    settings.SESSIONPERSIST = {
        **settings.SESSIONPERSIST,
        "REFRESH_SECONDS": REFRESH,
        "ACTIVATION_SECONDS": 0,
        "GUARD_SECONDS": 0,
    }
    clock = Clock()
    clock.now = 1000.0
    for module in (snapshot, routing):
        monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture(autouse=True)
def atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    monkeypatch.setattr(nodes, "report", lambda: None)  # after each answer; it has tests of its own


@pytest.fixture
def opened(client: Client, clock: Clock) -> Iterator[list[Any]]:
    """The connections to databases that are opened, in any thread, after a first request."""
    client.get("/visit/")
    connection.ensure_connection()
    found: list[Any] = []

    def note(**kwargs: Any) -> None:
        found.append(kwargs["connection"])

    connection_created.connect(note)
    yield found
    connection_created.disconnect(note)


def chosen_elsewhere(store_type: str) -> None:
    """Another process saves this choice: nothing in this one tells of it."""
    held = snapshot.held()
    LoginConfiguration(persistence_type=store_type, jdbc_database="default").save()
    snapshot._held = held


def test_refresh_that_is_due_takes_no_connection_of_its_own(
    client: Client, clock: Clock, opened: list[Any]
) -> None:
    with CaptureQueriesContext(connection) as queries:
        for _ in range(8):
            clock.now += REFRESH + 1
            client.get("/visit/")
    assert readings(queries) == 8
    assert opened == []


def test_choice_of_another_process_is_in_force_from_the_beginning_of_a_request(
    client: Client, clock: Clock, opened: list[Any]
) -> None:
    chosen_elsewhere("JDBC")
    assert client.get("/visit/").content == b"IN_MEMORY", "what is known is fresh"
    clock.now += REFRESH + 1
    assert client.get("/visit/").content == b"JDBC"
    assert opened == []


def test_what_becomes_due_in_a_transaction_is_read_by_the_next_request(
    client: Client, clock: Clock, opened: list[Any]
) -> None:
    chosen_elsewhere("JDBC")
    assert client.get("/slow/", {"seconds": str(REFRESH + 1)}).content == b"IN_MEMORY"
    assert client.get("/visit/").content == b"JDBC"
    assert opened == []


def test_what_is_too_old_in_a_transaction_is_read_on_another_connection(
    client: Client, clock: Clock, opened: list[Any]
) -> None:
    chosen_elsewhere("JDBC")
    assert client.get("/slow/", {"seconds": str(2 * REFRESH + 1)}).content == b"JDBC"
    assert len(opened) == 1


def test_what_was_saved_in_this_process_is_read_at_once_in_a_transaction_too(
    clock: Clock, opened: list[Any]
) -> None:
    LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
    with transaction.atomic():
        assert routing.current_settings().type == "JDBC"
    assert len(opened) == 1


def test_pending_choice_activates_in_a_transaction_on_time(
    client: Client, clock: Clock, opened: list[Any], settings: Settings
) -> None:
    settings.SESSIONPERSIST["ACTIVATION_SECONDS"] = 2
    LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
    assert client.get("/visit/").content == b"IN_MEMORY"
    assert client.get("/slow/", {"seconds": 3}).content == b"JDBC"
    assert opened == []


def test_page_without_a_session_refreshes_too(client: Client, clock: Clock, opened: list[Any]) -> None:
    clock.now += REFRESH + 1
    with CaptureQueriesContext(connection) as queries:
        client.get("/plain/")
        client.get("/plain/")
    assert readings(queries) == 1


def test_in_an_event_loop_the_refresh_takes_no_connection_of_its_own_either(
    clock: Clock, opened: list[Any]
) -> None:
    @in_event_loop
    async def visits() -> None:
        client: Any = AsyncClient()
        for _ in range(3):
            clock.now += REFRESH + 1
            assert (await client.get("/async/")).content == b"IN_MEMORY"

    connections.settings["default"]["ATOMIC_REQUESTS"] = False  # Django has none for async views
    visits()
    assert opened == []


class TestDatabaseDown:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """Of each attempt to read the configuration, while the database is down."""
        asked: list[Any] = []

        def down(*arguments: Any) -> Any:
            asked.append(arguments)
            raise OperationalError("the database is down")

        monkeypatch.setattr(RevisionQuerySet, "in_force", down)
        return asked

    def test_page_without_a_session_is_served_and_the_database_is_asked_once(
        self, client: Client, clock: Clock, asked: list[Any]
    ) -> None:
        snapshot.reset()
        assert [client.get("/plain/").status_code for _ in range(3)] == [200] * 3
        assert len(asked) == 1
        assert client.get("/visit/").status_code == 503
        assert len(asked) == 2, "who needs a session has it tried again"

    def test_what_was_known_is_not_read_again_for_pages_without_a_session(
        self, client: Client, clock: Clock, opened: list[Any], asked: list[Any]
    ) -> None:
        for _ in range(3):
            clock.now += 3 * REFRESH
            assert client.get("/plain/").status_code == 200
        assert len(asked) == 1
        assert client.get("/visit/").status_code == 200
        assert len(asked) == 2, "who needs a session has it tried again"

    def test_once_a_page_with_a_session_has_read_it_again_those_without_one_do_too(
        self, client: Client, clock: Clock, opened: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(snapshot, "_read", lambda: (_ for _ in ()).throw(OperationalError("down")))
            clock.now += 3 * REFRESH
            client.get("/plain/")
        clock.now += 3 * REFRESH
        with CaptureQueriesContext(connection) as queries:
            client.get("/plain/")
            assert readings(queries) == 0
            client.get("/visit/")  # reads it on another connection: it is in a transaction
            clock.now += REFRESH + 1
            client.get("/plain/")
            assert readings(queries) == 1
