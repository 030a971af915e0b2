"""Daphne beside uvicorn, as nodes of one site: their pages and websockets use the same sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.aio.live.living import Live, LiveNode
from tests.aio.live.test_sockets import opened
from tests.load.clients import Browser

pytest.importorskip("daphne", reason="Install daphne.")

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("asgi")]

VISITS = 10


class DaphneNode(LiveNode):
    """It runs Django on Twisted's reactor, on top of asyncio's loop."""

    def command(self) -> list[str]:
        return ["-m", "daphne", "--bind", "127.0.0.1", "--port", str(self.port), "-v", "0", self.application]


@pytest.fixture(scope="module")
def daphne(living: Live) -> Iterator[DaphneNode]:
    with DaphneNode(living.site, "daphne") as node:
        yield node


@pytest.fixture(params=["REDIS", "JDBC"])
def ada(request: pytest.FixtureRequest, living: Live, daphne: DaphneNode) -> Browser:
    """A browser whose requests go to both in turn, logged in."""
    living.use(request.param)
    living.wait_for(daphne)
    browser = Browser([living.url, daphne.url])
    assert browser.post("/loop/login/ada/").body == {"user": "ada"}
    return browser


def test_pages_of_both_use_one_session(ada: Browser) -> None:
    answers = [ada.get("/visit/").body for _ in range(VISITS)]
    assert [each["visits"] for each in answers] == list(range(1, VISITS + 1))
    assert {each["node"] for each in answers} == {"node", "daphne"}
    ada.post("/loop/logout/")
    assert {ada.get("/whoami/").body["user"] for _ in range(2)} == {""}


@pytest.mark.parametrize("way", ["loop", "thread"])
def test_a_websocket_of_daphne_uses_the_session_of_a_page_of_uvicorn(
    ada: Browser, daphne: DaphneNode, way: str
) -> None:
    ada.get("/visit/")
    with opened(daphne.port, way, ada) as tell:
        assert tell().items() >= {"user": "ada", "visits": 1, "live": True}.items()
        assert tell(visits=41)["visits"] == 41
        assert ada.get("/visit/").body["visits"] == 42
        ada.post("/loop/logout/")
        assert tell()["live"] is False
