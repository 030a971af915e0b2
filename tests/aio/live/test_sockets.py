"""A session in a websocket of Channels, on every store: by its coroutines, and in the thread of a sync consumer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.aio.live.living import Live
from tests.load.clients import COOKIE, Browser

pytestmark = pytest.mark.xdist_group("asgi")


@contextmanager
def opened(live: Live, way: str, browser: Browser) -> Iterator[Callable[..., dict[str, Any]]]:
    """A websocket that has come with the cookie of this browser. It is told what to change in the session, and answers
    who is logged in, what is in the session, and whether that is live."""
    url = f"ws://127.0.0.1:{live.node.port}/{way}/"
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
    with opened(on_each, way, ada) as tell:
        assert tell().items() >= {"user": "ada", "visits": 1, "live": True}.items()
        assert tell(visits=41)["visits"] == 41
    assert ada.get("/visit/").body["visits"] == 42


@pytest.mark.parametrize("way", ["loop", "thread"])
def test_a_websocket_can_tell_that_its_session_has_ended(on_each: Live, way: str) -> None:
    ada = on_each.browser("ada")
    with opened(on_each, way, ada) as tell:
        assert tell()["live"]
        ada.post("/loop/logout/")
        assert tell().items() >= {"user": "ada", "live": False}.items()


def test_a_websocket_of_nobody_has_an_empty_session(live: Live) -> None:
    with opened(live, "loop", live.browser()) as tell:
        assert tell() == {"user": "", "live": False}


def test_a_websocket_whose_session_has_ended_before_finds_nobody(live: Live) -> None:
    ada = live.browser("ada")
    thief = Browser([live.url], ada.cookie)
    ada.post("/loop/logout/")
    with opened(live, "loop", thief) as tell:
        assert tell() == {"user": "", "live": False}
