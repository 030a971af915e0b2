"""REDIS on an event loop: its connections, which threads use, too."""

from __future__ import annotations

import asyncio

import pytest

from sessionpersist.awaiting import awaited
from sessionpersist.stores.redis.store import RedisStore
from sessionpersist.stores.redis.wire import Wire
from tests.aio.interrupting import WHEN, cancelled_at
from tests.aio.looping import together
from tests.servers import Valkey
from tests.stores.contract import a_key, a_record
from tests.stores.places import redis_store


def idle(store: RedisStore) -> int:
    assert isinstance(store._wire, Wire)
    return len(store._wire._idle)


@pytest.mark.parametrize("when", WHEN)
def test_a_cancelled_verb_costs_its_own_connection_alone(when: str) -> None:
    store, key = redis_store(Valkey), a_key()
    store.create(key, record := a_record())

    async def test() -> None:
        await awaited(together, [lambda: store.get(key)] * 5)
        assert idle(store) == 5
        assert await cancelled_at(0, when, awaited(store.get, key))
        assert idle(store) == 4
        assert await awaited(store.get, key) == record
        assert idle(store) == 4

    asyncio.run(test())
    store.close()
