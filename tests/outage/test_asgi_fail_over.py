"""A Sentinel fail-over under an event loop: the node is one uvicorn, all of whose pages are coroutines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.load import stores
from tests.load.site import AsgiNode
from tests.outage.failing_over import FailOver, Running, started, under_load
from tests.servers import Watched, require

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("load")]


@dataclass
class OnWatched(Running):
    server: Watched


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnWatched]:
    require(Watched)
    with Watched() as server, ExitStack() as stack:
        fields = {**stores.fields(server), "redis_wait_replicas": 1}
        running = started(
            tmp_path_factory.mktemp("site"), stack, fields, make_node=lambda site: AsgiNode(site, "node-1")
        )
        yield OnWatched(**vars(running), server=server)


@pytest.fixture
def whole(running: OnWatched) -> Iterator[OnWatched]:
    running.begin_again()
    yield running
    running.server.heal()


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_the_primary_is_gone(whole: OnWatched, how: str) -> None:
    """A write waits for a replica, so nothing that was acknowledged is lost."""

    def fault(fail_over: FailOver) -> None:
        former = whole.server.primary()
        getattr(former, how)()
        whole.server.wait_for_primary(former)
        fail_over.elected = time.monotonic()

    under_load(whole, fault).check()
