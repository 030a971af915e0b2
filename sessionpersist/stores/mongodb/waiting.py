"""What the driver waits by, which lets an event loop go on: its sockets, its conditions, its pauses.

PyMongo waits for an answer, for a server that it knows as the primary, and for a moment before another try. Each of
these is given to it here. It holds no lock over any of them. For its pool, see ``pool.py``.
"""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Any

from pymongo import MongoClient

from sessionpersist.awaiting import in_loop, once_ready, readable, result_of, send_all, sleep

LONG = 3600.0  # seconds: for who has set no bound


class AwaitingSocket:
    """A socket as the driver uses it. In an event loop it never waits, and the loop does, as long as the time-out is
    that the driver has set."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._seconds = self._patience = sock.gettimeout()  # what the driver has set, and what the socket has

    def gettimeout(self) -> float | None:
        return self._seconds

    def settimeout(self, seconds: float | None) -> None:
        self._seconds = seconds

    def recv_into(self, buffer: Any) -> int:
        if not self._awaits():
            return self._sock.recv_into(buffer)
        return once_ready(lambda: self._sock.recv_into(buffer), self._sock, readable, self._give_up())

    def sendall(self, data: Any) -> None:
        if self._awaits():
            send_all(self._sock, data, self._give_up())
        else:
            self._sock.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def _awaits(self) -> bool:
        """Whether the loop waits; the socket is set to it."""
        awaits = in_loop()
        patience = 0.0 if awaits else self._seconds
        if patience != self._patience:
            self._patience = patience
            self._sock.settimeout(patience)
        return awaits

    def _give_up(self) -> float:
        return monotonic() + (LONG if self._seconds is None else self._seconds)


class Condition:
    """A condition of ``threading``, as far as the driver uses it, for which coroutines can wait, too."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._waiting: set[Future[None]] = set()

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.__exit__(kind, error, trace)

    def wait(self, timeout: float | None = None) -> bool:
        """Let go of the lock until all are notified, for so many seconds at most; return whether they were."""
        turn: Future[None] = Future()
        self._waiting.add(turn)
        self._lock.release()
        try:
            with suppress(TimeoutError):
                result_of(turn, LONG if timeout is None else max(0.0, timeout))
        finally:
            self._lock.acquire()
            self._waiting.discard(turn)
        return turn.done()

    def notify_all(self) -> None:
        """Wake all who wait. Only with the lock."""
        while self._waiting:
            self._waiting.pop().set_result(None)


class RetryPolicy:
    """The driver's own, for a server that is overloaded. It pauses here, so that the driver need not."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy

    def backoff(self, attempt: int, base_backoff: float | None = None) -> float:
        """Return how many seconds to wait before another try."""
        seconds: float = self._policy.backoff(attempt, base_backoff)
        if not in_loop() or not self._policy.should_retry(attempt, seconds):
            return seconds
        sleep(seconds)
        return 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)


def pause_by_the_loop(client: MongoClient[Any]) -> None:
    """Have a client of the driver pause as above."""
    own: Any = client
    own._retry_policy = RetryPolicy(own._retry_policy)
