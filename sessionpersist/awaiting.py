"""One text for threads and for event loops: where a thread waits for a server, a coroutine lets its loop go on.

The engine, the rules and the stores are written as for threads. ``awaited`` runs such a function for a coroutine, in a
greenlet: a stack of its own on the thread of the loop. Where it has to wait, it is left as it stands, the loop awaits
what it waits for, and it goes on with the answer. So there is one text, no thread is needed, and a cancelled coroutine
raises CancelledError at the very line that waits, which closes the connection as any error does there. SQLAlchemy does
the same.

What waits says so by the functions of this module, each of which does in a thread what its name says, and nothing more.
A lock must not be held over any of them: in a loop the next to want it would wait for itself. See ``acquire``.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, ParamSpec, Protocol, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.dispatch import Signal
from greenlet import GreenletExit, getcurrent, greenlet

P = ParamSpec("P")
T = TypeVar("T")

LOOK_AGAIN = 0.001  # seconds between two looks at a lock that another has


class Lock(Protocol):
    def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool: ...


class HasFileno(Protocol):
    def fileno(self) -> int: ...


MOST_IDLE = 100  # runners that a thread keeps


class _Runner(greenlet):
    """Runs functions for coroutines, one after the other: to make a greenlet takes ten times as long as to use one.

    The garbage collector can't look into the stack of a greenlet. So nothing on it may lead back to the greenlet, or to
    the coroutine that it runs for: it would never end where that is dropped, or its thread ends.
    """

    wanted: Awaitable[Any] | None = None  # what it waits for; None once the function has ended
    answer: Any = None
    failure: BaseException | None = None

    def outcome(self) -> Any:
        """Return or raise what came of the last function, and forget it."""
        answer, failure, self.answer, self.failure = self.answer, self.failure, None, None
        try:
            if failure is not None:
                raise failure
            return answer
        finally:
            del failure  # which would keep this frame, and so itself


def _run(function: Any, arguments: Any, named: Any) -> None:
    """What a runner does all its life."""
    while True:
        try:
            _current().answer = function(*arguments, **named)
        except GreenletExit:  # there is no coroutine any more
            return
        except BaseException as error:  # noqa: BLE001 - the coroutine raises it
            _current().failure = error
        function = arguments = named = None  # nothing is kept alive
        function, arguments, named = _driver().switch()


def _current() -> _Runner:
    current = getcurrent()
    assert isinstance(current, _Runner)
    return current


def _driver() -> greenlet:
    """Return where the coroutine runs for which this one does."""
    driver = getcurrent().parent
    assert driver is not None
    return driver


class _Idle(threading.local):
    """The runners of this thread that have nothing to do."""

    def __init__(self) -> None:
        self.runners: list[_Runner] = []


_idle = _Idle()


async def awaited(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run a function that is written as for threads, and return what it does or raise what it does. While it waits the
    loop goes on."""
    idle, driver = _idle.runners, getcurrent()
    runner = idle.pop() if idle else _Runner(_run)
    runner.gr_context, runner.parent = driver.gr_context, driver  # it sees the context variables of this task
    # The first time a runner is given what to run, and later it is what it has waited for.
    work = (function, arguments, named)
    runner.switch(work) if runner else runner.switch(*work)
    while (wanted := runner.wanted) is not None:
        runner.wanted = None
        try:
            answer = await wanted
        except BaseException as error:  # noqa: BLE001 - the function is told: a cancellation, too
            # A coroutine that nobody ends is closed wherever it becomes garbage, which may be in another runner.
            runner.parent = getcurrent()
            runner.throw(type(error), error, error.__traceback__)
        else:
            runner.parent = getcurrent()
            runner.switch(answer)
    runner.gr_context = None  # which leads to all that the task knows
    if len(idle) < MOST_IDLE:
        idle.append(runner)
    result: T = runner.outcome()
    return result


def in_loop() -> bool:
    """Whether this runs for a coroutine, so that to wait must not hold up the thread."""
    return isinstance(getcurrent(), _Runner)


def wait(awaitable: Awaitable[T]) -> T:
    """Wait for something that can be awaited, and return what comes of it. Only where ``in_loop()``."""
    _current().wanted = awaitable
    del awaitable  # it leads to the coroutine
    answer: T = _driver().switch()
    return answer


class _Round:
    """What is awaited until the loop has gone round once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


_ROUND = _Round()


def sleep(seconds: float) -> None:
    """Wait for so many seconds."""
    if in_loop():
        wait(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def in_thread(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call what holds up its thread, such as a database of Django's. For a coroutine that is the thread in
    which Django runs all of its sync code."""
    if in_loop():
        return wait(sync_to_async(function)(*arguments, **named))
    return function(*arguments, **named)


def result_of(future: Future[T], seconds: float) -> T:
    """Return what comes of the work of another thread; TimeoutError where that takes longer."""
    if not in_loop():
        return future.result(seconds)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()

    def tell(_: Future[T]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_settle, done, True)

    future.add_done_callback(tell)
    timer = loop.call_later(seconds, _settle, done, False)
    try:
        if not wait(done):
            raise TimeoutError("timed out")
    finally:
        timer.cancel()
    return future.result()


def send_robust(signal: Signal, sender: object, **named: Any) -> None:
    """Send a signal. Receivers that are no coroutines may ask a database: they are called in a thread."""
    if not signal.receivers:
        return
    if in_loop():
        wait(signal.asend_robust(sender, **named))
    else:
        signal.send_robust(sender, **named)


def readable(sock: HasFileno, give_up: float) -> None:
    """Wait until there is something to read, only where ``in_loop()``. TimeoutError at that time of the monotonic
    clock."""
    loop = asyncio.get_running_loop()
    wait(_ready(loop, loop.add_reader, loop.remove_reader, sock.fileno(), give_up))


def writable(sock: HasFileno, give_up: float) -> None:
    """Wait until something can be written, or a connection is made, as ``readable`` does."""
    loop = asyncio.get_running_loop()
    wait(_ready(loop, loop.add_writer, loop.remove_writer, sock.fileno(), give_up))


async def _ready(
    loop: asyncio.AbstractEventLoop,
    add: Callable[..., None],
    remove: Callable[[int], bool],
    descriptor: int,
    give_up: float,
) -> None:
    seconds = give_up - monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    ready: asyncio.Future[bool] = loop.create_future()
    timer = loop.call_later(seconds, _settle, ready, False)
    add(descriptor, _settle, ready, True)
    try:
        if not await ready:
            raise TimeoutError("timed out")
    finally:
        remove(descriptor)
        timer.cancel()


def _settle(future: asyncio.Future[bool], answer: bool) -> None:
    if not future.done():
        future.set_result(answer)


def once_ready(
    attempt: Callable[[], T], sock: HasFileno, ready: Callable[[HasFileno, float], None], give_up: float
) -> T:
    """Read or write on a socket that does not wait, as soon as it is ``ready`` (``readable`` or ``writable``), or as
    TLS is, only where ``in_loop()``. TimeoutError at that time of the monotonic clock."""
    while True:
        try:
            return attempt()
        except ssl.SSLWantReadError:
            readable(sock, give_up)
        except ssl.SSLWantWriteError:
            writable(sock, give_up)
        except BlockingIOError:
            ready(sock, give_up)


def send_all(sock: socket.socket, data: Any, give_up: float) -> None:
    """Write all of a request to a socket that does not wait, as ``once_ready`` does.

    No answer can be there before the loop has gone round once. Most often it is there then, and the socket need not be
    watched, which takes the system two calls and the loop a timer.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[once_ready(lambda: sock.send(rest), sock, writable, give_up) :]  # noqa: B023 - called at once
    wait(_ROUND)


def acquire(lock: Lock, give_up: float) -> bool:
    """Acquire a lock by that time of the monotonic clock; return whether that was possible."""
    if not in_loop():
        return lock.acquire(timeout=max(0.0, give_up - monotonic()))
    while not lock.acquire(blocking=False):
        if monotonic() >= give_up:
            return False
        sleep(LOOK_AGAIN)
    return True


WAITING = 0.75  # of the time that is left is for waiting for a turn; whoever has it needs the rest


class AllInUse(TimeoutError):
    """None of ``most`` turns came in time."""

    def __init__(self, most: int) -> None:
        super().__init__(f"all {most} are in use")
        self.most = most


class Turns:
    """So many coroutines of one loop at a time; threads are bounded already. For each loop by itself."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()

    @contextmanager
    def one(self, give_up: float) -> Iterator[None]:
        """Have a turn inside, for what is to be done by that time of the monotonic clock. Only where ``in_loop()``.
        AllInUse where it does not come so early that it could be done."""
        loop = asyncio.get_running_loop()
        queue = self._by_loop.get(loop)
        if queue is None:
            queue = self._by_loop[loop] = _Queue(self.most)
        queue.enter(loop, give_up)
        try:
            yield
        finally:
            queue.leave()


class _Queue:
    """Who waits for a turn, in the order of their coming. When one is over, it is the next one's at once."""

    def __init__(self, most: int) -> None:
        self._most = self._free = most
        self._waiting: deque[asyncio.Future[bool]] = deque()

    def enter(self, loop: asyncio.AbstractEventLoop, give_up: float) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(WAITING * max(0.0, give_up - monotonic()), _settle, turn, False)
        self._waiting.append(turn)
        try:
            if not wait(turn):
                raise AllInUse(self._most)
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave()  # cancelled as its turn had come
            raise
        finally:
            timer.cancel()

    def leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(True)
                return
        self._free += 1
