"""A logout holds while the store is down: it is written down, every node goes by it, and it is carried out later.

So does the end of everybody's session, which no store hears of.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.load import stores
from tests.load.clients import Browser
from tests.load.site import Node, Site
from tests.servers import MongoDB, Postgres, Server, require

pytestmark = pytest.mark.xdist_group("outage")

REFRESH = 0.5  # seconds
SETTLED = REFRESH + 0.6  # after a switch at once: every process knows of it, and the guard time is over
END_EVERYBODY = """
import django
django.setup()
from sessionpersist import sessions
sessions.end_everybody("ada")
"""
PATIENCE = 40.0  # seconds: a process reports itself every ten, and carries out then


class Running(NamedTuple):
    site: Site
    nodes: list[Node]
    server: Server

    def browser(self, node: int, cookie: str | None = None) -> Browser:
        return Browser([self.nodes[node].url], cookie)

    def waiting(self) -> int:
        with closing(sqlite3.connect(self.site.file)) as database:
            return int(database.execute("SELECT COUNT(*) FROM sessionpersist_pendinglogout").fetchone()[0])


# Both keep on their disk what they were told, whatever kills them.
@pytest.fixture(
    params=[Postgres, pytest.param(MongoDB, marks=pytest.mark.long)], ids=lambda cls: cls.__name__
)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    require(request.param)
    with ExitStack() as stack:
        server = stack.enter_context(request.param())
        own = {"REFRESH_SECONDS": REFRESH, "ACTIVATION_SECONDS": 0, "TIMEOUT_SECONDS": 1.0}
        site = Site(tmp_path, stores.databases(server), KEY_PREFIX=tmp_path.name, **own)
        site.migrate()
        site.configure(**stores.fields(server))
        site.manage("drain_sessions", "--abandon", "--no-input")  # the memory of each node, which is empty
        names = ["node-1", "node-2"]
        nodes = [stack.enter_context(Node(site, name, workers=1, preload=True)) for name in names]
        yield Running(site, nodes, server)


def test_it_holds_on_every_node_and_is_carried_out_once_the_store_is_back(running: Running) -> None:
    leaving, staying = running.browser(0), running.browser(0)
    for browser, name in ((leaving, "leaving"), (staying, "staying")):
        assert browser.post(f"/login/{name}/").status == 200
    cookie = leaving.cookie
    time.sleep(0.3)  # a single MongoDB writes its journal every 100 ms
    running.server.kill()

    answer = leaving.post("/logout/")
    assert (answer.status, answer.cookie_deleted) == (200, True)
    assert running.waiting() == 1
    assert staying.get("/whoami/").status == 503
    time.sleep(2 * REFRESH)
    for node in (0, 1):
        thief = running.browser(node, cookie).get("/whoami/")
        assert (thief.status, thief.body["user"]) == (200, "")

    running.server.start()
    until(lambda: staying.get("/whoami/").status == 200)
    assert staying.get("/whoami/").body["user"] == "staying"
    assert not any(running.browser(node, cookie).get("/whoami/").body["user"] for node in (0, 1))
    until(lambda: staying.get("/whoami/").status == 200 and running.waiting() == 0)
    time.sleep(2 * REFRESH)
    assert not any(running.browser(node, cookie).get("/whoami/").body["user"] for node in (0, 1))
    assert staying.get("/whoami/").body["user"] == "staying"


def test_everybody_is_logged_out_on_every_node_while_the_store_is_down_and_stays_so(running: Running) -> None:
    browsers = [running.browser(node) for node in (0, 0, 1, 1)]
    for number, browser in enumerate(browsers):
        assert browser.post(f"/login/user-{number}/").status == 200
    cookies = [browser.cookie for browser in browsers]
    time.sleep(0.3)  # a single MongoDB writes its journal every 100 ms
    running.server.kill()
    end_everybody(running.site)
    time.sleep(SETTLED)
    running.server.start()
    until(lambda: all(running.browser(node).post("/login/new/").status == 200 for node in (0, 1)))
    for node in (0, 1):
        again = [running.browser(node, cookie).get("/whoami/") for cookie in cookies]
        assert [(answer.status, answer.body["user"]) for answer in again] == [(200, "")] * 4
    new = running.browser(0)
    assert new.post("/login/ada/").status == 200
    assert [running.browser(node, new.cookie).get("/visit/").body["visits"] for node in (0, 1)] == [1, 2]


def test_nobody_who_was_logged_out_with_everybody_comes_back_under_load(running: Running) -> None:
    """Requests go on all the while, so that saves and touches are under way as it takes effect."""
    browsers = [running.browser(number % 2) for number in range(6)]
    for number, browser in enumerate(browsers):
        assert browser.post(f"/login/user-{number}/").status == 200
    cookies = [browser.cookie for browser in browsers]
    stop = threading.Event()

    def visit(browser: Browser) -> None:
        while not stop.wait(0.1):
            browser.get("/visit/")

    threads = [threading.Thread(target=visit, args=(browser,)) for browser in browsers]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert all(browser.answers[-1].body["user"] for browser in browsers)
    end_everybody(running.site)
    time.sleep(SETTLED)
    stop.set()
    for thread in threads:
        thread.join()
    for node in (0, 1):
        again = [running.browser(node, cookie).get("/whoami/") for cookie in cookies]
        assert [(answer.status, answer.body["user"]) for answer in again] == [(200, "")] * 6
    # Each answer is a page of a user, or of nobody, or says that the session is over; none is a crash.
    assert {answer.status for browser in browsers for answer in browser.answers} <= {200, 401}


def end_everybody(site: Site) -> None:
    done = site.python("-c", END_EVERYBODY)
    assert done.returncode == 0, done.stderr


def until(reached: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < give_up
        time.sleep(0.2)
