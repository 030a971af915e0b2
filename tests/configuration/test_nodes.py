"""Each process that serves requests reports itself, and no request is the worse for it."""

from __future__ import annotations

import json
import logging
import os
import secrets
import sqlite3
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import OperationalError, connection
from django.db.models import Max
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path
from pytest_django import Settings

from sessionpersist.handover import nodes, places, routing, snapshot
from sessionpersist.models import LoginConfiguration, Node, Revision
from sessionpersist.testing import override_login_configuration
from tests.configuration.test_snapshot import in_child
from tests.engine.support import in_event_loop
from tests.load import site
from tests.load.clients import Browser, Load
from tests.servers import MariaDB, Postgres, Server, require, shared


def hello(request: HttpRequest) -> HttpResponse:
    """As any page that asks for a session: it may be the one that learns of a switch."""
    return HttpResponse(f"hello from {routing.current_settings().type}")


urlpatterns = [path("hello/", hello)]

pytestmark = pytest.mark.urls(__name__)
committed = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def nothing_reported_yet(settings: Settings) -> None:
    settings.SESSIONPERSIST = {
        **settings.SESSIONPERSIST,
        "NODE_NAME": "node-1",
    }  # also forgets what was reported


def reports() -> list[tuple[str, int, int]]:
    return list(Node.objects.order_by("pk").values_list("name", "process", "revision"))


def hidden_for(**ago: float) -> None:
    """Have the rows look as if they had been written that long ago."""
    Node.objects.update(seen_at=Now() - timedelta(**ago))


class TestReport:
    pytestmark = committed

    def test_a_request_is_a_sign_of_life(self, client: Client) -> None:
        assert client.get("/hello/").status_code == 200
        assert reports() == [("node-1", os.getpid(), snapshot.current().current.number)]
        seen_at, now = Node.objects.annotate(now=Now()).values_list("seen_at", "now").get()
        assert timedelta(0) <= now - seen_at < timedelta(seconds=5)

    def test_the_next_ones_ask_the_database_nothing(self, client: Client) -> None:
        client.get("/hello/")
        with CaptureQueriesContext(connection) as queries:
            for _ in range(20):
                client.get("/hello/")
        assert len(queries) == 0

    def test_when_it_is_due_the_same_row_is_written_in_one_statement(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client.get("/hello/")
        hidden_for(seconds=30)
        monkeypatch.setattr(nodes, "_due", 0.0)
        with CaptureQueriesContext(connection) as queries:
            client.get("/hello/")
        statements = [each["sql"] for each in queries if not each["sql"].startswith(("BEGIN", "COMMIT"))]
        assert len(statements) == 1
        assert len(reports()) == 1
        assert Node.objects.filter(seen_at__gt=Now() - timedelta(seconds=5)).exists()

    def test_another_revision_is_reported_at_once(self, client: Client) -> None:
        client.get("/hello/")
        LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
        client.get("/hello/")
        newest = Revision.objects.latest("pk").pk
        assert reports() == [("node-1", os.getpid(), newest)]

    def test_a_switch_that_no_request_has_looked_at_is_reported_at_once(
        self, client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        times = {"REFRESH_SECONDS": 600, "ACTIVATION_SECONDS": 60}
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, **times}
        LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
        client.get("/hello/")
        newest = Revision.objects.latest("pk").pk
        [(_, _, reported)] = reports()
        assert reported < newest
        Revision.objects.filter(pk=newest).update(activates_at=Now() - timedelta(seconds=1))
        later = time.monotonic() + 61
        for module in (nodes, snapshot):
            monkeypatch.setattr(module, "monotonic", lambda: later)
        monkeypatch.setattr(nodes, "_due", later + 1)
        nodes.report()
        assert reports() == [("node-1", os.getpid(), newest)]

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_forked_child_has_reported_nothing_yet(self, client: Client) -> None:
        client.get("/hello/")
        with nodes._lock:
            assert in_child(lambda: nodes._revision is None and nodes._lock.acquire(blocking=False))

    def test_while_the_configuration_can_not_be_read_nobody_waits_for_a_report(self, client: Client) -> None:
        snapshot.current()
        assert snapshot._held is not None
        snapshot._held = replace(snapshot._held, kept=True, fresh_until=time.monotonic() + 60)
        with CaptureQueriesContext(connection) as queries:
            nodes._report_once()
        assert len(queries) == 0
        snapshot.reset()

    @pytest.mark.skipif(connection.vendor != "sqlite", reason="Only SQLite lets one writer wait for another.")
    def test_sqlite_is_as_patient_afterwards_as_the_project_wants_it(self) -> None:
        def patience() -> int:
            with connection.cursor() as cursor:
                return int(cursor.execute("PRAGMA busy_timeout").fetchone()[0])

        before = patience()
        with nodes._impatient(connection):
            assert patience() == nodes.LOCKED_MS < before
        assert patience() == before

    def test_what_a_node_has_drained_stays_noted(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client.get("/hello/")
        Node.objects.note_drained("node-1", 7)
        monkeypatch.setattr(nodes, "_due", 0.0)
        client.get("/hello/")
        assert Node.objects.get().drained == 7

    def test_who_is_gone_for_longer_than_a_session_lives_is_forgotten(self, client: Client) -> None:
        lifetime = django_settings.SESSION_COOKIE_AGE
        for name, seconds in (("gone", lifetime + 60), ("away", lifetime - 60)):
            ago = Now() - timedelta(seconds=seconds)
            Node.objects.create(name=name, process=1, revision=1, seen_at=ago)
        client.get("/hello/")
        assert {name for name, _, _ in reports()} == {"away", "node-1"}

    @pytest.mark.parametrize("age", [float("inf"), 1e15, -1e15])
    def test_sessions_that_live_for_ages_are_in_nobodys_way(
        self, client: Client, settings: Settings, age: float, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.SESSION_COOKIE_AGE = age
        client.get("/hello/")
        assert [name for name, _, _ in reports()] == ["node-1"]
        assert caplog.records == []

    def test_who_was_heard_from_in_the_last_hour_is_live(self) -> None:
        for name, minutes in (("b", 59), ("a", 1), ("a", 70), ("c", 61)):
            seen_at = Now() - timedelta(minutes=minutes)
            Node.objects.create(name=name, process=minutes, revision=1, seen_at=seen_at)
        assert nodes.live_names() == ["a", "b"]

    def test_a_node_has_drained_what_any_of_its_processes_has_and_never_less_again(self) -> None:
        for name, process, hours in (("a", 1, 0), ("a", 2, 1), ("b", 1, 1), ("gone", 1, 3)):
            seen_at = Now() - timedelta(hours=hours)
            Node.objects.create(name=name, process=process, revision=1, seen_at=seen_at)
        Node.objects.note_drained("a", 7)
        Node.objects.note_drained("a", 5)
        Node.objects.create(name="a", process=3, revision=1)  # a worker that was started since
        drained = dict(Node.objects.values_list("name").annotate(up_to=Max("drained")))
        assert drained == {"a": 7, "b": 0, "gone": 0}

    @in_event_loop
    async def test_in_an_event_loop_a_thread_does_it(self) -> None:
        nodes.report()
        for thread in threading.enumerate():
            if thread.name == "sessionpersist-report":
                thread.join(10)
        assert await Node.objects.acount() == 1


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that were begun to report."""
    begun: list[threading.Thread] = []
    start = threading.Thread.start

    def noted(self: threading.Thread) -> None:
        if self.name == "sessionpersist-report":
            begun.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", noted)
    return begun


@pytest.mark.django_db(transaction=True)
class TestOfWebsockets:
    """Where their sessions are used, which is once for each verb."""

    def test_one_thread_at_a_time_reports(
        self, begun: list[threading.Thread], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        snapshot.current()
        slowly, meant = threading.Event(), places.meant

        def slow(known: snapshot.Snapshot) -> dict[str, Any]:
            assert slowly.wait(60)
            return meant(known)

        monkeypatch.setattr(places, "meant", slow)
        for _ in range(9):
            nodes.report(aside=True)
        later = time.monotonic() + 2 * nodes.REPORT_SECONDS
        monkeypatch.setattr(nodes, "monotonic", lambda: later)
        nodes.report(aside=True)  # though it is due
        slowly.set()
        [thread] = begun
        thread.join(60)
        assert len(reports()) == 1
        nodes.report(aside=True)
        begun[-1].join(60)
        assert len(begun) == 2, "it is due, and the lock is free"

    @pytest.mark.parametrize("kept", [True, False], ids=["which is kept", "that can be read"])
    def test_none_begins_soon_after_a_try_in_vain(
        self, begun: list[threading.Thread], kept: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        snapshot.current()
        assert snapshot._held is not None
        snapshot._held = replace(snapshot._held, kept=kept, fresh_until=time.monotonic() + 600)

        def fail(known: snapshot.Snapshot) -> dict[str, Any]:
            raise OperationalError("the database is down")

        monkeypatch.setattr(places, "meant", fail)
        for _ in range(9):
            nodes.report(aside=True)
            begun[-1].join(60)
        assert len(begun) == 1
        snapshot.reset()

    def test_where_no_thread_can_be_started_a_session_is_used_all_the_same(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refused(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        snapshot.current()
        monkeypatch.setattr(threading.Thread, "start", refused)
        for _ in range(3):
            nodes.report(aside=True)
        [record] = caplog.records
        assert record.getMessage().startswith("event=report_failed error=NoThread ")
        monkeypatch.undo()
        assert nodes._due > time.monotonic() + nodes.REPORT_SECONDS
        monkeypatch.setattr(nodes, "_due", 0.0)
        nodes.report()
        assert len(reports()) == 1


class TestKeepingOut:
    @pytest.mark.django_db
    def test_nothing_is_written_inside_the_transaction_of_a_test(self, client: Client) -> None:
        client.get("/hello/")
        assert reports() == []

    @pytest.mark.django_db(transaction=True)
    def test_nothing_is_written_where_a_test_overrides_the_configuration(self, client: Client) -> None:
        with override_login_configuration(persistence_type="JDBC", jdbc_database="default"):
            client.get("/hello/")
        assert reports() == []

    @pytest.mark.django_db(transaction=True)
    def test_while_one_thread_reports_others_do_not_wait(self, client: Client) -> None:
        with nodes._lock:
            client.get("/hello/")
        assert reports() == []


@pytest.mark.django_db(transaction=True)
class TestFailing:
    def test_a_database_that_fails_breaks_no_request_and_is_logged_once(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        tries: list[Any] = []

        def down(*arguments: Any) -> None:
            tries.append(arguments)
            raise OperationalError("the database is down")

        monkeypatch.setattr(nodes, "_upsert", down)
        with caplog.at_level(logging.WARNING, "sessionpersist"):
            assert [client.get("/hello/").status_code for _ in range(3)] == [200, 200, 200]
            assert len(tries) == 1, "the next try is later"
            monkeypatch.setattr(nodes, "_due", 0.0)
            client.get("/hello/")
        assert len(tries) == 2
        assert [each.getMessage() for each in caplog.records] == [
            'event=report_failed error=OperationalError message="This process could not report itself '
            '(OperationalError)."'
        ]
        assert nodes._due > time.monotonic() + nodes.REPORT_SECONDS
        monkeypatch.undo()
        monkeypatch.setattr(nodes, "_due", 0.0)
        client.get("/hello/")
        assert len(reports()) == 1
        monkeypatch.setattr(nodes, "_upsert", down)
        monkeypatch.setattr(nodes, "_due", 0.0)
        client.get("/hello/")
        assert len(caplog.records) == 2, "lost once more"

    @pytest.mark.skipif(connection.vendor != "sqlite", reason="Only SQLite lets one writer wait for another.")
    def test_a_locked_sqlite_file_is_not_waited_for(self, client: Client) -> None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout")
            patience = cursor.fetchone()
        with sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            begun = time.monotonic()
            client.get("/hello/")
            waited = time.monotonic() - begun
            other.execute("ROLLBACK")
        other.close()
        assert waited < django_settings.DATABASES["default"]["OPTIONS"]["timeout"] / 2
        assert reports() == []
        with connection.cursor() as cursor:
            assert cursor.execute("PRAGMA busy_timeout").fetchone() == patience

    def test_a_report_that_the_database_refuses_breaks_no_request(self, client: Client) -> None:
        table = Node._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TRIGGER refused BEFORE INSERT ON {table} BEGIN SELECT RAISE(FAIL, 'no room'); END"
            )
        try:
            assert client.get("/hello/").status_code == 200
            assert not Node.objects.exists()
        finally:
            with connection.cursor() as cursor:
                cursor.execute("DROP TRIGGER refused")


# Real processes. They answer pages until each has reported, and a process of its own reads what they wrote.


def database_of(server: type[Server] | None) -> dict[str, str]:
    """A new database on this server as the site's own; without one, the site has its SQLite file."""
    if server is None:
        return {}
    require(server)
    return {"default": shared(server).create_database(f"nodes_{secrets.token_hex(4)}")}  # type: ignore[attr-defined]


READ = """
import json
from sessionpersist.models import Node, Revision
newest = Revision.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
print(json.dumps([newest, list(Node.objects.values_list("name", "process", "revision"))]))
"""


def processes_that_switched(place: site.Site) -> set[tuple[str, int]]:
    newest, rows = json.loads(place.manage("shell", "--no-imports", "-c", READ))
    return {(name, process) for name, process, revision in rows if revision == newest}


def who_answers(node: site.Node, page: str, seconds: float = 1.5) -> set[int]:
    """Call a page from several clients at once, so that every worker has something to do; return their pids."""
    browsers = [Browser([node.url]) for _ in range(8)]
    with Load(browsers, lambda browser: browser.get(page), pause=0.1):
        time.sleep(seconds)
    return {answer.body["pid"] for browser in browsers for answer in browser.answers}


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(None, id="SQLite", marks=pytest.mark.long),
        pytest.param(Postgres, id="PostgreSQL"),
        pytest.param(MariaDB, id="MariaDB", marks=pytest.mark.long),
    ],
)
def test_workers_of_a_real_node_report_themselves_and_their_switch(
    server: type[Server] | None, tmp_path: Path
) -> None:
    """Forked workers have a row each; after a switch both report it with the next request."""
    place = site.Site(tmp_path, database_of(server), REFRESH_SECONDS=0.2, ACTIVATION_SECONDS=0.5)
    place.migrate()
    with site.Node(place, "node-7") as node:
        workers = {("node-7", process) for process in who_answers(node, "/count/")}
        assert len(workers) == 2
        assert processes_that_switched(place) == workers
        place.configure(persistence_type="JDBC", jdbc_database="default")
        time.sleep(0.6)
        assert processes_that_switched(place) == set()
        who_answers(node, "/count/")
        assert processes_that_switched(place) == workers
    log = node.log.read_text()
    assert "could not report" not in log
    switched = [line for line in log.splitlines() if "Sessions are now kept in JDBC" in line]
    assert len(switched) == 1, "a line of the node, by one of its workers"
    assert [process for _, process in workers if f"Node node-7, process {process}." in switched[0]]
