"""Two nodes under load, gunicorn and uvicorn, while staff switch the store of their sessions again and again."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tests.load.clients import Browser, Load
from tests.load.operator import Operator
from tests.load.places import Place, places, servers
from tests.load.site import AsgiNode, Node, Site
from tests.load.users import Comer, Visitor
from tests.sizes import quick_and_long

pytestmark = pytest.mark.xdist_group("load")  # one at a time: they take all that the machine has

REFRESH, ACTIVATION, GUARD = 0.7, 1.4, 0.5  # seconds
SETTLED = (
    ACTIVATION + GUARD + 0.8
)  # after saving: the switch is over, and there has been load in the new store
PAUSE = 0.2  # of a user between two requests
AnyUser = TypeVar("AnyUser", Visitor, Comer)
DOWN = 3.0  # seconds that a killed node stays away


def every_pair(kinds: Sequence[str]) -> list[str]:
    """A walk that begins and ends at the first, and goes from each to each other exactly once, such as ABACBCA."""
    return [*itertools.chain.from_iterable(itertools.combinations(kinds, 2)), kinds[0]]


@dataclass(frozen=True)
class Size:
    """How many users there are, and how many stores the operator walks through; None: all."""

    visitors: int
    comers: int
    stores: int | None = None


@dataclass
class Live:
    """A site with its users logged in."""

    site: Site
    nodes: list[Node]
    operator: Operator
    walk: list[Place]
    visitors: list[Visitor]
    comers: list[Comer]

    def faults(self) -> list[str]:
        return [fault for user in (*self.visitors, *self.comers) for fault in user.faults]

    def report(self) -> str:
        requests = sum(len(user.browser.answers) for user in (*self.visitors, *self.comers))
        logouts = sum(len(comer.old_cookies) for comer in self.comers)
        lost = sum(visitor.lost_in_all for visitor in self.visitors)
        return (
            f"{len(self.walk) - 1} switches, {requests} requests, {logouts} logouts, {lost} visits in doubt"
        )


QUICK, LONG = quick_and_long(Size(visitors=2, comers=1, stores=2), Size(50, 6))


@pytest.fixture(params=[QUICK, LONG])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Live]:
    size: Size = request.param
    walk = every_pair(servers()[: size.stores])
    with used(places(walk, tmp_path.name), size, tmp_path) as live:
        yield live


@contextmanager
def used(walk: list[Place], size: Size, folder: Path) -> Iterator[Live]:
    """A site with its users logged in, whose sessions are in the first of these stores."""
    site = Site(
        folder,
        {alias: url for place in walk for alias, url in place.databases.items()},
        REFRESH_SECONDS=REFRESH,
        ACTIVATION_SECONDS=ACTIVATION,
        KEY_PREFIX=folder.name,
        TIMEOUT_SECONDS=5,
    )
    site.migrate()
    site.configure(**walk[0].fields)
    time.sleep(ACTIVATION + GUARD)
    with Node(site, "node-1") as first, AsgiNode(site, "node-2") as second:
        urls = [first.url, second.url]
        operator = Operator(site, urls)
        visitors = [Visitor(urls, f"visitor-{number}") for number in range(size.visitors)]
        for visitor in visitors:
            visitor.log_in()
        comers = [Comer(urls, f"comer-{number}") for number in range(size.comers)]
        yield Live(site, [first, second], operator, walk, visitors, comers)


@pytest.mark.parametrize("live", [LONG], indirect=True)
def test_nobody_is_logged_out_and_every_visit_counts(live: Live) -> None:
    """A small walk without anything else is that to a Cluster and back."""
    under_load(live, lambda switch: None)
    check(live)
    assert all(visitor.lost_in_all == 0 for visitor in live.visitors)


def test_the_walk_has_every_ordered_pair_once() -> None:
    kinds = servers()
    steps = list(itertools.pairwise(every_pair(kinds)))
    assert set(steps) == set(itertools.permutations(kinds, 2))
    assert len(steps) == len(set(steps))


THERE_AND_BACK = ["Valkey", "Cluster", "Valkey"]
EVERYWHERE = ["Valkey", "ReplicaSet", "Cluster", "Sentinel", "ReplicaSet", "Valkey", "Sentinel", "Cluster"]


@pytest.mark.parametrize(
    ("names", "size"),
    [
        pytest.param(THERE_AND_BACK, Size(visitors=2, comers=1), id="quick"),
        pytest.param([*EVERYWHERE, "Valkey"], Size(50, 6), id="long", marks=pytest.mark.long),
    ],
)
def test_nor_on_the_way_from_one_server_to_several_and_back(
    names: list[str], size: Size, tmp_path: Path
) -> None:
    sleepers: list[Visitor] = []
    with used(places(names, tmp_path.name), size, tmp_path) as live:

        def some_fall_asleep(switch: int) -> None:
            """In each store, just before it is left; nothing but a drain moves their sessions."""
            urls = [node.url for node in live.nodes]
            new = [Visitor(urls, f"sleeper-{switch}-{number}") for number in range(10)]
            for sleeper in new:
                sleeper.log_in()
                sleeper.visit()
            sleepers.extend(new)

        under_load(live, some_fall_asleep)
        check(live)
        for sleeper in sleepers:
            sleeper.visit()
        assert [fault for sleeper in sleepers for fault in sleeper.faults] == []
        assert all(visitor.lost_in_all == 0 for visitor in live.visitors)


def test_nor_when_a_node_is_killed_and_started_again_meanwhile(live: Live) -> None:
    middle = len(live.walk) // 2

    def kill_in_the_middle(switch: int) -> None:
        if switch == middle:
            live.nodes[1].kill()
            time.sleep(DOWN)
            live.nodes[1].start()

    under_load(live, kill_in_the_middle)
    check(live)


def under_load(live: Live, meanwhile: Callable[[int], None]) -> None:
    """Have all users at the site while the operator walks through the stores; some of them are drained on the way."""
    chance = random.Random(1)
    visiting = Load([v.browser for v in live.visitors], by_browser(live.visitors, Visitor.visit), PAUSE)
    coming = Load([c.browser for c in live.comers], by_browser(live.comers, Comer.come_and_go), PAUSE)
    with visiting, coming:
        for number, place in enumerate(live.walk[1:], start=1):
            live.operator.switch_to(**place.fields)
            meanwhile(number)
            time.sleep(SETTLED)
            if chance.random() < 0.4:
                live.site.manage("drain_sessions")


def by_browser(users: Sequence[AnyUser], action: Callable[[AnyUser], None]) -> Callable[[Browser], None]:
    """Return what the browser of one of these does."""
    found = {id(user.browser): user for user in users}
    return lambda browser: action(found[id(browser)])


def check(live: Live) -> None:
    print(live.report())  # noqa: T201 - shown when it fails
    assert live.faults() == []
    assert min(visitor.visits for visitor in live.visitors) > 10
    assert all(comer.old_cookies for comer in live.comers)
    live.operator.switch_to()  # is still logged in; the same store is no switch
    live.site.manage("drain_sessions")  # fails where something is left

    for visitor in live.visitors:
        visitor.visit()
    for comer in live.comers:
        for cookie in comer.old_cookies:
            comer.try_again(cookie)
    assert live.faults() == []
    left = {place.name: place.count() for place in live.walk}
    assert left.pop(live.walk[-1].name) > len(live.visitors)
    assert left == dict.fromkeys(left, 0)
