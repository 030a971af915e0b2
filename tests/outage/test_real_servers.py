"""Under load from logged-in clients a real server is killed, hangs, and comes back. Nobody is logged out.

Two workers of four threads each, and beside them an event loop, serve twenty clients that count their visits. They keep
all of them busy or, in the quick tests, wait a while between two visits: not so long while the server is down.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from sessionpersist.stores.breaker import PAUSE
from tests.load import stores
from tests.load.clients import Answer, Browser, Load
from tests.load.site import AsgiNode, Node, Site
from tests.servers import MongoDB, Postgres, Server, Valkey, require
from tests.sizes import long_unless

pytestmark = pytest.mark.xdist_group("load")  # one at a time: they take all that the machine has

CLIENTS = 20
TIMEOUT = 1.0  # seconds, the site's TIMEOUT_SECONDS
HANGS, HANGS_FOR_A_MOMENT = 10.0, 3.0  # seconds
# A trial may be waiting for the server as it comes back; the rest is for a busy machine.
BACK_WITHIN = PAUSE + TIMEOUT + 1.5
# Seconds for which each client waits between two visits while the server is down, and before and after that.
CALM, BUSY = (0.2, 1.0), (0.02, 0.02)


@dataclass
class Running:
    server: Server
    pauses: tuple[float, float]
    nodes: list[Node]
    browsers: list[Browser]

    def whoami(self) -> list[str]:
        return [browser.get("/whoami/").body.get("user", "") for browser in self.browsers]


@dataclass
class Outage:
    """``begun`` and ``back`` are monotonic seconds; ``before`` and ``visits`` have an entry a browser."""

    fault: Callable[[Server], None]
    begun: float
    back: float
    before: list[int]
    visits: list[list[Answer]]
    logs: list[str]  # one a node

    @property
    def answers(self) -> list[Answer]:
        return [answer for visits in self.visits for answer in visits]

    @property
    def failed(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status != 200]


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    kind, pauses = request.param
    require(kind)
    with kind() as server:
        site = site_on(server, tmp_path_factory.mktemp("site"))
        with Node(site, "node-1") as threads, AsgiNode(site, "node-2") as loop:
            browsers = [Browser([threads.url, loop.url]) for _ in range(CLIENTS)]
            for number, browser in enumerate(browsers):
                assert browser.post(f"/login/user-{number}/").status == 200
            yield Running(server, pauses, [threads, loop], browsers)


def site_on(server: Server, folder: Path) -> Site:
    """A site whose sessions are on this server."""
    site = Site(
        folder,
        stores.databases(server),
        REFRESH_SECONDS=1,
        ACTIVATION_SECONDS=0,
        TIMEOUT_SECONDS=TIMEOUT,
    )
    site.migrate()
    site.configure(**stores.fields(server))
    return site


def visit(browser: Browser) -> None:
    browser.get("/visit/")


def kill_and_start(server: Server) -> None:
    server.kill()
    time.sleep(1.5)  # connections are refused
    server.start()


def hang_and_go_on(server: Server) -> None:
    server.pause()
    time.sleep(HANGS)
    server.resume()


def hang_for_a_moment(server: Server) -> None:
    server.pause()
    time.sleep(HANGS_FOR_A_MOMENT)
    server.resume()


def case(server: type[Server], fault: Callable[[Server], None], pauses: tuple[float, float]) -> ParameterSet:
    name = f"{server.__name__}-{fault.__name__}-{pauses[0]}"
    return pytest.param((server, pauses), fault, id=name, marks=long_unless(pauses == CALM))


OUTAGES = [
    case(Valkey, kill_and_start, CALM),
    case(Postgres, hang_for_a_moment, CALM),
    case(Postgres, hang_for_a_moment, BUSY),
    *(case(server, fault, BUSY) for fault in (kill_and_start, hang_and_go_on) for server in stores.SERVERS),
]


@pytest.fixture
def outage(request: pytest.FixtureRequest, running: Running) -> Outage:
    """One fault under load, with everything that the clients and the log have seen of it."""
    logs_begin = [len(node.log.read_text()) for node in running.nodes]
    before = [browser.get("/whoami/").body["visits"] for browser in running.browsers]
    for browser in running.browsers:
        browser.answers.clear()
    meanwhile, otherwise = running.pauses
    with Load(running.browsers, visit, otherwise) as load:
        time.sleep(1)
        begun, load.pause = time.monotonic(), meanwhile
        request.param(running.server)
        back, load.pause = time.monotonic(), otherwise
        time.sleep(BACK_WITHIN + 1)
    visits = [list(browser.answers) for browser in running.browsers]
    logs = [node.log.read_text()[start:] for node, start in zip(running.nodes, logs_begin, strict=True)]
    return Outage(request.param, begun, back, before, visits, logs)


@pytest.mark.parametrize(("running", "outage"), OUTAGES, indirect=True)
def test_an_outage_under_load_logs_nobody_out(running: Running, outage: Outage) -> None:
    users = [f"user-{number}" for number in range(CLIENTS)]
    assert running.whoami() == users
    for user, visits in zip(users, outage.visits, strict=True):
        assert {answer.body["user"] for answer in visits if answer.status == 200} == {user}

    assert outage.failed, "the outage was not noticed: the test shows nothing"
    assert {answer.status for answer in outage.failed} == {503}
    assert all(answer.retry_after for answer in outage.failed)
    assert not any(answer.cookie_deleted for answer in outage.answers)
    check_times(outage)
    check_counts(running, outage)
    check_log(running, outage)
    check_bounds(running)


def check_times(outage: Outage) -> None:
    """Answers come at once while the store is down, and the store is used soon after it is back."""
    waits = [
        answer.seconds for answer in outage.failed if outage.begun + 2 * TIMEOUT < answer.at < outage.back
    ]
    assert statistics.median(waits or [0.0]) < TIMEOUT / 2
    first = min(answer.at for answer in outage.answers if answer.status == 200 and answer.at > outage.back)
    assert first - outage.back < BACK_WITHIN
    assert all(answer.status == 200 for answer in outage.answers if answer.at > outage.back + BACK_WITHIN)


def check_counts(running: Running, outage: Outage) -> None:
    """Every acknowledged visit counts, and none twice; a 503 leaves open whether it was counted."""
    for browser, before, visits in zip(running.browsers, outage.before, outage.visits, strict=True):
        acknowledged = sum(answer.status == 200 for answer in visits)
        counted = browser.get("/whoami/").body["visits"] - before
        assert counted <= len(visits)
        if not (isinstance(running.server, MongoDB) and outage.fault is kill_and_start):
            # A single MongoDB writes its journal every 100 ms: a crash loses what came after.
            assert counted >= acknowledged


def check_log(running: Running, outage: Outage) -> None:
    """A line a worker when the store is lost and one when it is back.

    A thread or a coroutine that was still waiting when another succeeded may add a pair. A node of which each request
    has waited until the store was back has lost nothing.
    """
    for node, log in zip(running.nodes, outage.logs, strict=True):
        least = int(any(answer.url == node.url for answer in outage.failed))
        assert least <= log.count(" is lost: ") <= 4 * node.workers
        assert least <= log.count(" is back.") <= 4 * node.workers
        assert running.server.password not in log


def check_bounds(running: Running) -> None:
    """An outage leaves neither threads nor connections behind."""
    for url in [node.url for node in running.nodes] * 10:
        found = Browser([url]).get("/threads/").body
        assert found["threads"] <= 20
        assert found["sockets"] <= 40
