"""A site under load while its servers fail over: who was asked for what, and what is there afterwards.

Ten logged-in clients count their visits at a node, which has two workers unless a test wants another; others log in and
out meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.load.clients import Answer, Browser, Load
from tests.load.site import Node, Site

CLIENTS = 10
TIMEOUT = 2.0  # seconds, the default of TIMEOUT_SECONDS
SOON = 2.0  # seconds from the moment that a new primary can serve to the first visit that counts
BEFORE, AFTERWARDS = 2.0, 4.0  # seconds of load around the fault
LAG = 0.5  # seconds around the fault in which a primary may have acknowledged what no replica has


@dataclass
class Comer:
    """Logs in and out again and again, and keeps the cookies that it has logged out, with the time of each."""

    browser: Browser
    name: str
    ended: list[tuple[str, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def come_and_go(self) -> None:
        if self.browser.post(f"/login/{self.name}/").status != 200:
            return
        cookie = self.browser.cookie
        assert cookie
        seen = self.browser.get("/whoami/")
        if seen.status == 200 and seen.body["user"] != self.name:
            self.faults.append(f"anonymous after the login: {seen}")
        if self.browser.post("/logout/").status == 200:
            self.ended.append((cookie, time.monotonic()))
        self.browser.cookie = None


@dataclass
class Running:
    node: Node
    visitors: list[Browser]
    comers: list[Comer]

    def begin_again(self) -> None:
        """Forget what was answered before."""
        for browser in (*self.visitors, *(comer.browser for comer in self.comers)):
            browser.answers.clear()
        for comer in self.comers:
            comer.ended.clear()

    def counts(self) -> list[int]:
        """The visits of each session by now, once everybody is served."""
        found = []
        for number, browser in enumerate(self.visitors):
            answer = served(browser)
            assert answer.body["user"] == f"user-{number}"
            found.append(answer.body["visits"])
        return found


def served(browser: Browser) -> Answer:
    give_up = time.monotonic() + 30
    while (answer := browser.get("/whoami/")).status != 200:
        assert time.monotonic() < give_up
        time.sleep(0.1)
    return answer


def in_threads(site: Site) -> Node:
    return Node(site, "node-1", threads=8)


def started(
    folder: Path,
    stack: ExitStack,
    fields: dict[str, Any],
    databases: dict[str, str] | None = None,
    make_node: Callable[[Site], Node] = in_threads,
) -> Running:
    """A node whose sessions are where these fields of the Login Configuration say, with everybody logged in."""
    site = Site(folder, databases, REFRESH_SECONDS=1, ACTIVATION_SECONDS=0, TIMEOUT_SECONDS=TIMEOUT)
    site.manage("migrate", "--verbosity=0")
    site.configure(**fields)
    node = stack.enter_context(make_node(site))
    visitors = [Browser([node.url]) for _ in range(CLIENTS)]
    for number, browser in enumerate(visitors):
        assert browser.post(f"/login/user-{number}/").status == 200
    comers = [Comer(Browser([node.url]), f"comer-{number}") for number in range(3)]
    return Running(node, visitors, comers)


@dataclass
class FailOver:
    """``begun``: monotonic seconds of the fault; ``elected``: when another primary could serve, if one could."""

    running: Running
    before: list[int]
    begun: float
    elected: float | None = None
    visits: list[list[Answer]] = field(default_factory=list)

    @property
    def answers(self) -> list[Answer]:
        running = self.running
        browsers = [*running.visitors, *(comer.browser for comer in running.comers)]
        return [answer for browser in browsers for answer in browser.answers]

    def check(self, *, exact: bool = True) -> None:
        """Nobody is anonymous, all failures are 503, and all counts are ``exact``; print what it has cost."""
        visits = self.visits
        acknowledged = [sum(answer.status == 200 for answer in each) for each in visits]
        counted = [now - before for now, before in zip(self.running.counts(), self.before, strict=True)]
        lost = sum(max(0, told - kept) for told, kept in zip(acknowledged, counted, strict=True))
        wrong = sum(answer.status == 200 and not answer.body["user"] for each in visits for answer in each)
        failed = [answer for answer in self.answers if answer.status != 200]
        print(  # noqa: T201 - the figures of the documentation
            f"lost {lost}, wrong {wrong}, new primary {(self.elected or self.begun) - self.begun:.1f} s, "
            f"first success {self.first_success() - self.begun:.1f} s, {len(failed)} answers of 503"
        )
        assert wrong == 0
        assert lost == 0 or not exact
        assert {answer.status for answer in failed} <= {503}
        assert not any(answer.cookie_deleted for each in visits for answer in each)
        assert [fault for comer in self.running.comers for fault in comer.faults] == []
        self.check_logouts(exact)
        if self.elected is not None:
            assert self.first_success() - self.elected < SOON

    def first_success(self) -> float:
        """When visits counted again: the end of the longest time in which none did, if any failed; else the fault."""
        visits = [answer for each in self.visits for answer in each]
        if all(answer.status == 200 for answer in visits):
            return self.begun
        kept = sorted(answer.at for answer in visits if answer.status == 200)
        gaps = [(after - before, after) for before, after in pairwise(kept) if after > self.begun]
        return max(gaps, default=(0.0, float("inf")))[1]

    def check_logouts(self, exact: bool) -> None:
        """None that was acknowledged comes back; where not all is ``exact``, but for those right before the fault."""
        ended = [
            cookie
            for comer in self.running.comers
            for cookie, at in comer.ended
            if exact or not self.begun - LAG < at < self.begun + LAG
        ]
        assert ended
        thief = Browser([self.running.node.url])
        for cookie in ended:
            thief.cookie = cookie
            assert served(thief).body["user"] == ""


def under_load(running: Running, fault: Callable[[FailOver], None]) -> FailOver:
    before = running.counts()
    for browser in running.visitors:
        browser.answers.clear()
    by_browser = {id(comer.browser): comer for comer in running.comers}

    def come_and_go(browser: Browser) -> None:
        by_browser[id(browser)].come_and_go()

    with Load(running.visitors, visit), Load([comer.browser for comer in running.comers], come_and_go):
        time.sleep(BEFORE)
        fail_over = FailOver(running, before, time.monotonic())
        fault(fail_over)
        time.sleep(AFTERWARDS)
    fail_over.visits = [list(browser.answers) for browser in running.visitors]
    return fail_over


def visit(browser: Browser) -> None:
    browser.get("/visit/")
