"""Several callers at one moment: threads of this process, or coroutines where a test runs on a loop, and forked
processes."""

from __future__ import annotations

import contextlib
import functools
import itertools
import mmap
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections

from sessionpersist.awaiting import in_loop
from tests.aio.looping import together

T = TypeVar("T")

PATIENCE = 20  # seconds for a forked child, or for a thread to end


def in_threads(actions: Sequence[Callable[[], T]]) -> list[T]:
    """Run each in a thread of its own, all at one moment, and return what they return, in order. Each gives its
    connections back at once: there may be fewer than threads. On an event loop, run each as a coroutine."""

    def run(action: Callable[[], T]) -> T:
        try:
            return action()
        finally:
            connections.close_all()

    if in_loop():
        return together(actions)
    with racing(len(actions)) as race:
        return race([functools.partial(run, action) for action in actions])


@contextlib.contextmanager
def racing(callers: int) -> Iterator[Callable[[Sequence[Callable[[], T]]], list[T]]]:
    """Give a function that does the same again and again, with as many actions as there are callers: in the same
    threads, whose connections are there from the second time on. The last to arrive does not wait at the barrier and so
    begins first; the order is reversed each time."""
    if in_loop():
        yield together
        return
    barrier, turns = threading.Barrier(callers), itertools.cycle((1, -1))

    def run(action: Callable[[], T]) -> T:
        barrier.wait()
        return action()

    def race(actions: Sequence[Callable[[], T]]) -> list[T]:
        turn = next(turns)
        return list(pool.map(run, actions[::turn]))[::turn]

    with ThreadPoolExecutor(callers) as pool:
        try:
            yield race
        finally:
            list(pool.map(run, [connections.close_all] * callers))


def join_lookups() -> None:
    """Wait for the threads that look up names: one that is let go late would answer the next test that asks for it."""
    for thread in threading.enumerate():
        if thread.name == "sessionpersist-resolve":
            thread.join(PATIENCE)


def in_processes(actions: Sequence[Callable[[], str]]) -> list[str]:
    """Run each in a forked child of its own and return the texts that they return, in order."""
    go_read, go_write = os.pipe()
    children = [_fork(action, go_read, go_write) for action in actions]
    os.close(go_read)
    os.close(go_write)  # with the last writer gone, every child goes
    answers = []
    for pid, answer in children:
        with os.fdopen(answer, encoding="utf-8") as file:
            answers.append(file.read())
        os.waitpid(pid, 0)
    return answers


def killed_in_a_loop(action: Callable[[int], object], most: int) -> int:
    """Run an action in a forked child with 0, 1, 2 and so on, at most so often, and kill the child somewhere in it.

    Return the number that it was at. It was not at the first any more.
    """
    with mmap.mmap(-1, 4) as shared:

        def loop() -> str:
            for number in range(most):
                shared[:] = number.to_bytes(4)
                action(number)
            signal.pause()  # it is a busy machine
            return "it was not killed"

        go_read, go_write = os.pipe()
        pid, answer = _fork(loop, go_read, go_write)
        for each in (go_read, go_write):
            os.close(each)
        give_up = time.monotonic() + PATIENCE
        while not int.from_bytes(shared[:]) and time.monotonic() < give_up:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.02))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with os.fdopen(answer, encoding="utf-8") as file:
            assert file.read() == ""
        return int.from_bytes(shared[:])


def _fork(action: Callable[[], str], go_read: int, go_write: int) -> tuple[int, int]:
    read, write = os.pipe()
    with warnings.catch_warnings():
        # Python warns that another thread may hold a lock: this is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    with contextlib.suppress(BaseException):
        signal.alarm(PATIENCE)
        os.close(go_write)
        os.read(go_read, 1)
        os.write(write, _said(action).encode())
    os._exit(0)  # nothing of the parent's may be closed or cleaned up here


def _in_a_thread(action: Callable[[], T]) -> T:
    """The child of a process with an event loop has none: what it would wait for is its parent's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(action).result()


def _said(action: Callable[[], str]) -> str:
    try:
        return _in_a_thread(action) if in_loop() else action()
    except BaseException:  # the parent is told
        return "".join(traceback.format_exception(*sys.exc_info()))
