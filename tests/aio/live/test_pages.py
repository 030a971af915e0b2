"""Async pages of every style use their session under uvicorn, on every store, and answer as those in threads do."""

from __future__ import annotations

import http.client
import time

import pytest

from tests.aio.live.living import Live
from tests.load.clients import COOKIE, Answer, Browser

pytestmark = pytest.mark.xdist_group("asgi")

WAYS = ["loop", "thread"]


def stream(live: Live, path: str, cookie: str | None) -> list[str]:
    """Return the lines of an answer that comes in parts. Raises IncompleteRead where it breaks off."""
    connection = http.client.HTTPConnection("127.0.0.1", live.node.port, timeout=30)
    try:
        connection.request("GET", path, headers={"Cookie": f"{COOKIE}={cookie}"})
        response = connection.getresponse()
        assert response.status == 200
        return response.read().decode().splitlines()
    finally:
        connection.close()


def test_pages_of_every_style_share_one_session(on_each: Live) -> None:
    ada = on_each.browser("ada")
    assert [ada.get("/visit/").body["visits"] for _ in range(2)] == [1, 2]
    assert ada.post("/basket/milk/").body == {"basket": ["milk"]}
    assert ada.post("/api/notes/remember").body == {"notes": ["remember"]}
    assert ada.get("/thread/visit/").body["visits"] == 3, "a page in a thread beside them"
    assert ada.get("/basket/").body == {"basket": ["milk"]}
    assert ada.get("/api/notes").body == {"notes": ["remember"]}
    assert ada.get("/whoami/").body["user"] == "ada"


def test_tasks_of_one_request_that_use_its_session_together_lose_nothing(on_each: Live) -> None:
    ada = on_each.browser("ada")
    for path in ("/together/", "/tasks/"):
        assert sorted(ada.get(path).body["tasks"]) == [f"task-{number}" for number in range(5)]
    assert ada.get("/whoami/").body["user"] == "ada"


def test_a_stream_reads_and_writes_the_session_after_the_middleware(on_each: Live) -> None:
    ada = on_each.browser("ada")
    ada.get("/visit/")
    assert stream(on_each, "/read-late/", ada.cookie) == ["first", "ada 1"]
    assert stream(on_each, "/write-late/", ada.cookie) == ["first", "saved"]
    assert ada.get("/whoami/").body["visits"] == 1000


def test_a_logout_ends_the_session(on_each: Live) -> None:
    ada = on_each.browser("ada")
    thief = Browser([on_each.url], ada.cookie)
    answer = ada.post("/loop/logout/")
    assert (answer.body, answer.cookie_deleted) == ({"user": ""}, True)
    assert thief.get("/whoami/").body["user"] == ""


def test_the_names_without_an_a_work_in_coroutines_but_on_jdbc(on_each: Live, each_kind: str) -> None:
    """Django refuses to ask a database there, on its own engine, too."""
    ada = on_each.browser("ada")
    before = len(on_each.node.log.read_text())
    statuses = [ada.get("/in-turn/").status for _ in range(2)]
    if each_kind == "JDBC":
        assert statuses == [500, 500]
        assert "SynchronousOnlyOperation" in on_each.node.log.read_text()[before:]
    else:
        assert statuses == [200, 200]
        assert ada.answers[-1].body == {"turns": 2}
    assert ada.get("/whoami/").body["user"] == "ada"


def told(answer: Answer) -> tuple[int, str | None, str | None, bool]:
    """What an answer says, but for the sentences."""
    return answer.status, answer.retry_after, answer.body.get("error"), answer.cookie_deleted


@pytest.mark.parametrize("page", ["alter-and-end", "end-and-save"])
def test_a_session_that_ends_meanwhile_is_answered_as_in_threads(live: Live, page: str) -> None:
    answers = [told(live.browser("ada").get(f"/{way}/{page}/")) for way in WAYS]
    assert answers == [(401, None, "session_ended", True)] * 2


def test_a_login_over_the_limit_is_refused_as_in_threads(living: Live) -> None:
    living.use("REDIS", max_sessions=1, at_limit="REFUSE")
    first = living.browser("carl")
    answers = [told(Browser([living.url]).post(f"/{way}/login/carl/")) for way in WAYS]
    assert answers == [(403, None, "session_limit_reached", False)] * 2
    assert first.get("/whoami/").body["user"] == "carl"


def test_others_are_ended(live: Live) -> None:
    here, elsewhere = live.browser("eve"), live.browser("eve")
    assert here.post("/end-others/").body == {"ended": 1}
    assert elsewhere.get("/whoami/").body["user"] == ""
    assert here.get("/whoami/").body["user"] == "eve"


def test_an_outage_is_a_503_as_in_threads_and_a_logout_holds(live: Live) -> None:
    ada, bob = live.browser("ada"), live.browser("bob")
    live.server.kill()
    try:
        pages = ["/loop/whoami/", "/thread/whoami/", "/basket/", "/api/notes", "/in-turn/"]
        answers = [told(ada.get(path)) for path in pages]
        with pytest.raises(http.client.IncompleteRead) as broken_off:
            stream(live, "/read-late/", ada.cookie)
        assert broken_off.value.partial == b"first\n"
        cookie = bob.cookie
        assert bob.post("/loop/logout/").body == {"user": ""}
        assert ada.get("/static-page/").status == 200
    finally:
        live.server.start()
        wait_until_served(ada)
    assert answers == [(503, "2", "session_store_unavailable", False)] * len(pages)
    assert Browser([live.url], cookie).get("/whoami/").body["user"] == ""


def wait_until_served(browser: Browser, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while (answer := browser.get("/whoami/")).status == 503 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert answer.body["user"] == "ada"
