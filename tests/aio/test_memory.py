"""In-Memory on an event loop: what waits for another process holds up nobody in this one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sessionpersist.awaiting import awaited
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.memory.store import MemoryStore
from tests.aio.interrupting import WHEN, cancelled_at
from tests.stores.contract import a_key, a_record
from tests.stores.test_memory import holding

TIMEOUT = 15.0  # seconds
HELD = 1.5  # seconds for which another process has the turn


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryStore]:
    store = MemoryStore(tmp_path, "site", TIMEOUT)
    store.prepare()
    yield store
    store.close()


@contextmanager
def another_writes(store: MemoryStore, seconds: float) -> Iterator[None]:
    """Another process has the turn for so long."""
    with holding(store.folder / "sessions.lmdb-turn") as holder:
        timer = threading.Timer(seconds, holder.kill)
        timer.start()
        yield
        timer.join()


def test_a_coroutine_that_waits_for_its_turn_holds_up_no_other(store: MemoryStore) -> None:
    key = a_key()
    store.create(key, record := a_record())

    async def test() -> None:
        writes = asyncio.ensure_future(awaited(store.create, a_key(), a_record()))
        for _ in range(50):
            assert await awaited(store.get, key) == record
            await asyncio.sleep(0)
        assert not writes.done()
        assert await writes

    with another_writes(store, HELD):
        asyncio.run(test())


def test_sync_code_on_the_loop_takes_its_turn_while_a_coroutine_waits_for_one(store: MemoryStore) -> None:
    async def test() -> None:
        writes = asyncio.ensure_future(awaited(store.create, a_key(), a_record()))
        await asyncio.sleep(0.05)
        assert not writes.done()
        assert store.create(a_key(), a_record())
        assert await writes

    with another_writes(store, HELD):
        asyncio.run(test())


def test_a_turn_that_does_not_come_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path, "site", 0.5)
    store.prepare()
    begun = time.monotonic()
    with another_writes(store, HELD), pytest.raises(StoreUnavailable, match="locked by another process"):
        asyncio.run(awaited(store.create, a_key(), a_record()))
    assert time.monotonic() - begun > 0.5
    assert asyncio.run(awaited(store.create, a_key(), a_record()))
    store.close()


@pytest.mark.parametrize("when", WHEN)
def test_a_coroutine_that_is_cancelled_as_it_waits_for_its_turn_leaves_it_to_others(
    store: MemoryStore, when: str
) -> None:
    async def test() -> None:
        assert await cancelled_at(3, when, awaited(store.create, a_key(), a_record()))

    with another_writes(store, HELD):
        asyncio.run(test())
        assert store.create(a_key(), a_record())
