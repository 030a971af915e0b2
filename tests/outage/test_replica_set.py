"""MongoDB replica sets under load: a member is killed, hangs, comes back. What was acknowledged is there afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.load import stores
from tests.load.clients import Browser
from tests.load.site import Node
from tests.outage.failing_over import FailOver, Running, started, under_load
from tests.servers import ReplicaSet, require
from tests.servers.replica_set import Member

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("load")]


@dataclass
class OnReplicaSet(Running):
    server: ReplicaSet


@pytest.fixture(scope="module", params=[False, True], ids=["three with data", "two and an arbiter"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OnReplicaSet]:
    require(ReplicaSet)
    with ReplicaSet(arbiter=request.param) as server, ExitStack() as stack:
        running = started(tmp_path_factory.mktemp("site"), stack, stores.fields(server))
        yield OnReplicaSet(**vars(running), server=server)


@pytest.fixture
def whole(running: OnReplicaSet) -> Iterator[OnReplicaSet]:
    running.begin_again()
    yield running
    running.server.heal()


def elect(whole: OnReplicaSet, fail_over: FailOver, former: Member) -> None:
    """Wait until another member is the primary and a majority confirms its writes; with an arbiter there is none."""
    server = whole.server
    server.wait_for_primary(other_than=[former])
    if not server.arbiter:
        server.wait_for_majority()
        fail_over.elected = time.monotonic()


def test_the_primary_is_killed(whole: OnReplicaSet) -> None:
    def fault(fail_over: FailOver) -> None:
        former = whole.server.wait_for_primary()
        former.kill()
        elect(whole, fail_over, former)

    fail_over = under_load(whole, fault)
    whole.server.heal()
    fail_over.check()


def test_the_primary_hangs_and_comes_back(whole: OnReplicaSet) -> None:
    """It goes on where it was, takes itself for the primary, and has to be told."""

    def fault(fail_over: FailOver) -> None:
        former = whole.server.wait_for_primary()
        former.pause()
        elect(whole, fail_over, former)
        time.sleep(3.0)
        former.resume()

    under_load(whole, fault).check()


def test_the_old_primary_is_started_again(whole: OnReplicaSet) -> None:
    def fault(fail_over: FailOver) -> None:
        former = whole.server.wait_for_primary()
        former.kill()
        elect(whole, fail_over, former)
        time.sleep(1.0)
        former.start()

    under_load(whole, fault).check()


def test_a_secondary_is_killed_and_nobody_notices(whole: OnReplicaSet) -> None:
    """With an arbiter there is no majority left that could confirm a write: every one is answered 503."""

    def fault(fail_over: FailOver) -> None:
        primary = whole.server.wait_for_primary()
        with_data = whole.server.members[: len(whole.server.nodes)]
        next(member for member in with_data if member is not primary).kill()

    fail_over = under_load(whole, fault)
    whole.server.heal()
    assert {answer.status for answer in fail_over.answers} == ({200, 503} if whole.server.arbiter else {200})
    fail_over.check()


def test_a_node_that_starts_while_the_first_host_is_dead(whole: OnReplicaSet) -> None:
    if whole.server.arbiter:
        pytest.skip("Without it there is no majority.")
    whole.server.kill()
    whole.server.wait_for_primary()
    with Node(whole.node.site, "node-2") as late:
        browser = Browser([late.url])
        answer = browser.post("/login/late/")
        assert (answer.status, browser.get("/whoami/").body["user"]) == (200, "late")
