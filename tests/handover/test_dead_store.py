"""The old store dies while sessions are still in it, which is why one switches in a hurry: with real servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.load import stores
from tests.load.clients import Answer, Browser
from tests.load.site import Node, Site
from tests.servers import MongoDB, Postgres, Server, Valkey, require

pytestmark = pytest.mark.xdist_group("outage")

TIMEOUT, REFRESH = 1.0, 0.5  # seconds
SETTLED = REFRESH + 0.6  # after a switch at once: every process knows of it, and the guard time is over
RECOVERY = 5.0  # for all workers to try a store again that is back


@dataclass
class Moved:
    """A site that has moved away from a server that is dead by now, with the users who were logged in."""

    site: Site
    node: Node
    old: Server
    waiting: Browser
    leaving: Browser

    def browser(self, cookie: str | None = None) -> Browser:
        return Browser([self.node.url], cookie)


# One that keeps on its disk what it was told, whatever kills it. Valkey is started without a file to write to.
@pytest.fixture(
    params=[
        pytest.param(Postgres, id="Postgres"),
        pytest.param(MongoDB, id="MongoDB", marks=pytest.mark.long),
    ]
)
def moved(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Moved]:
    require(request.param)
    new = stores.fields_on(Valkey)
    with request.param() as old:
        site = Site(
            tmp_path,
            stores.databases(old),
            REFRESH_SECONDS=REFRESH,
            ACTIVATION_SECONDS=0,
            TIMEOUT_SECONDS=TIMEOUT,
            KEY_PREFIX=tmp_path.name,
        )
        site.migrate()
        site.configure(**stores.fields(old))
        with Node(site, "node-1") as node:
            waiting, leaving = Browser([node.url]), Browser([node.url])
            assert waiting.post("/login/waiting/").status == 200
            assert waiting.get("/visit/").body["visits"] == 1
            assert leaving.post("/login/leaving/").status == 200
            time.sleep(0.3)  # a single MongoDB writes its journal every 100 ms
            old.kill()
            site.configure(**new)
            time.sleep(SETTLED)
            yield Moved(site, node, old, waiting, leaving)


def test_until_the_store_is_back_nobody_is_logged_out_and_a_logout_holds(moved: Moved) -> None:
    cookie = moved.leaving.cookie
    # Django's logout asks first whose session it is, which nobody can say.
    assert moved.leaving.post("/logout/").status == 200
    assert moved.leaving.answers[-1].cookie_deleted
    for _ in range(4):
        refused(moved.waiting.get("/whoami/"))
        assert not is_logged_in(moved, cookie)
    new_logins_work_at_once(moved.browser())

    moved.old.start()
    assert until_served(moved.waiting).body["visits"] == 1
    assert moved.waiting.get("/visit/").body == {
        **moved.waiting.answers[-1].body,
        "user": "waiting",
        "visits": 2,
    }
    assert not any(is_logged_in(moved, cookie) for _ in range(4))
    moved.site.manage("drain_sessions")
    assert not any(is_logged_in(moved, cookie) for _ in range(4))


@pytest.mark.parametrize("moved", [Postgres], indirect=True, ids=["Postgres"])
def test_a_store_that_is_given_up_frees_its_users_to_log_in_again(moved: Moved) -> None:
    refused(moved.waiting.get("/whoami/"))
    moved.site.manage("drain_sessions", "--abandon", "--no-input")
    time.sleep(SETTLED)
    answer = moved.waiting.get("/whoami/")
    assert (answer.status, answer.body["user"]) == (200, "")
    new_logins_work_at_once(moved.waiting)


def refused(answer: Answer) -> None:
    assert answer.status == 503
    assert answer.retry_after
    assert not answer.cookie_deleted


def is_logged_in(moved: Moved, cookie: str | None) -> bool:
    answer = moved.browser(cookie).get("/whoami/")
    assert answer.status == 200
    return bool(answer.body["user"])


def new_logins_work_at_once(browser: Browser) -> None:
    begun = time.monotonic()
    assert browser.post("/login/new/").status == 200
    assert [browser.get("/visit/").body["visits"] for _ in range(4)] == [1, 2, 3, 4]
    assert browser.post("/logout/").status == 200
    assert browser.get("/whoami/").body["user"] == ""
    assert time.monotonic() - begun < 5 * TIMEOUT


def until_served(browser: Browser) -> Answer:
    """Ask until the store that is back is used again; until then only 503."""
    give_up = time.monotonic() + RECOVERY
    while (answer := browser.get("/whoami/")).status != 200:
        assert answer.status == 503
        assert time.monotonic() < give_up
        time.sleep(0.1)
    return answer
