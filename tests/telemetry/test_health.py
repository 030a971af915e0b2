"""Liveness asks nobody; readiness says whether the store answers, and asks it at most once a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.handlers.base import BaseHandler
from django.db import connections
from django.test import Client, override_settings
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from sessionpersist import health, stores
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import snapshot
from sessionpersist.stores.base import Record
from sessionpersist.stores.breaker import FAULTS, PAUSE
from sessionpersist.stores.guarded import GuardedStore, Parted, behind_breakers
from sessionpersist.stores.settings import MemorySettings
from sessionpersist.telemetry import readiness
from sessionpersist.testing import override_login_configuration
from tests.load import stores as places
from tests.load.clients import Browser
from tests.load.site import Node, Site
from tests.outage.flaky import FlakyStore
from tests.servers import Server, Valkey, require

MIDDLEWARE = [
    "sessionpersist.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
LOGIN_REQUIRED = [*MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
LIVE, READY = "/health/live/", "/health/ready/"

pytestmark = [
    pytest.mark.xdist_group("outage"),
    pytest.mark.django_db,
    pytest.mark.urls("tests.telemetry.urls"),
]


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    """Nothing is known of any store."""
    readiness.reset()
    with override_settings(MIDDLEWARE=MIDDLEWARE):
        yield
    readiness.reset()


@pytest.fixture
def flaky(tmp_path: Path, settings: Settings) -> Iterator[FlakyStore]:
    """A store in force that fails on command and notes what it is asked."""
    settings.SESSIONPERSIST = {"MEMORY_DIR": tmp_path, "TIMEOUT_SECONDS": 1.0}
    store, chosen = FlakyStore(tmp_path), MemorySettings()
    with override_login_configuration():
        stores._open[stores._fingerprint(chosen)] = GuardedStore(store, "The flaky store")
        yield store


def in_force() -> GuardedStore:
    store = stores.open_store(MemorySettings())
    assert isinstance(store, GuardedStore)
    return store


@pytest.mark.parametrize("page", [LIVE, READY])
class TestBothPages:
    def test_take_no_session_and_set_no_cookie(self, client: Client, flaky: FlakyStore, page: str) -> None:
        client.cookies["sessionid"] = "a" * 32
        response = client.get(page)
        assert (response.status_code, response.json()["status"]) == (200, "ok")
        assert not response.cookies
        assert "Cookie" not in response.get("Vary", "")

    def test_take_no_login_where_every_page_does(self, client: Client, flaky: FlakyStore, page: str) -> None:
        with override_settings(MIDDLEWARE=LOGIN_REQUIRED):
            assert client.get(page).status_code == 200

    def test_are_kept_by_no_cache(self, client: Client, flaky: FlakyStore, page: str) -> None:
        assert {"no-store", "no-cache", "max-age=0"} <= set(client.get(page)["Cache-Control"].split(", "))

    def test_answer_head_without_a_body(self, client: Client, flaky: FlakyStore, page: str) -> None:
        response = client.head(page)
        assert (response.status_code, response.content) == (200, b"")

    def test_change_nothing(self, client: Client, flaky: FlakyStore, page: str) -> None:
        assert client.post(page).status_code == 405

    def test_begin_no_transaction(self, settings: Settings, page: str) -> None:
        """With ATOMIC_REQUESTS they would need every database to be up."""
        view = {LIVE: health.live, READY: health.ready}[page]
        for alias in connections:
            connections[alias].settings_dict["ATOMIC_REQUESTS"] = True
        try:
            assert BaseHandler().make_view_atomic(view) is view
        finally:
            for alias in connections:
                connections[alias].settings_dict["ATOMIC_REQUESTS"] = False

    def test_have_names(self, page: str) -> None:
        assert reverse(f"sessionpersist_health:{page.split('/')[2]}") == page


def test_liveness_asks_nobody(
    client: Client, flaky: FlakyStore, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    flaky.down = True
    with django_assert_num_queries(0):
        assert client.get(LIVE).json() == {"status": "ok"}
    assert flaky.calls == []


@pytest.fixture
def a_long_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, what was just found is new."""
    monkeypatch.setattr(readiness, "PROBE_SECONDS", 60.0)


@pytest.mark.usefixtures("a_long_second")
def test_what_a_request_has_just_seen_is_the_answer(client: Client, flaky: FlakyStore) -> None:
    in_force().get("a" * 64)
    flaky.calls.clear()
    found = client.get(READY).json()
    assert (found["store"]["answers"], flaky.calls) == (True, [])
    assert 0 <= found["store"]["seconds_ago"] < 60


def test_a_request_that_has_just_failed_has_the_store_asked(client: Client, flaky: FlakyStore) -> None:
    in_force().get("a" * 64)
    flaky.down = True
    with pytest.raises(StoreUnavailable):
        in_force().get("a" * 64)
    assert client.get(READY).status_code == 503


@pytest.mark.usefixtures("a_long_second")
def test_a_store_that_is_down_is_503_at_once_for_a_second(client: Client, flaky: FlakyStore) -> None:
    flaky.down = True
    answers = [client.get(READY) for _ in range(5)]
    assert {each.status_code for each in answers} == {503}
    assert answers[0].json()["store"]["answers"] is False
    assert answers[0]["Retry-After"] == "1"
    assert flaky.calls == ["get"]


def test_a_store_that_is_back_is_ready_again(client: Client, flaky: FlakyStore) -> None:
    flaky.down = True
    for _ in range(FAULTS):
        assert client.get(READY).status_code == 503
        readiness.reset()
    flaky.down = False
    time.sleep(max(PAUSE, readiness.PROBE_SECONDS) + 0.1)
    assert client.get(READY).status_code == 200


def test_an_idle_process_asks_once_a_second_however_many_look(client: Client, flaky: FlakyStore) -> None:
    begun = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda _: readiness.look().answers, range(200)))
    assert all(found)
    assert len(flaky.calls) <= 1 + (time.monotonic() - begun) / readiness.PROBE_SECONDS
    time.sleep(readiness.PROBE_SECONDS + 0.05)
    before = len(flaky.calls)
    assert client.get(READY).status_code == 200
    assert len(flaky.calls) == before + 1


def test_a_store_that_was_left_says_nothing_of_the_one_in_force(
    client: Client, flaky: FlakyStore, tmp_path: Path
) -> None:
    assert client.get(READY).status_code == 200
    nowhere = {"persistence_type": "REDIS", "redis_host": "127.0.0.1", "redis_port": 1}
    with override_login_configuration(**nowhere):
        assert client.get(READY).status_code == 503
    assert client.get(READY).status_code == 200


def test_a_store_that_can_not_be_opened_is_not_ready(client: Client, settings: Settings) -> None:
    with override_login_configuration(persistence_type="JDBC", jdbc_database="gone"):
        assert client.get(READY).status_code == 503


def test_where_no_thread_can_be_started_the_probe_asks_itself(
    client: Client, flaky: FlakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(readiness, "_patience", lambda: 0.1)
    monkeypatch.setattr(readiness, "PROBE_SECONDS", 0.0)  # what was found before is old
    monkeypatch.setattr(threading.Thread, "start", refused)
    for down in (False, True, False):
        flaky.down = down
        assert client.get(READY).status_code == (503 if down else 200)


def test_nothing_secret_is_told(client: Client) -> None:
    fields = {
        "redis_host": "redis.internal.example.org",
        "redis_password": "hunter2-hunter2",
        "redis_port": 1,
    }
    with override_login_configuration(persistence_type="REDIS", **fields):
        body = client.get(READY).content.decode()
    for secret in ("hunter2", "internal", "example", "REDIS", "Traceback"):
        assert secret not in body


def test_django_does_not_log_each_503(
    client: Client, flaky: FlakyStore, caplog: pytest.LogCaptureFixture
) -> None:
    flaky.down = True
    client.get(READY)
    assert not [each for each in caplog.records if each.name == "django.request"]


@pytest.fixture
def hanging(settings: Settings) -> Iterator[Server]:
    """A server in force, which is paused."""
    settings.SESSIONPERSIST = {"TIMEOUT_SECONDS": 1.0}
    require(Valkey)
    with Valkey() as server, override_login_configuration(**places.fields(server)):
        server.pause()
        try:
            yield server
        finally:
            server.resume()
            stores.reset()


@pytest.mark.usefixtures("a_long_second")
def test_a_store_that_hangs_keeps_one_thread_waiting_and_piles_up_no_probes(hanging: Server) -> None:
    asked, ask = [], readiness._ask
    begun = time.monotonic()

    def counted(store: Any) -> None:
        asked.append(threading.get_ident())
        ask(store)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(20) as pool:
        patch.setattr(readiness, "_ask", counted)
        first = list(pool.map(lambda _: readiness.look().answers, range(20)))
        took, later = time.monotonic() - begun, time.monotonic()
        assert not any(first)
        assert len(asked) == 1
        assert took < 10, "the time-out of one, not of twenty in a row"
        assert not readiness.look().answers
        assert time.monotonic() - later < 0.5
        assert len(asked) == 1


def test_others_are_told_what_was_last_known_while_one_waits(hanging: Server, settings: Settings) -> None:
    settings.SESSIONPERSIST = {"TIMEOUT_SECONDS": 3.0}
    readiness._last = last = readiness.Readiness(
        True, time.monotonic() - 1.5, snapshot.current().current.settings
    )
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(readiness.look)
        while not readiness._lock.locked():
            time.sleep(0.005)
        assert readiness.look() is last
        assert not waiting.result().answers


class TwoServers(FlakyStore, Parted):
    """A store whose records lie on two servers, by the last digit of their keys. Those in ``dead`` do not answer."""

    dead: frozenset[str] = frozenset()

    def part_of(self, key: str) -> str:
        return "even" if int(key[-1], 16) % 2 == 0 else "odd"

    def get(self, key: str) -> Record | None:
        if self.part_of(key) in self.dead:
            raise StoreUnavailable("This server is down.")
        return super().get(key)


@pytest.mark.parametrize(
    ("dead", "status"), [({"odd"}, 200), ({"even"}, 200), ({"odd", "even"}, 503)], ids=["odd", "even", "both"]
)
def test_a_store_of_several_servers_is_ready_while_one_of_them_answers(
    client: Client, settings: Settings, tmp_path: Path, dead: set[str], status: int
) -> None:
    settings.SESSIONPERSIST = {"MEMORY_DIR": tmp_path}
    store = TwoServers(tmp_path)
    store.dead = frozenset(dead)
    parted = behind_breakers(store, "The store of two servers")
    with override_login_configuration(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            readiness, "TRIES", 40
        )  # else one time in sixteen none of the keys is on the living one
        stores._open[stores._fingerprint(MemorySettings())] = parted
        assert client.get(READY).status_code == status


def test_the_check_of_django_health_check_is_the_same(client: Client, flaky: FlakyStore) -> None:
    well = client.get("/checks/?format=json")
    assert (well.status_code, well.json()) == (200, {"SessionStore()": "OK"})
    readiness.reset()
    flaky.down = True
    time.sleep(readiness.PROBE_SECONDS)
    ill = client.get("/checks/?format=json")
    assert ill.status_code == 500
    assert "The session store does not answer." in ill.content.decode()


def test_it_answers_with_the_database_of_the_site_down_and_hears_of_a_switch_once_that_is_up(
    tmp_path: Path,
) -> None:
    """A process that is not ready gets no other request: it must find its way back by itself."""
    require(Valkey)
    with Valkey() as valkey:
        site = Site(tmp_path, REFRESH_SECONDS=0.2, ACTIVATION_SECONDS=0, TIMEOUT_SECONDS=1)
        site.migrate()
        site.configure(**places.fields(valkey))
        with Node(site, "node-1", workers=1) as node:
            browser = Browser([node.url])
            assert browser.get(READY).status == 200
            take_away(site)
            time.sleep(1.1)
            answers = [browser.get(page) for page in (LIVE, READY, READY)]
            assert [each.status for each in answers] == [200] * 3
            assert answers[-1].body["configuration"]["stale"] is True
            valkey.kill()
            wait_for(browser, 503)
            give_back(site)
            site.configure(persistence_type="IN_MEMORY")
            wait_for(browser, 200)


def test_a_process_that_has_never_read_the_configuration_is_not_ready(tmp_path: Path) -> None:
    """It does not know which store to ask."""
    site = Site(tmp_path, REFRESH_SECONDS=0.2)
    site.migrate()
    take_away(site)
    with Node(site, "node-1", workers=1) as node:
        browser = Browser([node.url])
        assert [browser.get(page).status for page in (LIVE, READY)] == [200, 503]
        assert browser.get(READY).body["configuration"] is None
        give_back(site)
        wait_for(browser, 200)


def take_away(site: Site) -> None:
    """Have the database of the site fail: a folder is none. A node that looks for it before the folder is there makes
    an empty one."""
    site.file.rename(site.folder / "aside")
    while not site.file.is_dir():
        site.file.unlink(missing_ok=True)
        with suppress(FileExistsError):
            site.file.mkdir()


def give_back(site: Site) -> None:
    site.file.rmdir()
    (site.folder / "aside").rename(site.file)


def wait_for(browser: Browser, status: int) -> None:
    deadline = time.monotonic() + 30
    while browser.get(READY).status != status:
        assert time.monotonic() < deadline
        time.sleep(0.2)
