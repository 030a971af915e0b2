"""Event loops begin and end, many at a time and in the midst of requests: nothing stays behind, nothing hangs."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from greenlet import GreenletExit

from sessionpersist import awaiting
from sessionpersist.awaiting import MOST_IDLE, awaited, in_loop, sleep, wait
from sessionpersist.engine import SessionStore
from sessionpersist.stores.mongodb import client as clients
from tests.aio.conftest import KINDS, ON_THE_LOOP
from tests.engine.support import key_of, new_session

LOOPS = 200


@pytest.fixture(autouse=True)
def no_client_of_other_tests() -> None:
    """The driver of MONGODB watches its servers in threads, which open connections at any time."""
    clients._close_all()


def descriptors() -> int:
    """Return how many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def runners() -> int:
    gc.collect()
    return sum(type(each) is awaiting._Runner for each in gc.get_objects())


async def visit(key: str) -> int:
    """Do what a page does that counts its visits."""
    session = SessionStore(key)
    visits: int = await session.aget("visits", 0) + 1
    await session.aset("visits", visits)
    await session.asave()
    return visits


def nothing_is_left(act: Callable[[], object], connections: int = 0) -> None:
    """Do something twice: what is opened by the first time, to be used again, is all that there is after the second,
    but for so many connections where it is chance how many are asked at a time."""
    act()
    before = descriptors(), threading.active_count(), runners()
    act()
    assert descriptors() <= before[0] + connections
    assert threading.active_count() <= before[1]
    assert runners() <= before[2]


@pytest.mark.usefixtures("in_force")
@pytest.mark.parametrize("kind", ON_THE_LOOP)
class TestLoops:
    def test_one_after_the_other_leave_nothing(self) -> None:
        key = key_of(new_session())

        def loops() -> None:
            for _ in range(LOOPS):
                asyncio.run(visit(key))

        nothing_is_left(loops)
        assert SessionStore(key)["visits"] == 2 * LOOPS

    def test_many_at_a_time_leave_nothing_and_lose_no_update(self) -> None:
        key = key_of(new_session())

        async def add(name: str) -> None:
            session = SessionStore(key)
            await session.aset(name, True)
            await session.asave()

        async def some(names: list[str]) -> None:
            await asyncio.gather(*(add(name) for name in names))

        def in_threads(turn: int) -> None:
            with ThreadPoolExecutor(6) as pool:
                names = [[f"{turn} {at} {each}" for each in range(3)] for at in range(12)]
                list(pool.map(lambda some_of_them: asyncio.run(some(some_of_them)), names))

        turns = iter(range(2))
        nothing_is_left(lambda: in_threads(next(turns)), connections=6 * 3)
        assert len(SessionStore(key).keys()) == 2 * 12 * 3

    def test_one_that_ends_in_the_midst_of_requests_leaves_nothing(self) -> None:
        key = key_of(new_session(visits=0))

        async def leave_in_the_middle() -> None:
            requests = [asyncio.ensure_future(visit(key)) for _ in range(20)]
            await asyncio.sleep(0.001)
            del requests

        nothing_is_left(lambda: asyncio.run(leave_in_the_middle()))
        assert asyncio.run(visit(key)) >= 1

    def test_one_that_is_closed_without_a_word_leaves_nothing(self) -> None:
        key = key_of(new_session(visits=0))

        def close_in_the_middle() -> None:
            loop = asyncio.new_event_loop()
            tasks = [loop.create_task(visit(key)) for _ in range(5)]
            for _ in range(2):
                loop.run_until_complete(asyncio.sleep(0))
            for each in tasks:
                each._log_destroy_pending = False  # type: ignore[attr-defined] # it is what is tested
            loop.close()
            del each, tasks
            gc.collect()

        nothing_is_left(close_in_the_middle)
        assert asyncio.run(visit(key)) >= 1

    def test_a_call_of_sync_code_on_a_loop_is_answered_meanwhile(self) -> None:
        """An async view that says ``request.session["visits"]``: that holds up the loop, and that is all."""
        key = key_of(new_session(visits=0))

        async def mixed() -> int:
            others = [asyncio.ensure_future(visit(key_of(new_session()))) for _ in range(20)]
            await asyncio.sleep(0)
            for _ in range(5):
                session = SessionStore(key)
                session["visits"] += 1
                session.save()
                await asyncio.sleep(0)
            assert await asyncio.gather(*others) == [1] * 20
            return await visit(key)

        assert asyncio.run(mixed()) == 6


@pytest.mark.usefixtures("in_force")
@pytest.mark.parametrize("kind", KINDS)
def test_async_code_around_sync_code_around_async_code(kind: str) -> None:
    key = key_of(new_session())

    def both() -> None:
        session = SessionStore(key)
        session["visits"] = session.get("visits", 0) + 1
        session.save()
        async_to_sync(visit)(key)

    async def outermost() -> int:
        await visit(key)
        await sync_to_async(both)()
        await asyncio.gather(sync_to_async(both)(), sync_to_async(both)())
        return await visit(key)

    assert async_to_sync(outermost)() == 8


# The greenlets themselves


def run_by_hand(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Begin a coroutine without an event loop; return what it waits for."""
    return coroutine.send(None)


class Pending:
    """What is never there."""

    def __await__(self) -> Any:
        yield self


def test_of_runners_that_are_no_longer_needed_so_many_stay() -> None:
    async def many() -> None:
        await asyncio.gather(*(awaited(sleep, 0.001) for _ in range(2 * MOST_IDLE)))

    asyncio.run(many())
    assert len(awaiting._idle.runners) == MOST_IDLE


def test_a_thread_that_ends_takes_its_runners_along() -> None:
    """As the one that ``async_to_sync`` takes for each call."""

    async def some() -> None:
        await asyncio.gather(*(awaited(sleep, 0.001) for _ in range(5)))

    before = runners()
    for _ in range(20):
        thread = threading.Thread(target=asyncio.run, args=(some(),))
        thread.start()
        thread.join()
    assert runners() <= before


def test_a_coroutine_that_nobody_ends_tells_the_function_that_waits_in_it() -> None:
    told: list[BaseException] = []

    def work() -> None:
        try:
            wait(Pending())
        except BaseException as error:
            told.append(error)
            raise

    coroutine = awaited(work)
    run_by_hand(coroutine)
    del coroutine
    assert [type(each) for each in told] == [GeneratorExit]


def test_a_coroutine_that_is_dropped_while_another_one_runs_leaves_that_alone() -> None:
    """As garbage is, at any moment."""
    order: list[str] = []

    def dropped() -> None:
        try:
            wait(Pending())
        finally:
            order.append("dropped")

    def drops() -> str:
        assert in_loop()
        held.pop().close()
        order.append("goes on")
        sleep(0)
        return "done"

    held = [awaited(dropped)]
    run_by_hand(held[0])
    assert asyncio.run(awaited(drops)) == "done"
    assert order == ["dropped", "goes on"]


def test_context_variables_are_those_of_the_task() -> None:
    number: ContextVar[int] = ContextVar("number")

    def work(value: int) -> int:
        number.set(value)
        sleep(0.001)
        return number.get()

    async def one(value: int) -> tuple[int, int]:
        return await awaited(work, value), number.get()

    async def several() -> list[tuple[int, int]]:
        return await asyncio.gather(*(one(value) for value in range(5)))

    assert asyncio.run(several()) == [(value, value) for value in range(5)]


def test_a_coroutine_that_is_dropped_in_another_thread_ends_in_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda each: said.append(str(each.exc_value)))
    told: list[tuple[type[BaseException], int]] = []

    def work() -> None:
        try:
            wait(Pending())
        except BaseException as error:
            told.append((type(error), threading.get_ident()))
            raise

    held = [awaited(work)]
    run_by_hand(held[0])
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert asyncio.run(awaited(lambda: "done")) == "done"
    assert told == [(GreenletExit, threading.get_ident())]


def test_an_idle_greenlet_knows_nothing_of_the_task_before() -> None:
    class Told:
        """What a task has in a context variable."""

    variable: ContextVar[Told] = ContextVar("told")

    async def task() -> None:
        variable.set(Told())
        await awaited(sleep, 0.001)

    async def tasks() -> None:
        await asyncio.gather(*(task() for _ in range(20)))

    asyncio.run(tasks())
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is Told]
