"""MONGODB on an event loop: the driver's own client, which waits by the loop."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import pytest
from pymongo.synchronous.pool import Connection, Pool

from sessionpersist.awaiting import awaited
from sessionpersist.stores.base import MAX_PAYLOAD_BYTES, Record
from sessionpersist.stores.mongodb import client as clients
from sessionpersist.stores.mongodb.store import MongoStore
from tests.aio.interrupting import WHEN, cancelled_at
from tests.aio.looping import InALoop, together
from tests.servers import MongoDB, shared
from tests.stores import test_hostile, test_mongodb, test_replica_set
from tests.stores.contract import a_key, a_record, eventually
from tests.stores.parallel import in_threads
from tests.stores.places import mongo_store


class TestMongo(InALoop, test_mongodb.TestMongoStore):
    pass


class TestDeadline(InALoop, test_hostile.TestDeadlineOfMongo):
    pass


class TestSizeOfAnAnswer(InALoop, test_hostile.TestSizeOfAnAnswerOfMongo):
    pass


@pytest.mark.long
class TestAnyAnswer(InALoop, test_hostile.TestAnyAnswerOfMongo):
    pass


@pytest.mark.long
@pytest.mark.xdist_group("replica_set")
class TestReplicaSet(InALoop, test_replica_set.TestReplicaSet):
    pass


class TestCertificates(InALoop):
    def test_a_session_of_many_megabytes_goes_there_and_back_encrypted(self) -> None:
        with closing(mongo_store(tls=True, timeout=30)) as store:
            key, record = a_key(), a_record(secrets.token_bytes(MAX_PAYLOAD_BYTES))
            assert store.create(key, record)
            assert store.get(key) == record
            store.delete(key)


@pytest.fixture
def store() -> Iterator[MongoStore]:
    with closing(mongo_store(prefix=f"aio_{secrets.token_hex(4)}", timeout=20)) as store:
        store.prepare()
        yield store
        store._sessions.drop()


@contextmanager
def connections() -> Iterator[Callable[[], int]]:
    """How many connections the server has from stores, those aside by which the driver watches it."""
    server = shared(MongoDB)
    if server.external:
        pytest.skip("needs a user who may see the connections of others")
    with server._client(username=server.admin_username, password=server.admin_password) as client:
        ours = {"appName": "sessionpersist", "effectiveUsers.user": server.username}
        stages: list[dict[str, Any]] = [
            {"$currentOp": {"allUsers": True, "idleConnections": True}},
            {"$match": ours},
            {"$count": "found"},
        ]

        def count() -> int:
            return int(next(iter(client.admin.aggregate(stages)), {"found": 0})["found"])

        yield count


@pytest.fixture
def no_other_connections() -> None:
    """Close what the tests before have left open, so that what a test counts is its own."""
    clients._close_all()
    with connections() as count:
        assert eventually(count, {0})


@pytest.mark.usefixtures("no_other_connections")
class TestConnections:
    """One client a process, for its threads and all of its loops."""

    def test_loops_that_come_and_go_use_the_same_ones(self, store: MongoStore) -> None:
        store.create(key := a_key(), record := a_record())
        database, threads = store._database(), set(threading.enumerate())
        with connections() as count:
            before = count()
            for _ in range(100):
                assert asyncio.run(awaited(store.get, key)) == record
            assert count() == before
        assert store._database() is database
        started = {each.name for each in threading.enumerate() if each not in threads}
        assert not {
            name for name in started if not name.startswith("pymongo_")
        }  # those that watch the server

    def test_many_loops_in_threads_and_threads_beside_them(self, store: MongoStore) -> None:
        records = {a_key(): a_record() for _ in range(8)}
        store.create_many(records)

        async def many(key: str) -> list[Record | None]:
            return await asyncio.gather(*(awaited(store.get, key) for _ in range(10)))

        def in_a_loop(key: str) -> bool:
            return asyncio.run(many(key)) == [records[key]] * 10

        def in_a_thread(key: str) -> bool:
            return [store.get(key) for _ in range(10)] == [records[key]] * 10

        asked = [partial(way, key) for key in records for way in (in_a_loop, in_a_thread)]
        assert in_threads(asked) == [True] * len(asked)

    def test_more_coroutines_than_connections_wait_for_each_other(
        self, store: MongoStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.create(key := a_key(), record := a_record())
        pool = pool_of(store)
        monkeypatch.setattr(pool, "max_pool_size", 3)

        async def test() -> None:
            found = await asyncio.gather(*(awaited(store.get, key) for _ in range(100)))
            assert found == [record] * 100

        with connections() as count:
            asyncio.run(test())
            assert count() <= 3
        assert (pool.requests, pool.active_sockets, pool._pending) == (0, 0, 0)

    def test_a_coroutine_is_cancelled_while_it_waits_for_one(
        self, store: MongoStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its turn, which may just have come, is the next one's."""
        store.create(key := a_key(), record := a_record())
        pool = pool_of(store)
        monkeypatch.setattr(pool, "max_pool_size", 1)

        async def test() -> None:
            tasks = [asyncio.ensure_future(awaited(store.get, key)) for _ in range(30)]
            await asyncio.sleep(0)
            for each in tasks[1::2]:
                each.cancel()
                await asyncio.sleep(0.001)
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert found[::2] == [record] * 15

        asyncio.run(test())
        assert (pool.requests, pool.active_sockets, pool._pending) == (0, 0, 0)

    @pytest.mark.parametrize("when", WHEN)
    def test_a_cancelled_verb_costs_its_own_alone(self, store: MongoStore, when: str) -> None:
        store.create(key := a_key(), record := a_record())
        pool = pool_of(store)

        async def test() -> None:
            await awaited(together, [lambda: store.get(key)] * 5)
            before = len(pool.conns)
            assert await cancelled_at(0, when, awaited(store.get, key))
            assert len(pool.conns) == before - 1
            assert await awaited(store.get, key) == record
            assert len(pool.conns) == before - 1

        asyncio.run(test())
        assert (pool.requests, pool.active_sockets, pool._pending) == (0, 0, 0)
        assert pool.active_contexts == set()

    def test_one_that_nobody_waits_for_any_more_is_closed_as_it_comes(
        self, store: MongoStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.create(key := a_key(), record := a_record())
        pool, logs_in, come = pool_of(store), threading.Event(), threading.Event()
        pool.reset_without_pause()
        throw_away = pool._throw_away

        def connect(self: Pool, handler: Any = None) -> Connection:
            assert logs_in.wait(20)
            return real(self, handler)

        def thrown_away(connection: Connection) -> None:
            throw_away(connection)
            come.set()

        real = Pool.connect
        monkeypatch.setattr(Pool, "connect", connect)
        monkeypatch.setattr(pool, "_throw_away", thrown_away)

        async def test() -> None:
            task = asyncio.ensure_future(awaited(store.get, key))
            while pool._pending == 0:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            logs_in.set()
            assert await asyncio.to_thread(come.wait, 20)
            assert (pool.requests, pool.active_sockets, pool._pending) == (0, 0, 0)
            assert await awaited(store.get, key) == record

        with connections() as count:
            asyncio.run(test())
            assert eventually(count, {1})
        assert pool.active_contexts == set()


def pool_of(store: MongoStore) -> Any:
    (server,) = store._database().client._topology._servers.values()
    return server.pool
