"""MONGODB on an event loop: the driver's own client, which waits by the loop."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import pytest
from pymongo.synchronous.pool import Connection, Pool

from sessionpersist.awaiting import awaited
from sessionpersist.stores.base import MAX_PAYLOAD_BYTES, Record
from sessionpersist.stores.mongodb.pool import MOST_AT_ONCE, MOST_CONNECTING
from sessionpersist.stores.mongodb.store import MongoStore
from tests.aio.interrupting import WHEN, cancelled_at
from tests.aio.looping import InALoop, together
from tests.servers import MongoDB, shared
from tests.stores import test_hostile, test_mongodb, test_replica_set
from tests.stores.contract import BESIDE_REQUESTS, AnyContent, a_key, a_record, eventually
from tests.stores.parallel import in_processes, in_threads
from tests.stores.places import mongo_store


class TestMongo(InALoop, test_mongodb.TestMongoStore):
    long_parts = (*BESIDE_REQUESTS, AnyContent)


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


OTHERS: set[int] = set()  # connections that other tests have left open


@contextmanager
def ids_of_connections() -> Iterator[Callable[[], set[int]]]:
    """Which connections the server has from stores, those aside by which the driver watches it."""
    server = shared(MongoDB)
    if server.external:
        pytest.skip("needs a user who may see the connections of others")
    with server._client(username=server.admin_username, password=server.admin_password) as client:
        ours = {"appName": "sessionpersist", "effectiveUsers.user": server.username}
        stages: list[dict[str, Any]] = [
            {"$currentOp": {"allUsers": True, "idleConnections": True}},
            {"$match": ours},
        ]
        yield lambda: {each["connectionId"] for each in client.admin.aggregate(stages)}


@contextmanager
def connections() -> Iterator[Callable[[], int]]:
    """How many there are, those of other tests aside."""
    with ids_of_connections() as ids:
        yield lambda: len(ids() - OTHERS)


@pytest.fixture
def no_other_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    with ids_of_connections() as ids:
        monkeypatch.setattr("tests.aio.test_mongodb.OTHERS", ids())


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
        monkeypatch.setattr(pool._turns, "most", 3)

        async def test() -> None:
            found = await asyncio.gather(*(awaited(store.get, key) for _ in range(100)))
            assert found == [record] * 100

        with connections() as count:
            asyncio.run(test())
            assert count() <= 3
        assert counted(pool) == (0, 0, 0, set())

    def test_where_there_are_none_a_few_are_made_at_a_time_and_used_by_all(
        self, store: MongoStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.create(key := a_key(), record := a_record())
        pool, real, lock, connecting, made = pool_of(store), Pool.connect, threading.Lock(), [0], list[int]()
        pool.reset_without_pause()

        def connect(self: Pool, handler: Any = None) -> Connection:
            with lock:
                connecting[0] += 1
                made.append(connecting[0])
            time.sleep(0.05)
            try:
                return real(self, handler)
            finally:
                with lock:
                    connecting[0] -= 1

        monkeypatch.setattr(Pool, "connect", connect)

        async def test() -> None:
            found = await asyncio.gather(*(awaited(store.get, key) for _ in range(90)))
            assert found == [record] * 90

        asyncio.run(test())
        assert max(made) <= MOST_CONNECTING
        assert len(made) < 90
        assert counted(pool) == (0, 0, 0, set())

    def test_a_coroutine_is_cancelled_while_it_waits_for_one(
        self, store: MongoStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its turn, which may just have come, is the next one's."""
        store.create(key := a_key(), record := a_record())
        pool = pool_of(store)
        monkeypatch.setattr(pool._turns, "most", 1)

        async def test() -> None:
            tasks = [asyncio.ensure_future(awaited(store.get, key)) for _ in range(30)]
            await asyncio.sleep(0)
            for each in tasks[1::2]:
                each.cancel()
                await asyncio.sleep(0.001)
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert found[::2] == [record] * 15

        asyncio.run(test())
        assert counted(pool) == (0, 0, 0, set())

    @pytest.mark.parametrize("cold", [False, True])
    def test_a_loop_that_is_closed_while_coroutines_wait_takes_nothing_from_the_others(
        self, store: MongoStore, cold: bool
    ) -> None:
        """In a process of its own: nothing ends what they had begun."""
        store.create(key := a_key(), record := a_record())

        def found() -> str:
            left = [closed_meanwhile(store, key, cold=cold) for _ in range(3)]
            found = [asyncio.run(awaited(store.get, key)), *in_threads([lambda: store.get(key)] * 5)]
            return str((len(left), found == [record] * 6))

        assert in_processes([found]) == ["(3, True)"]

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
        assert counted(pool) == (0, 0, 0, set())

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
            assert counted(pool)[:3] == (0, 0, 0)
            assert await awaited(store.get, key) == record

        with connections() as count:
            asyncio.run(test())
            assert eventually(count, {1})
        assert pool.active_contexts == set()


def pool_of(store: MongoStore) -> Any:
    (server,) = store._database().client._topology._servers.values()
    return server.pool


def closed_meanwhile(store: MongoStore, key: str, *, cold: bool) -> list[asyncio.Task[Record | None]]:
    """Close a loop while coroutines wait for a store, and return their tasks."""
    store.get(key)
    if cold:
        pool_of(store).reset_without_pause()
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(awaited(store.get, key)) for _ in range(MOST_AT_ONCE)]
    loop.run_until_complete(asyncio.sleep(0))
    assert not all(each.done() for each in tasks)
    loop.close()
    return tasks


def counted(pool: Any) -> tuple[int, int, int, set[object]]:
    """What the driver counts of the connections in use and of those that are being made."""
    return pool.requests, pool.active_sockets, pool._pending, pool.active_contexts
