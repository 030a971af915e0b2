"""MongoDB replica sets under load: a member is killed, hangs, comes back. What was acknowledged is there afterwards.

Ten logged-in clients count their visits at a node of two workers; others log in and out meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from tests.load import stores
from tests.load.clients import Answer, Browser, Load
from tests.load.site import Node, Site
from tests.servers import ReplicaSet, require
from tests.servers.replica_set import Member

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("replica_set")]

CLIENTS = 10
TIMEOUT = 2.0  # seconds, the default of TIMEOUT_SECONDS
SOON = 2.0  # seconds from the election of a primary to the first visit that counts
BEFORE, AFTERWARDS = 2.0, 4.0  # seconds of load around the fault


@dataclass
class Comer:
    """Logs in and out again and again, and keeps the cookies that it has logged out."""

    browser: Browser
    name: str
    ended: list[str] = field(default_factory=list)
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
            self.ended.append(cookie)
        self.browser.cookie = None


@dataclass
class Running:
    server: ReplicaSet
    node: Node
    visitors: list[Browser]
    comers: list[Comer]

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


def started(server: ReplicaSet, folder: Path, stack: ExitStack) -> Running:
    site = Site(folder, {}, REFRESH_SECONDS=1, ACTIVATION_SECONDS=0, TIMEOUT_SECONDS=TIMEOUT)
    site.manage("migrate", "--verbosity=0")
    site.configure(**stores.fields(server))
    node = stack.enter_context(Node(site, "node-1", threads=8))
    visitors = [Browser([node.url]) for _ in range(CLIENTS)]
    for number, browser in enumerate(visitors):
        assert browser.post(f"/login/user-{number}/").status == 200
    comers = [Comer(Browser([node.url]), f"comer-{number}") for number in range(3)]
    return Running(server, node, visitors, comers)


@pytest.fixture(scope="module", params=[False, True], ids=["three with data", "two and an arbiter"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    require(ReplicaSet)
    with ReplicaSet(arbiter=request.param) as server, ExitStack() as stack:
        yield started(server, tmp_path_factory.mktemp("site"), stack)


@pytest.fixture
def whole(running: Running) -> Iterator[Running]:
    for browser in (*running.visitors, *(comer.browser for comer in running.comers)):
        browser.answers.clear()
    for comer in running.comers:
        comer.ended.clear()
    yield running
    running.server.heal()


@dataclass
class FailOver:
    """``begun``: monotonic seconds of the fault; ``elected``: of another primary, where there is one."""

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

    def check(self) -> None:
        """Nobody is anonymous, all counts are exact, all failures are 503; print what it has cost."""
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
        assert (lost, wrong) == (0, 0)
        assert {answer.status for answer in failed} <= {503}
        assert not any(answer.cookie_deleted for each in visits for answer in each)
        assert [fault for comer in self.running.comers for fault in comer.faults] == []
        self.check_logouts()
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

    def check_logouts(self) -> None:
        """None that was acknowledged comes back."""
        ended = [cookie for comer in self.running.comers for cookie in comer.ended]
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


def elect(fail_over: FailOver, former: Member) -> None:
    """Wait until another member is the primary; with an arbiter that one has no majority to confirm a write."""
    server = fail_over.running.server
    server.wait_for_primary(other_than=[former])
    fail_over.elected = None if server.arbiter else time.monotonic()


def test_the_primary_is_killed(whole: Running) -> None:
    def fault(fail_over: FailOver) -> None:
        former = whole.server.wait_for_primary()
        former.kill()
        elect(fail_over, former)

    fail_over = under_load(whole, fault)
    whole.server.heal()
    fail_over.check()


def test_the_primary_hangs_and_comes_back(whole: Running) -> None:
    """It goes on where it was, takes itself for the primary, and has to be told."""

    def fault(fail_over: FailOver) -> None:
        former = whole.server.wait_for_primary()
        former.pause()
        elect(fail_over, former)
        time.sleep(3.0)
        former.resume()

    under_load(whole, fault).check()


def test_the_old_primary_is_started_again(whole: Running) -> None:
    def fault(fail_over: FailOver) -> None:
        former = whole.server.wait_for_primary()
        former.kill()
        elect(fail_over, former)
        time.sleep(1.0)
        former.start()

    under_load(whole, fault).check()


def test_a_secondary_is_killed_and_nobody_notices(whole: Running) -> None:
    """With an arbiter there is no majority left that could confirm a write: every one is answered 503."""

    def fault(fail_over: FailOver) -> None:
        primary = whole.server.wait_for_primary()
        with_data = whole.server.members[: len(whole.server.nodes)]
        next(member for member in with_data if member is not primary).kill()

    fail_over = under_load(whole, fault)
    whole.server.heal()
    assert {answer.status for answer in fail_over.answers} == ({200, 503} if whole.server.arbiter else {200})
    fail_over.check()


def test_a_node_that_starts_while_the_first_host_is_dead(whole: Running) -> None:
    if whole.server.arbiter:
        pytest.skip("Without it there is no majority.")
    whole.server.kill()
    whole.server.wait_for_primary()
    with Node(whole.node.site, "node-2") as late:
        browser = Browser([late.url])
        answer = browser.post("/login/late/")
        assert (answer.status, browser.get("/whoami/").body["user"]) == (200, "late")
