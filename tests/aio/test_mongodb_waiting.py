"""What the driver of MONGODB waits by on an event loop: an outage is noticed in time, and the loop goes on."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import closing
from typing import Any, NoReturn, TypeVar

import dns.resolver
import pytest

from sessionpersist.awaiting import awaited, result_of
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.mongodb import waiting
from sessionpersist.stores.mongodb.store import MongoStore
from sessionpersist.stores.mongodb.waiting import Condition, RetryPolicy
from tests.servers import MongoDB, require, shared
from tests.servers.places import free_port
from tests.stores.contract import a_key
from tests.stores.fake import mongo_that_answers, serving
from tests.stores.parallel import join_lookups
from tests.stores.places import mongo_store
from tests.stores.test_hostile import every_verb, mongo_at
from tests.stores.test_outages import SLACK, eventually, paused

pytestmark = pytest.mark.xdist_group("hanging")

T = TypeVar("T")
TIMEOUT = 0.5  # seconds
ENOUGH = 5  # times that a loop comes round meanwhile, on a busy machine


class Beats:
    """Counts how often the loop comes round, every hundredth of a second at most."""

    def __init__(self) -> None:
        self.count = 0

    async def during(self, operation: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(operation)
        while not task.done():
            self.count += 1
            await asyncio.wait({task}, timeout=0.01)
        return task.result()


def given_up_while_the_loop_goes_on(store: MongoStore, *verbs: str) -> None:
    for verb in verbs or ("get", "create", "end", "rotate"):
        beats, begun = Beats(), time.monotonic()
        with pytest.raises(StoreUnavailable):
            asyncio.run(beats.during(awaited(every_verb(store)[verb])))
        assert time.monotonic() - begun < TIMEOUT + SLACK
        assert beats.count >= ENOUGH


class TestOutage:
    def test_a_server_that_hangs(self) -> None:
        require(MongoDB)
        if shared(MongoDB).external:
            pytest.skip("A server that someone else runs is not stopped.")
        with closing(mongo_store(timeout=TIMEOUT)) as store:
            store.prepare()
            with paused(shared(MongoDB)):
                given_up_while_the_loop_goes_on(store)
            assert eventually(lambda: asyncio.run(awaited(store.get, a_key()))) is None

    def test_a_server_that_is_gone(self) -> None:
        with closing(mongo_store(timeout=TIMEOUT, port=free_port())) as store:
            given_up_while_the_loop_goes_on(store)

    def test_a_name_server_that_is_silent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answers, real = threading.Event(), socket.getaddrinfo

        def look_up(host: Any, *rest: Any, **options: Any) -> Any:
            if "flags" not in options and host == "silent.example":
                answers.wait(20)
                raise socket.gaierror(-2, "no such name")
            return real(host, *rest, **options)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        with closing(mongo_store(timeout=TIMEOUT, host="silent.example")) as store:
            given_up_while_the_loop_goes_on(store, "get")
            answers.set()
            join_lookups()

    def test_a_name_server_that_knows_no_such_srv_is_asked_in_a_thread(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        def resolve(*arguments: Any, **options: Any) -> NoReturn:
            asked.append(threading.current_thread())
            raise dns.resolver.NXDOMAIN

        monkeypatch.setattr(dns.resolver, "resolve", resolve)
        with closing(mongo_store(host="nowhere.test.example", srv=True)) as store:
            for verb in every_verb(store).values():
                with pytest.raises(StoreUnavailable) as caught:
                    asyncio.run(awaited(verb))
                assert caught.value.field == "host"
        assert asked
        assert threading.main_thread() not in asked

    def test_a_server_that_is_overloaded_is_asked_again_after_a_pause_of_the_loop(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked, slept, real, loop = [], list[float](), time.sleep, threading.current_thread()

        def overloaded(number: int, command: dict[str, Any]) -> dict[str, Any]:
            asked.append(command)
            labels = ["RetryableError", "SystemOverloadedError"]
            return {"ok": 0.0, "code": 462, "errmsg": "busy", "errorLabels": labels}

        def sleep(seconds: float) -> None:
            if threading.current_thread() is loop:
                slept.append(seconds)
            real(seconds)

        monkeypatch.setattr(time, "sleep", sleep)
        with (
            serving(mongo_that_answers(overloaded)) as port,
            closing(mongo_at(port, timeout=20)) as store,
            pytest.raises(StoreUnavailable, match="busy"),
        ):
            asyncio.run(awaited(store.touch, a_key(), 7))
        assert len(asked) > 1
        assert set(slept) == {0.0}


@pytest.mark.parametrize("loop_is_closed", [False, True])
def test_what_fails_in_a_thread_after_nobody_waits_any_more_is_nothing_to_complain_of(
    caplog: pytest.LogCaptureFixture, loop_is_closed: bool
) -> None:
    async def test(late: Future[None]) -> None:
        with pytest.raises(TimeoutError):
            await awaited(result_of, late, 0.01)
        if not loop_is_closed:
            late.set_exception(OSError("late"))
            await asyncio.sleep(0.01)

    late = Future[None]()
    asyncio.run(test(late))
    if loop_is_closed:
        late.set_exception(OSError("late"))
    del late
    gc.collect()
    assert caplog.records == []


class TestCondition:
    def test_threads_and_coroutines_are_woken_together(self) -> None:
        condition = Condition(threading.Lock())

        def wait_for_it() -> bool:
            with condition:
                return condition.wait(20)

        async def test() -> None:
            calls = [awaited(wait_for_it), awaited(wait_for_it), asyncio.to_thread(wait_for_it)]
            tasks = [asyncio.ensure_future(each) for each in calls]
            while len(condition._waiting) < len(tasks):
                await asyncio.sleep(0.001)
            with condition:
                condition.notify_all()
            assert await asyncio.gather(*tasks) == [True] * len(tasks)

        asyncio.run(test())

    @pytest.mark.parametrize("in_a_loop", [False, True])
    def test_nobody_notifies_in_time(self, in_a_loop: bool) -> None:
        condition = Condition(threading.Lock())

        def wait_for_it() -> bool:
            with condition:
                return condition.wait(0.02)

        assert (asyncio.run(awaited(wait_for_it)) if in_a_loop else wait_for_it()) is False
        assert not condition._waiting
        assert condition._lock.acquire(blocking=False)

    def test_who_is_cancelled_waits_no_more(self) -> None:
        condition = Condition(threading.Lock())

        def wait_for_it() -> bool:
            with condition:
                return condition.wait(20)

        async def test() -> None:
            task = asyncio.ensure_future(awaited(wait_for_it))
            await asyncio.sleep(0)
            assert condition._waiting
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(test())
        assert not condition._waiting
        assert condition._lock.acquire(blocking=False)


class TestPauses:
    class Policy:
        def __init__(self, *, again: bool) -> None:
            self.again = again

        def backoff(self, attempt: int, base_backoff: float | None = None) -> float:
            return 0.2

        def should_retry(self, attempt: int, delay: float) -> bool:
            return self.again

    def test_the_loop_goes_on(self) -> None:
        policy, beats = RetryPolicy(self.Policy(again=True)), Beats()
        begun = time.monotonic()
        assert asyncio.run(beats.during(awaited(policy.backoff, 1))) == 0
        assert time.monotonic() - begun >= 0.2
        assert beats.count >= ENOUGH
        assert policy.should_retry(1, 0)

    def test_there_is_none_where_no_other_try_follows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(waiting, "sleep", lambda seconds: pytest.fail("It paused."))
        assert asyncio.run(awaited(RetryPolicy(self.Policy(again=False)).backoff, 1)) == 0.2

    def test_a_thread_leaves_it_to_the_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(waiting, "sleep", lambda seconds: pytest.fail("It paused."))
        assert RetryPolicy(self.Policy(again=True)).backoff(1) == 0.2
