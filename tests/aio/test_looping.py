"""A class of tests that says so runs on an event loop, and its threads and processes are what they are there."""

from __future__ import annotations

import asyncio
import threading

import pytest

from sessionpersist.awaiting import in_loop, sleep, wait
from tests.aio.looping import InALoop, on_a_loop
from tests.engine.support import in_event_loop
from tests.stores.parallel import in_processes, in_threads


class TestOnALoop(InALoop):
    @pytest.fixture
    def fixture_waits_in_the_thread(self) -> bool:
        return not in_loop()

    def test_a_test_waits_on_a_loop_and_its_fixtures_do_not(self, fixture_waits_in_the_thread: bool) -> None:
        assert fixture_waits_in_the_thread
        assert in_loop()
        assert wait(asyncio.sleep(0, "done")) == "done"

    def test_what_runs_at_one_moment_are_coroutines(self) -> None:
        me, order = threading.get_ident(), list[str]()

        def act(name: str) -> int:
            order.append(name)
            sleep(0.001)
            order.append(name)
            return threading.get_ident()

        assert in_threads([lambda: act("a"), lambda: act("b")]) == [me, me]
        assert order[:2] == ["a", "b"]

    def test_what_one_of_them_raises_is_raised(self) -> None:
        with pytest.raises(ExceptionGroup) as caught:
            in_threads([lambda: sleep(0), lambda: 1 // 0])
        assert [type(each) for each in caught.value.exceptions] == [ZeroDivisionError]

    def test_a_forked_process_has_no_loop(self) -> None:
        assert in_processes([lambda: str(in_loop())]) == ["False"]

    @in_event_loop
    async def test_a_test_that_is_a_coroutine_runs_on_the_same_loop(self) -> None:
        assert not in_loop()
        await asyncio.sleep(0)


class TestInAThread(TestOnALoop):
    in_a_loop = False

    def test_a_test_waits_on_a_loop_and_its_fixtures_do_not(self, fixture_waits_in_the_thread: bool) -> None:
        assert fixture_waits_in_the_thread
        assert not in_loop()

    def test_what_runs_at_one_moment_are_coroutines(self) -> None:
        assert threading.get_ident() not in in_threads([threading.get_ident] * 2)

    def test_what_one_of_them_raises_is_raised(self) -> None:
        with pytest.raises(ZeroDivisionError):
            in_threads([lambda: None, lambda: 1 // 0])


def test_a_task_or_a_socket_that_is_left_behind_is_told() -> None:
    tasks = []

    def leave_a_task() -> None:
        tasks.append(asyncio.get_running_loop().create_task(asyncio.sleep(0.1)))

    with pytest.raises(AssertionError, match="a task is left"):
        on_a_loop(leave_a_task)()
