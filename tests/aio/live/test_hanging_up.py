"""Clients that hang up in the midst of a request: what was acknowledged stays, and nothing is left behind."""

from __future__ import annotations

import random
import socket
import time

import pytest

from tests.aio.live.living import Live
from tests.load.clients import COOKIE, Browser, Load
from tests.sizes import long_unless, quick_and_long

pytestmark = pytest.mark.xdist_group("asgi")

CLIENTS = 6
LONGEST = 0.02  # seconds that a client waits before it hangs up: a request takes as long
LONG = 120.0  # seconds: as many requests take one on a quiet machine


class Impatient:
    """A client that leaves marks in its session, and hangs up in the midst of every other of so many requests."""

    def __init__(self, live: Live, number: int, requests: int) -> None:
        self.browser, self.port = live.browser(f"impatient-{number}"), live.node.port
        self.random, self.requests = random.Random(number), requests
        self.tried, self.acknowledged = 0, set[str]()

    def step(self) -> None:
        if self.is_done:
            return
        self.tried += 1
        path = f"/mark/mark-{self.tried}/"
        if self.tried % 2:
            self.hang_up(path)
            return
        answer = self.browser.get(path)
        assert answer.status == 200, answer
        self.acknowledged.add(f"mark-{self.tried}")
        assert self.acknowledged <= set(answer.body["marks"])

    @property
    def is_done(self) -> bool:
        return self.tried >= self.requests

    def hang_up(self, path: str) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {COOKIE}={self.browser.cookie}\r\n\r\n".encode()
            )
            time.sleep(self.random.uniform(0, LONGEST))


# On the loop, and in a thread; tests/aio/test_cancelled.py has each store interrupted at each of its waits.
KINDS = [
    pytest.param(kind, marks=long_unless(kind in ("REDIS", "JDBC")))
    for kind in ("IN_MEMORY", "REDIS", "MONGODB", "JDBC")
]


@pytest.mark.parametrize("each_kind", KINDS, indirect=True, scope="session")
@pytest.mark.parametrize("requests", quick_and_long(8, 20))
def test_clients_that_hang_up_lose_nothing_that_was_acknowledged(on_each: Live, requests: int) -> None:
    clients = [Impatient(on_each, number, requests) for number in range(CLIENTS)]
    by_browser = {id(client.browser): client for client in clients}
    before = len(on_each.node.log.read_text())
    with Load(
        [client.browser for client in clients], lambda browser: by_browser[id(browser)].step(), 0.0
    ) as load:
        deadline = time.monotonic() + LONG
        while not all(client.is_done for client in clients):
            if load.failures or time.monotonic() > deadline:
                break
            time.sleep(0.1)
    for client in clients:
        marks = set(client.browser.get("/mark/mark-last/").body["marks"])
        assert client.acknowledged <= marks
        assert len(client.acknowledged) == requests // 2
    log = on_each.node.log.read_text()[before:]
    assert " is lost: " not in log
    assert "Traceback" not in log
    found = Browser([on_each.url]).get("/threads/").body
    assert found["sockets"] <= 40
