"""Fail-over of REDIS under load, on real servers: nobody is anonymous, and what counts is still there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any

import pytest
from pytest_django import Settings
from redis.crc import key_slot

from sessionpersist import conf
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.session.sealing import stored_key
from sessionpersist.stores.redis.several import ClusterStore
from sessionpersist.testing import override_login_configuration
from tests.load.visitors import Load
from tests.servers import Cluster, Valkey, Watched, require
from tests.servers.sentinel import NAME
from tests.stores.test_cluster import cluster_store

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("load"), pytest.mark.usefixtures("switches_at_once")]

LATE = 2.0  # seconds that a user may wait longer than the servers take themselves
TIMEOUT = 1.0


@pytest.fixture(autouse=True)
def short_timeout(switches_at_once: None, settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "TIMEOUT_SECONDS": TIMEOUT}


@pytest.fixture(scope="module")
def started_cluster() -> Iterator[Cluster]:
    require(Cluster)
    with Cluster(replicas=2) as cluster:  # one is left to wait for after a fail-over
        yield cluster


@pytest.fixture
def cluster(started_cluster: Cluster) -> Iterator[Cluster]:
    yield started_cluster
    started_cluster.heal()


@pytest.fixture(scope="module")
def started_watched() -> Iterator[Watched]:
    require(Watched)
    with Watched() as watched:
        yield watched


@pytest.fixture
def watched(started_watched: Watched) -> Iterator[Watched]:
    yield started_watched
    started_watched.heal()


def on_cluster(cluster: Cluster, **fields: Any) -> override_login_configuration:
    given = {"redis_mode": "CLUSTER", "redis_nodes": cluster.nodes, "redis_password": cluster.password}
    return override_login_configuration(persistence_type="REDIS", **given, **fields)


def on_watched(watched: Watched, **fields: Any) -> override_login_configuration:
    return override_login_configuration(
        persistence_type="REDIS",
        redis_mode="SENTINEL",
        redis_nodes=watched.nodes,
        redis_sentinel_name=NAME,
        redis_sentinel_password=watched.sentinel_password,
        redis_password=watched.password,
        **fields,
    )


def check(load: Load, what: str, since: float, engine: float, *, exact: bool) -> None:
    found = load.report(what, since, engine)
    assert load.wrong == []
    assert found["first success"] <= engine + LATE
    if exact:
        assert found["lost"] == 0


@pytest.mark.parametrize("how", ["kill", "pause"])
@pytest.mark.parametrize("wait", [0, 1], ids=["asynchronous", "waiting"])
class TestPrimary:
    """The primary is gone, or hangs and comes back while everybody goes on."""

    def test_of_a_cluster(self, cluster: Cluster, how: str, wait: int) -> None:
        with on_cluster(cluster, redis_wait_replicas=wait), Load() as load:
            victim = cluster.primary_of(0)
            begun = monotonic()
            getattr(victim, how)()
            cluster.wait_until(lambda: others_have_slot_0(cluster, victim))
            engine = monotonic() - begun
            load.wait_until_served(begun)
            victim.resume() if how == "pause" else victim.start()
            sleep(3)
        check(load, f"Cluster, {how}, wait {wait}", begun, engine, exact=bool(wait))

    def test_by_sentinel(self, watched: Watched, how: str, wait: int) -> None:
        with on_watched(watched, redis_wait_replicas=wait), Load() as load:
            victim = watched.primary()
            begun = monotonic()
            getattr(victim, how)()
            watched.wait_for_primary(victim)
            engine = monotonic() - begun
            load.wait_until_served(begun)
            victim.resume() if how == "pause" else victim.start()
            sleep(3)
        check(load, f"Sentinel, {how}, wait {wait}", begun, engine, exact=bool(wait))


def test_who_has_the_slots_of_a_lost_node_is_found_while_nobody_may_ask_it(cluster: Cluster) -> None:
    """A breaker turns everybody away meanwhile: they must not wait for the next one who may ask, and hangs."""
    store = cluster_store(cluster, timeout=TIMEOUT)
    victim = cluster.primary_of(0)
    key = next(name for name in map(str, itertools.count()) if slot_of(store, name) < 5000)
    store.get(key)
    victim.pause()
    with pytest.raises(StoreUnavailable):
        store.get(key)
    assert store.part_of(key) == victim.address
    cluster.wait_until(lambda: others_have_slot_0(cluster, victim))
    cluster.wait_until(lambda: store.part_of(key) != victim.address)
    store.get(key)


def slot_of(store: ClusterStore, key: str) -> int:
    return int(key_slot(store._name(key).encode()))


def others_have_slot_0(cluster: Cluster, victim: Valkey) -> bool:
    """Whether another node says that slot 0 is its own."""
    for each in cluster.members:
        if each is not victim and each.ask("ROLE")[0] == b"master":
            for line in each.knows():
                if "myself" in line[2] and any(slots.split("-")[0] == "0" for slots in line[8:]):
                    return True
    return False


def all_have_heard(cluster: Cluster, victim: Valkey) -> bool:
    """Whether no other node says that this one has slots: a new worker may ask any of them."""
    others = [each for each in cluster.members if each is not victim]
    return not any(f":{victim.port}@" in line[1] and line[8:] for each in others for line in each.knows())


def test_slots_of_a_cluster_move_and_nobody_notices(cluster: Cluster) -> None:
    """Those of all visitors, there and back, and some others."""
    with on_cluster(cluster), Load() as load:
        begun = monotonic()
        names = [f"{conf.key_prefix()}:{stored_key(each.key)}" for each in load.visitors]
        slots = {*(key_slot(name.encode()) for name in names), *range(20)}
        for slot in slots:
            source = cluster.primary_of(slot)
            target = cluster.primary_of((slot + 5462) % 16_384)
            cluster.move_slot(slot, target)
            cluster.move_slot(slot, source)
        engine = monotonic() - begun
    check(load, f"Cluster, {2 * len(slots)} moves", begun, engine, exact=True)
    assert load.failures == 0


@pytest.mark.parametrize("coordinated", [True, False], ids=["coordinated", "plain"])
def test_a_planned_fail_over_loses_nothing_where_it_is_coordinated(
    watched: Watched, coordinated: bool
) -> None:
    with on_watched(watched), Load() as load:
        old = watched.primary()
        begun = monotonic()
        watched.fail_over(coordinated=coordinated)
        watched.wait_for_primary(old)
        engine = monotonic() - begun
        load.wait_until_served(begun)
        sleep(3)
    check(load, f"Sentinel, planned, coordinated {coordinated}", begun, engine, exact=coordinated)


def test_each_sentinel_may_be_dead(watched: Watched) -> None:
    with on_watched(watched), Load() as load:
        begun = monotonic()
        for each in watched.sentinels:
            each.kill()
            sleep(1)
            each.start()
            sleep(1)
    check(load, "Sentinel, each Sentinel dead in turn", begun, 0.0, exact=True)
    assert load.failures == 0


def test_a_new_worker_starts_while_a_node_or_a_sentinel_is_dead(cluster: Cluster, watched: Watched) -> None:
    """It knows nothing but what was entered, the dead one first."""
    cluster.kill()
    cluster.wait_until(lambda: others_have_slot_0(cluster, cluster) and all_have_heard(cluster, cluster))
    with on_cluster(cluster), Load() as load:
        sleep(1)
    check(load, "Cluster, a new worker with a dead node", 0.0, 0.0, exact=True)
    watched.sentinels[0].kill()
    with on_watched(watched), Load() as load:
        sleep(1)
    check(load, "Sentinel, a new worker with a dead Sentinel", 0.0, 0.0, exact=True)
    assert load.failures == 0
