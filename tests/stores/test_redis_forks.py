"""REDIS in forked children: what a thread of the parent held at the fork holds nobody up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial

import pytest

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.redis.store import RedisStore
from sessionpersist.stores.settings import RedisSettings
from tests.servers import Cluster, Server, Valkey, Watched, require, shared
from tests.sizes import first_of_each, quick_and_long
from tests.stores.contract import a_key
from tests.stores.parallel import in_processes
from tests.stores.test_cluster import cluster_store
from tests.stores.test_sentinel import sentinel_store

pytestmark = pytest.mark.xdist_group("cluster")


def single() -> RedisStore:
    server = shared(Valkey)
    return RedisStore(RedisSettings(host=server.host, port=server.port), server.password, 5, "tests")


KINDS: list[tuple[type[Server], Callable[[], RedisStore]]] = [
    (Valkey, single),
    (Watched, sentinel_store),
    (Cluster, cluster_store),
]
IDS = ["Valkey", "Sentinel", "Cluster"]  # functions have no name that is the same in each process


def reads(store: RedisStore) -> str:
    return str(store.get(a_key()))


@pytest.mark.parametrize("rounds", quick_and_long(1, 3))
@pytest.mark.parametrize(("server", "make"), first_of_each(KINDS, lambda case: "the driver's pool"), ids=IDS)
def test_a_child_asks_while_threads_of_the_parent_are_in_the_drivers_pool(
    server: type[Server], make: Callable[[], RedisStore], rounds: int
) -> None:
    """Seen: children that hung for ever, past every deadline, after 1 of 14 forks. By chance; that each lock is another
    in a child, the next test shows."""
    require(server)
    store = make()
    assert store.get(a_key()) is None
    stopped = threading.Event()

    def hammer() -> None:
        while not stopped.is_set():
            store.close()  # so that the next one needs the pool
            with suppress(StoreUnavailable):  # another thread has closed the connection that was in use
                store.get(a_key())

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(rounds):
            assert in_processes([partial(reads, store)] * 10) == ["None"] * 10
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
        store.close()


@pytest.mark.parametrize(("server", "make"), KINDS, ids=IDS)
def test_a_lock_that_is_held_at_the_fork_is_another_in_the_child(
    server: type[Server], make: Callable[[], RedisStore]
) -> None:
    require(server)
    store = make()
    assert store.get(a_key()) is None
    with ExitStack() as stack:
        held = [stack.enter_context(each) for each in locks_of(store)]
        assert held
        holder: list[str] = []
        # Another thread forks, as a lock of the thread that forks is its own in the child, too.
        thread = threading.Thread(target=lambda: holder.extend(in_processes([partial(reads, store)])))
        thread.start()
        thread.join(20)
    assert holder == ["None"]
    store.close()


def locks_of(store: RedisStore) -> list[threading.RLock]:
    """Those of each pool of the driver that the store has."""
    link = store._wire
    wires = list(vars(link).get("_wires", {}).values()) or [link]
    pools = [each._pool for each in wires]
    pools += [each.connection_pool for each in getattr(getattr(link, "sentinel", None), "sentinels", ())]
    return [each._lock for each in pools]
