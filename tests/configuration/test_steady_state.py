"""Requests ask the database nothing about the configuration, in threads and in event loops alike."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import path

from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import routing, snapshot
from sessionpersist.models import LoginConfiguration, Revision, RevisionQuerySet
from tests.engine.support import in_event_loop, new_session

committed = pytest.mark.django_db(transaction=True)


def count(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


async def count_in_event_loop(request: HttpRequest) -> HttpResponse:
    """Both ways: Django loads the session in this very thread for the first line."""
    visits = request.session.get("visits", 0)
    await request.session.aset("visits", visits + 1)
    return HttpResponse(str(await request.session.aget("visits")))


urlpatterns = [path("count/", count), path("async/", count_in_event_loop)]


@pytest.mark.django_db
@pytest.mark.urls(__name__)
def test_requests_in_steady_state_make_no_query(client: Client) -> None:
    client.get("/count/")
    with CaptureQueriesContext(connection) as queries:
        for _ in range(20):
            client.get("/count/")
    assert len(queries) == 0
    snapshot.expire()
    with CaptureQueriesContext(connection) as queries:
        for _ in range(20):
            client.get("/count/")
    assert len(queries) == 2  # the revisions and the policy


class TestEventLoop:
    pytestmark = [committed, pytest.mark.urls(__name__)]

    @in_event_loop
    async def test_refresh_that_is_due_is_made_outside_the_event_loop(self) -> None:
        client = AsyncClient()
        visits = []
        for _ in range(3):
            snapshot.expire()
            response: Any = await client.get("/async/")
            visits.append(response.content.decode())
        assert visits == ["1", "2", "3"]

    @in_event_loop
    async def test_first_read_of_a_process_may_be_in_an_event_loop(self) -> None:
        snapshot.reset()
        assert routing.current_settings().type == "IN_MEMORY"

    @in_event_loop
    async def test_change_is_seen_from_an_event_loop(self) -> None:
        snapshot.current()
        await LoginConfiguration(persistence_type="REDIS", redis_host="one").asave()
        assert routing.current_settings().type == "REDIS"

    @in_event_loop
    async def test_database_that_is_down_keeps_the_last_good_in_an_event_loop_too(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        snapshot.current()
        monkeypatch.setattr(RevisionQuerySet, "in_force", unreachable)
        snapshot.expire()
        assert routing.current_settings().type == "IN_MEMORY"
        snapshot.reset()
        with pytest.raises(StoreUnavailable):
            routing.current_settings()


@pytest.mark.django_db
def test_session_goes_on_while_the_configuration_can_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    session = new_session(cat="tabby")
    monkeypatch.setattr(RevisionQuerySet, "in_force", unreachable)
    snapshot.expire()
    assert SessionStore(session.session_key)["cat"] == "tabby"


@pytest.mark.django_db
def test_configuration_that_was_never_read_is_marked_on_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RevisionQuerySet, "in_force", unreachable)
    snapshot.reset()
    session = SessionStore("a-key-that-nobody-has")
    with pytest.raises(StoreUnavailable):
        session.load()
    assert isinstance(session.outage, StoreUnavailable)


@pytest.mark.django_db
def test_store_is_composed_once_while_nothing_changes() -> None:
    store = routing.current_store()
    assert routing.current_store() is store
    snapshot.expire()
    assert routing.current_store() is store  # another snapshot of the same choice: the same connections


@pytest.mark.django_db
def test_revision_of_a_type_that_this_version_does_not_know_is_an_outage() -> None:
    Revision.objects.create(persistence_type="CARRIER_PIGEON")
    Revision.objects.activate()
    snapshot.reset()
    with pytest.raises(StoreUnavailable, match="CARRIER_PIGEON"):
        routing.current_view().current.store.count()


def unreachable(*arguments: Any) -> Any:
    raise OperationalError("the database is down")
