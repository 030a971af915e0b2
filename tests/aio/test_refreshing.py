"""The configuration is read again aside: the loop goes on, and however many coroutines ask, the database is asked
once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from sessionpersist.awaiting import awaited
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import snapshot
from tests.configuration import test_snapshot
from tests.configuration.test_snapshot import REFRESH, Clock, Database, hold_up, in_force
from tests.engine.support import in_event_loop

MANY = 64
BEARABLE, TOO_OLD = 1.5 * REFRESH, 3 * REFRESH  # ages of what is known, when somebody asks


clock, database = test_snapshot.clock, test_snapshot.database  # the fixtures


@pytest.fixture
def go_on(database: Database) -> threading.Event:
    """The database answers nobody before this is set."""
    snapshot.current()
    assert database.reads == 1
    event = threading.Event()
    database.before_answer = partial(hold_up, threading.Event(), event)
    return event


def asked(many: int = MANY) -> list[asyncio.Future[object]]:
    return [asyncio.ensure_future(awaited(in_force)) for _ in range(many)]


async def until(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not true():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.001)


@in_event_loop
async def test_one_coroutine_reads_and_the_others_go_on_with_what_they_know(
    clock: Clock, database: Database, go_on: threading.Event
) -> None:
    clock.now += BEARABLE
    await asyncio.gather(*asked())  # nobody waits
    await until(lambda: database.reads == 2)
    new = database.switch(2, clock.now - 1)
    go_on.set()
    await until(lambda: in_force() == new)
    assert database.reads == 2


def test_it_is_read_where_all_sync_code_is_busy(
    clock: Clock, database: Database, go_on: threading.Event
) -> None:
    """Django's thread for sync code may be busy for long, and with what waits for this very coroutine."""
    go_on.set()

    async def page() -> None:
        clock.now += TOO_OLD
        busy = asyncio.ensure_future(sync_to_async(done.wait)(10))
        await asyncio.sleep(0)
        await asyncio.gather(*asked(8))
        done.set()
        assert await busy

    done = threading.Event()
    asyncio.run(asyncio.wait_for(page(), 5))
    assert database.reads == 2


@in_event_loop
async def test_where_no_thread_can_be_started_it_is_read_once_there_are_threads_again(
    clock: Clock, database: Database, go_on: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    known, new = in_force(), database.switch(2, clock.now)
    go_on.set()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        clock.now += BEARABLE
        assert await awaited(in_force) == known
        clock.now += TOO_OLD
        with pytest.raises(StoreUnavailable):
            await awaited(in_force)
    assert await awaited(in_force) == new
    assert database.reads == 2


@in_event_loop
async def test_what_is_too_old_is_waited_for_and_read_once(
    clock: Clock, database: Database, go_on: threading.Event
) -> None:
    clock.now += TOO_OLD
    tasks = asked()
    beats = 0
    while beats < 20:  # the loop goes on
        await asyncio.sleep(0.005)
        beats += 1
    assert not any(each.done() for each in tasks)
    new = database.switch(2, clock.now - 1)
    go_on.set()
    assert set(await asyncio.gather(*tasks)) == {new}
    assert database.reads == 2


def test_threads_and_loops_read_once_together(
    clock: Clock, database: Database, go_on: threading.Event
) -> None:
    async def some() -> None:
        await asyncio.gather(*asked(8))

    clock.now += TOO_OLD
    actions: list[Callable[[], object]] = [in_force] * 6 + [lambda: asyncio.run(some())] * 6
    threads = [threading.Thread(target=each) for each in actions]
    for each in threads:
        each.start()
    time.sleep(0.1)
    go_on.set()
    for each in threads:
        each.join(10)
    assert not any(each.is_alive() for each in threads)
    assert database.reads == 2


@pytest.mark.parametrize("age", [BEARABLE, TOO_OLD])
def test_sync_code_that_has_the_only_thread_reads_by_itself(
    clock: Clock, database: Database, age: float
) -> None:
    """As in Channels, where all sync code has one thread: a coroutine that asks waits for it, and it for nobody."""
    snapshot.current()
    queued = threading.Event()

    def view() -> object:
        queued.wait(10)
        return in_force()

    async def page() -> None:
        clock.now += age
        sync = asyncio.ensure_future(sync_to_async(view)())
        await asyncio.sleep(0)
        tasks = asked(8)
        await asyncio.sleep(0.05)
        queued.set()
        assert len({await sync, *await asyncio.gather(*tasks)}) == 1

    asyncio.run(asyncio.wait_for(page(), 10))
    assert database.reads == 2


@in_event_loop
async def test_after_one_who_asked_has_hung_up_another_asks(
    clock: Clock, database: Database, go_on: threading.Event
) -> None:
    clock.now += TOO_OLD
    [first] = asked(1)
    await until(lambda: database.reads == 2)
    first.cancel()
    go_on.set()
    with suppress(asyncio.CancelledError):
        await first
    await until(lambda: snapshot._reading is None)
    clock.now += TOO_OLD
    await asyncio.gather(*asked())
    assert database.reads == 3


def test_sync_code_on_the_loop_reads_too(clock: Clock, database: Database) -> None:
    snapshot.current()

    async def page() -> None:
        clock.now += TOO_OLD
        tasks = asked(4)
        await asyncio.sleep(0)
        in_force()
        await asyncio.gather(*tasks)

    async_to_sync(page)()
    assert database.reads == 2
