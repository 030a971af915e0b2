"""A logout holds while the store is down: it is written down, every node goes by it, and it is carried out later."""

from __future__ import annotations

import sqlite3
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

REFRESH = 0.5  # seconds
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
@pytest.fixture(params=[Postgres, MongoDB], ids=lambda cls: cls.__name__)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    require(request.param)
    with ExitStack() as stack:
        server = stack.enter_context(request.param())
        own = {"REFRESH_SECONDS": REFRESH, "ACTIVATION_SECONDS": 0, "TIMEOUT_SECONDS": 1.0}
        site = Site(tmp_path, stores.databases(server), KEY_PREFIX=tmp_path.name, **own)
        site.migrate()
        site.configure(**stores.fields(server))
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


def until(reached: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < give_up
        time.sleep(0.2)
