"""A session in a websocket of Channels, on every store: by its coroutines, and in the thread of a sync consumer."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.aio.live.living import Live, LiveNode
from tests.load.clients import COOKIE, Browser
from tests.load.site import START_SECONDS
from tests.servers.process import Guarded

pytestmark = pytest.mark.xdist_group("asgi")

LONG = 60.0  # seconds, on a busy machine


class SocketsNode(LiveNode):
    """One that gets no request, only websockets; and may clear what has expired."""

    def launched(self, environment: dict[str, str]) -> Guarded:
        return super().launched({**environment, "CLEAR_SECONDS": "1"})

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)


@contextmanager
def opened(port: int, way: str, browser: Browser) -> Iterator[Callable[..., dict[str, Any]]]:
    """A websocket that has come with the cookie of this browser. It is told what to change in the session, and answers
    who is logged in, what is in the session, and whether that is live."""
    url = f"ws://127.0.0.1:{port}/{way}/"
    with connect(url, additional_headers={"Cookie": f"{COOKIE}={browser.cookie}"}) as socket:

        def tell(**values: Any) -> dict[str, Any]:
            socket.send(json.dumps(values))
            answer: dict[str, Any] = json.loads(socket.recv(timeout=30))
            return answer

        yield tell


@pytest.mark.parametrize("way", ["loop", "thread"])
def test_a_websocket_reads_and_saves_the_session_of_its_page(on_each: Live, way: str) -> None:
    ada = on_each.browser("ada")
    ada.get("/visit/")
    with opened(on_each.node.port, way, ada) as tell:
        assert tell().items() >= {"user": "ada", "visits": 1, "live": True}.items()
        assert tell(visits=41)["visits"] == 41
    assert ada.get("/visit/").body["visits"] == 42


@pytest.mark.parametrize("way", ["loop", "thread"])
def test_a_websocket_can_tell_that_its_session_has_ended(on_each: Live, way: str) -> None:
    ada = on_each.browser("ada")
    with opened(on_each.node.port, way, ada) as tell:
        assert tell()["live"]
        ada.post("/loop/logout/")
        assert tell().items() >= {"user": "ada", "live": False}.items()


def test_a_websocket_of_nobody_has_an_empty_session(live: Live) -> None:
    with opened(live.node.port, "loop", live.browser()) as tell:
        assert tell() == {"user": "", "live": False}


def test_a_websocket_whose_session_has_ended_before_finds_nobody(live: Live) -> None:
    ada = live.browser("ada")
    thief = Browser([live.url], ada.cookie)
    ada.post("/loop/logout/")
    with opened(live.node.port, "loop", thief) as tell:
        assert tell() == {"user": "", "live": False}


def told_of(live: Live, query: str, name: str) -> bool:
    """Whether the site's database has a row about the node of that name."""
    with closing(sqlite3.connect(f"file:{live.site.file}?mode=ro", uri=True)) as database:
        return bool(database.execute(query, [name]).fetchall())


@pytest.mark.parametrize("way", ["loop", pytest.param("thread", marks=pytest.mark.long)])
def test_a_process_that_serves_websockets_only_is_a_node_and_does_the_upkeep(live: Live, way: str) -> None:
    ada, name = live.browser("ada"), f"sockets-{way}"
    deadline = time.monotonic() + LONG
    with SocketsNode(live.site, name) as node, opened(node.port, way, ada) as tell:
        assert tell()["user"] == "ada"
        for query in (
            "SELECT 1 FROM sessionpersist_node WHERE name = ?",
            "SELECT 1 FROM sessionpersist_lease WHERE node = ? AND cleared_at IS NOT NULL",
        ):
            while not told_of(live, query, name):
                assert time.monotonic() < deadline, (query, node.log.read_text())
                time.sleep(0.1)
