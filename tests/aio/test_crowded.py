"""More coroutines ask at once than a loop may have connections: whoever gets none in time is told that, and the server
is not blamed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from time import monotonic
from typing import TypeVar

import pytest
from redis.crc import key_slot

from sessionpersist.awaiting import awaited, wait
from sessionpersist.configuration.store_sentences import find
from sessionpersist.stores.breaker import FAULTS
from sessionpersist.stores.guarded import GuardedStore, PartedStore
from sessionpersist.stores.mongodb.store import MongoStore
from sessionpersist.stores.reachability import Crowded
from sessionpersist.stores.redis.cluster import ClusterLink
from sessionpersist.stores.redis.store import RedisStore
from sessionpersist.stores.redis.wire import Wire
from sessionpersist.stores.settings import RedisSettings
from tests.aio.test_mongodb import pool_of
from tests.servers import MongoDB, Server, Valkey, require, shared
from tests.stores.contract import a_key, a_record
from tests.stores.places import mongo_settings
from tests.stores.test_cluster import cluster_store

MOST = 2
PATIENT, IMPATIENT = 60.0, 0.3  # seconds

Store = RedisStore | MongoStore
AnyServer = TypeVar("AnyServer", bound=Server)


def pausable(kind: type[AnyServer]) -> AnyServer:
    """Return the shared server of a kind, which a test may pause."""
    require(kind)
    if (server := shared(kind)).external:
        pytest.skip("A server that someone else runs is not paused.")
    return server


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("redis.wire", "mongodb.pool"):
        monkeypatch.setattr(f"sessionpersist.stores.{module}.MOST_AT_ONCE", MOST)


def crowd(store: Store, be_patient: Callable[[float], None], server: Server) -> None:
    """Have all connections in use, by coroutines that have more time than those that come later."""
    guarded, key, record = GuardedStore(store, "the store"), a_key(), a_record()

    async def page() -> None:
        be_patient(PATIENT)
        assert await awaited(guarded.create, key, record)
        server.pause()
        try:
            first = [asyncio.ensure_future(awaited(guarded.get, key)) for _ in range(MOST)]
            await asyncio.sleep(0)
            be_patient(IMPATIENT)
            late = [awaited(guarded.get, key) for _ in range(2 * FAULTS)]
            failures = await asyncio.gather(*late, return_exceptions=True)
        finally:
            server.resume()
        assert await asyncio.gather(*first) == [record] * MOST
        assert {type(each) for each in failures} == {Crowded}
        for each in failures:
            assert f" was not asked: all {MOST} connections that this process may have are in use." in str(
                each
            )
            assert find(str(each)) is not None
        assert guarded.breaker.healthy
        be_patient(PATIENT)
        assert await awaited(guarded.get, key) == record

    asyncio.run(page())


def test_redis(caplog: pytest.LogCaptureFixture) -> None:
    valkey = pausable(Valkey)
    settings = RedisSettings(host=valkey.host, port=valkey.port)
    with closing(RedisStore(settings, valkey.password, PATIENT, "crowded")) as store:
        wire = store._wire
        assert isinstance(wire, Wire)
        crowd(store, lambda seconds: setattr(wire, "timeout", seconds), valkey)
    assert caplog.text.count("event=store_crowded") == 1
    assert f"REDIS at {valkey.host}:{valkey.port} was not asked" in caplog.text
    assert "event=store_lost" not in caplog.text


def test_mongodb(caplog: pytest.LogCaptureFixture) -> None:
    mongod = pausable(MongoDB)
    with closing(MongoStore(mongo_settings(mongod), mongod.password, PATIENT, "crowded")) as store:
        store.prepare()
        assert pool_of(store)._turns.most == MOST
        crowd(store, lambda seconds: setattr(store, "timeout", seconds), mongod)
    assert caplog.text.count("event=store_crowded") == 1
    assert f"MONGODB at {mongod.host}:{mongod.port} was not asked" in caplog.text
    assert "event=store_lost" not in caplog.text


@pytest.mark.xdist_group("cluster")
def test_a_node_of_a_cluster_is_not_lost_by_that(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a review: the topology was asked for, and the node was looked for elsewhere."""
    with closing(cluster_store(timeout=PATIENT)) as store:
        guarded, key = PartedStore(store, "the store"), a_key()
        assert guarded.get(key) is None
        link = store._wire
        wire = link._slots[key_slot(store._name(key).encode())]
        assert wire is not None
        monkeypatch.setattr(
            ClusterLink, "_load_aside", lambda self: pytest.fail("the topology was asked for")
        )

        def hold(until: asyncio.Event) -> None:
            with wire._turns.one(monotonic() + PATIENT):
                wait(until.wait())

        async def page() -> None:
            done = asyncio.Event()
            holders = [asyncio.ensure_future(awaited(hold, done)) for _ in range(MOST)]
            await asyncio.sleep(0)
            wire.timeout = link.timeout = IMPATIENT
            late = [awaited(guarded.get, key) for _ in range(2 * FAULTS)]
            failures = await asyncio.gather(*late, return_exceptions=True)
            done.set()
            await asyncio.gather(*holders)
            assert {type(each) for each in failures} == {Crowded}
            wire.timeout = link.timeout = PATIENT
            assert await awaited(guarded.get, key) is None

        asyncio.run(page())
        assert not link._lost
        assert not guarded.open_breakers()
    assert f"{wire.address} was not asked" in caplog.text
    assert "event=store_lost" not in caplog.text
