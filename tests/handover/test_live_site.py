"""Two nodes of two workers each under load, while the store of their sessions is switched again and again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from tests.load import stores
from tests.load.clients import Browser, Load
from tests.load.site import Node, Site
from tests.servers import MongoDB, Postgres, Server, Valkey, shared

VISITORS, COMERS = 30, 6
REFRESH, ACTIVATION = 0.5, 1.5  # seconds
# Every ordered pair of the three, one after the other.
ROUND: list[type[Server]] = [Valkey, Postgres, Valkey, MongoDB, Postgres, MongoDB, Valkey]


def test_nobody_is_logged_out_and_every_visit_counts(tmp_path: Path) -> None:
    chosen = {kind: stores.fields_on(kind) for kind in set(ROUND)}
    databases = stores.databases(shared(Postgres))
    site = Site(
        tmp_path,
        databases,
        REFRESH_SECONDS=REFRESH,
        ACTIVATION_SECONDS=ACTIVATION,
        KEY_PREFIX=tmp_path.name,
        TIMEOUT_SECONDS=5,
    )
    site.manage("migrate", "--verbosity=0")
    site.configure(**chosen[Valkey])
    time.sleep(ACTIVATION + REFRESH)
    with Node(site, "node-1", threads=2) as first, Node(site, "node-2", threads=2) as second:
        urls = [first.url, second.url]
        visitors = [Browser(urls) for _ in range(VISITORS)]
        for number, browser in enumerate(visitors):
            assert browser.post(f"/login/visitor-{number}/").status == 200
        comers = [Comer(urls, f"comer-{number}") for number in range(COMERS)]
        with (
            Load(visitors, lambda browser: browser.get("/visit/")),
            Load([c.browser for c in comers], come_and_go(comers)),
        ):
            for kind in ROUND[1:]:
                site.configure(**chosen[kind])
                time.sleep(ACTIVATION + 2)
        assert "none is left" in site.manage("drain_sessions")

        for number, browser in enumerate(visitors):
            visits = browser.answers[1:]
            assert {answer.status for answer in visits} == {200}
            assert {answer.body["user"] for answer in visits} == {f"visitor-{number}"}
            assert [answer.body["visits"] for answer in visits] == list(range(1, len(visits) + 1))
        for comer in comers:
            assert comer.faults == []
            assert comer.rounds > 0
        assert ": 0 sessions to move." in site.manage("drain_sessions")


class Comer:
    """A user who logs in, looks around, logs out, and tries the old cookie again."""

    def __init__(self, urls: list[str], name: str) -> None:
        self.browser, self.name = Browser(urls), name
        self.urls = urls
        self.rounds = 0
        self.faults: list[str] = []
        self.random = random.Random(name)

    def come_and_go(self) -> None:
        self.check("login", self.browser.post(f"/login/{self.name}/").status == 200)
        for _ in range(self.random.randrange(1, 5)):
            self.check("logged in", self.browser.get("/whoami/").body.get("user") == self.name)
        cookie = self.browser.cookie
        self.check("logout", self.browser.post("/logout/").status == 200)
        thief = Browser(self.urls, cookie)
        for _ in range(2):
            self.check("logged out", thief.get("/whoami/").body.get("user") == "")
            thief.cookie = cookie
        self.rounds += 1

    def check(self, what: str, truth: bool) -> None:
        if not truth:
            self.faults.append(f"{self.name}: not {what} in round {self.rounds}")


def come_and_go(comers: list[Comer]) -> Callable[[Browser], None]:
    """Return what a browser of one of these does."""
    by_browser = {id(comer.browser): comer for comer in comers}
    return lambda browser: by_browser[id(browser)].come_and_go()
