"""Coroutines that are cancelled at a chosen one of the moments at which they wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from itertools import count
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")
WHEN = ["before the answer", "as the answer comes"]


async def cancelled_at(number: int, when: str, operation: Coroutine[Any, Any, object]) -> bool:
    """Run an operation in a task of its own that is cancelled at its wait of that number, counted from 0; return
    whether it came so far. ``when`` is one of WHEN."""
    task = asyncio.ensure_future(_interrupting(operation, number, when))
    await asyncio.wait({task})
    if task.cancelled():
        return True
    waits: int = task.result()
    return waits > number  # cancelled, and what it did was done by then


@coroutine
def _interrupting(operation: Coroutine[Any, Any, object], number: int, when: str) -> Generator[Any, Any, int]:
    step: Callable[[], Any] = partial(operation.send, None)
    for at in count():
        try:
            wanted = step()
        except StopIteration:
            return at
        if at == number:
            _cancel(wanted, when)
        try:
            yield wanted
            step = partial(operation.send, None)
        except BaseException as error:
            step = partial(operation.throw, error)
    raise AssertionError


def _cancel(wanted: asyncio.Future[object] | None, when: str) -> None:
    task = asyncio.current_task()
    assert task is not None
    if when == WHEN[0] or wanted is None:
        asyncio.get_running_loop().call_soon(task.cancel)
    else:  # before the task itself hears of it
        wanted.add_done_callback(lambda _: task.cancel())
