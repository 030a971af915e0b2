"""REDIS on an event loop: its connections, which threads use, too."""

from __future__ import annotations

import asyncio
import gc
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pytest

from sessionpersist.awaiting import awaited
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.base import MAX_PAYLOAD_BYTES, Outcome
from sessionpersist.stores.breaker import FAULTS, PAUSE
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.reachability import Crowded
from sessionpersist.stores.redis.store import RedisStore
from sessionpersist.stores.redis.wire import MOST_AT_ONCE, Wire
from sessionpersist.stores.settings import RedisSettings
from tests.aio.interrupting import WHEN, cancelled_at
from tests.aio.looping import on_a_loop, together
from tests.servers import Redis, Valkey
from tests.stores.contract import a_key, a_record
from tests.stores.fake import redis_that_answers, serving
from tests.stores.parallel import in_threads
from tests.stores.places import redis_store

TIMEOUT = 2.0  # seconds
MOST = 60  # waits of one verb


def idle(store: RedisStore) -> int:
    assert isinstance(store._wire, Wire)
    return len(store._wire._idle)


def never(command: list[bytes]) -> bytes:
    time.sleep(2 * TIMEOUT)
    return b"$-1\r\n"


@contextmanager
def hanging() -> Iterator[RedisStore]:
    """A server that lets everybody in, and then says nothing more."""
    with serving(redis_that_answers(never)) as port:
        store = RedisStore(RedisSettings(host="127.0.0.1", port=port), "secret", TIMEOUT, "tests")
        yield store
        store.close()


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


@pytest.mark.parametrize("when", WHEN)
def test_a_tls_handshake_that_is_cancelled_leaves_nothing_open(when: str) -> None:
    """A warning of Python's about a socket that nobody has closed is an error here."""
    store, key = redis_store(Redis, tls=True), a_key()
    store.create(key, record := a_record())

    async def test() -> None:
        for number in range(MOST):
            store.close()
            was_cancelled = await cancelled_at(number, when, awaited(store.get, key))
            assert await awaited(store.get, key) == record
            if not was_cancelled:
                return
        pytest.fail("It waits without end.")

    asyncio.run(test())
    store.close()
    gc.collect()


@pytest.mark.parametrize("tls", [False, True])
def test_a_record_of_the_greatest_size_goes_and_comes_in_parts(tls: bool) -> None:
    store, key = redis_store(Redis if tls else Valkey, tls=tls), a_key()
    record = a_record(secrets.token_bytes(MAX_PAYLOAD_BYTES))

    def several() -> None:
        assert store.create(key, record)
        assert in_threads([partial(store.get, key)] * 3) == [record] * 3
        assert store.replace(key, small := a_record(), record.version) is Outcome.SAVED
        assert store.get(key) == small

    on_a_loop(several)()
    store.close()


def test_more_coroutines_than_there_are_connections_wait_for_one_another() -> None:
    store, key = redis_store(Valkey), a_key()
    store.create(key, record := a_record())
    many = 3 * MOST_AT_ONCE
    assert on_a_loop(in_threads)([partial(store.get, key)] * many) == [record] * many
    assert 0 < idle(store) <= MOST_AT_ONCE
    store.close()


def test_connections_of_a_loop_serve_threads_and_other_loops() -> None:
    store, key = redis_store(Valkey), a_key()
    store.create(key, record := a_record())
    for _ in range(3):
        assert asyncio.run(awaited(store.get, key)) == record
        assert (
            in_threads([partial(store.get, key), partial(asyncio.run, awaited(store.get, key))])
            == [record] * 2
        )
    assert idle(store) <= 2
    store.close()


def test_while_a_server_hangs_the_loop_goes_on_and_each_verb_ends_in_time() -> None:
    async def beat(longest: list[float]) -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(0.01)
            longest.append(time.monotonic() - begun)

    async def test(store: RedisStore) -> None:
        gaps: list[float] = []
        heart = asyncio.ensure_future(beat(gaps))
        begun = time.monotonic()
        asked = [awaited(store.get, a_key()) for _ in range(2 * MOST_AT_ONCE)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert TIMEOUT - 0.2 < time.monotonic() - begun < 5 * TIMEOUT
        heart.cancel()
        assert Counter(map(type, answers)) == {StoreUnavailable: MOST_AT_ONCE, Crowded: MOST_AT_ONCE}
        assert max(gaps) < TIMEOUT * 0.9, "one verb that held it up would take all of that"

    with hanging() as store:
        asyncio.run(test(store))


def test_a_cancelled_verb_is_no_fault_and_a_cancelled_trial_is_followed_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang_up(guarded: GuardedStore) -> None:
        asked = asyncio.ensure_future(awaited(guarded.get, a_key()))
        await asyncio.sleep(0.05)
        asked.cancel()
        with suppress(asyncio.CancelledError):
            await asked

    async def test(store: RedisStore) -> None:
        guarded, now = GuardedStore(store, "the store"), [0.0]
        monkeypatch.setattr(guarded.breaker, "_clock", lambda: now[0])
        for _ in range(2 * FAULTS):
            await hang_up(guarded)
        assert guarded.breaker.healthy
        for _ in range(FAULTS):
            guarded.breaker.failed()
        for _ in range(3):
            assert not guarded.breaker.admits()
            now[0] += 1.1 * PAUSE
            await hang_up(guarded)  # the one that tries it
            assert guarded.breaker.is_open
        now[0] += 1.1 * PAUSE
        assert guarded.breaker.admits()

    with hanging() as store:
        asyncio.run(test(store))
