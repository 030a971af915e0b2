"""A session in a websocket of Channels, on every store: by its coroutines, and in the thread of a sync consumer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.aio.live.living import Live
from tests.load.clients import COOKIE, Browser

pytestmark = pytest.mark.xdist_group("asgi")


def tell(live: Live, way: str, browser: Browser, **values: Any) -> dict[str, Any]:
    """Have a websocket change the session of this browser, and return who it says is logged in, and what is in it."""
    url = f"ws://127.0.0.1:{live.node.port}/{way}/"
    with connect(url, additional_headers={"Cookie": f"{COOKIE}={browser.cookie}"}) as socket:
        socket.send(json.dumps(values))
        answer: dict[str, Any] = json.loads(socket.recv(timeout=30))
        return answer


@pytest.mark.parametrize("way", ["loop", "thread"])
def test_a_websocket_reads_and_saves_the_session_of_its_page(on_each: Live, way: str) -> None:
    ada = on_each.browser("ada")
    ada.get("/visit/")
    told = tell(on_each, way, ada)
    assert (told["user"], told["visits"]) == ("ada", 1)
    assert tell(on_each, way, ada, visits=41)["visits"] == 41
    assert ada.get("/visit/").body["visits"] == 42


def test_a_websocket_of_nobody_has_an_empty_session(live: Live) -> None:
    assert tell(live, "loop", live.browser()) == {"user": ""}


def test_a_websocket_whose_session_has_ended_finds_nobody(live: Live) -> None:
    ada = live.browser("ada")
    thief = Browser([live.url], ada.cookie)
    ada.post("/loop/logout/")
    assert tell(live, "loop", thief) == {"user": ""}
