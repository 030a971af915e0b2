"""Tests that are written as for threads, run on an event loop: whatever waits in them, the loop waits for."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, ParamSpec, TypeVar

from asgiref.sync import async_to_sync

from sessionpersist.awaiting import awaited, wait

P = ParamSpec("P")
T = TypeVar("T")


class InALoop:
    """Beside a class of tests: each test runs as a coroutine, on a loop of its own. Fixtures run as before, in the
    thread, so that what they open is used in both ways.

    ``tests/conftest.py`` sees to it. A subclass may say ``in_a_loop = False`` to take the tests of a base class back.
    """

    in_a_loop = True
    # Tests that ask Django's databases themselves, and so need a thread.
    as_before: ClassVar[Collection[str]] = ()
    # One does what the loop hands to a thread, so that Django's connections are those of the fixtures.
    beside_a_thread = False


def on_a_loop(test: Callable[P, T], *, beside_a_thread: bool = False) -> Callable[P, T]:
    """Return a function that runs this one on a loop of its own, and sees that it leaves nothing behind there."""

    @functools.wraps(test)
    def run(*arguments: P.args, **named: P.kwargs) -> T:
        if beside_a_thread:
            return async_to_sync(_alone)(test, arguments, named)
        return asyncio.run(_alone(test, arguments, named))

    return run


async def _alone(test: Callable[..., T], arguments: tuple[Any, ...], named: dict[str, Any]) -> T:
    loop = asyncio.get_running_loop()
    before = watched(loop)
    answer = await awaited(test, *arguments, **named)
    assert watched(loop) == before, "the loop still watches a socket"
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"
    return answer


def watched(loop: asyncio.AbstractEventLoop) -> set[int]:
    """Return the descriptors that a loop waits for."""
    return {key.fd for key in loop._selector.get_map().values()}  # type: ignore[attr-defined]


def together(actions: Sequence[Callable[[], T]]) -> list[T]:
    """Run each as a coroutine of this loop, all at one moment, and return what they return, in order. Only where
    ``in_loop()``."""

    async def each_of_them() -> list[T]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(awaited(action)) for action in actions]
        return [task.result() for task in tasks]

    return wait(each_of_them())
