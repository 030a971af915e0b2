"""Tells the receivers of ``store_lost`` and ``store_recovered``.

For a coroutine those that are no coroutines have a thread of their own: Django's may be busy for long, and the
operation that has met the outage would wait for it. It is one thread, so that nobody hears that a store is back while
others are still being told that it is lost.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any

from django.dispatch import Signal

from sessionpersist import conf, forks
from sessionpersist.awaiting import in_loop, result_of, send_robust, wait
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.signals import store_lost, store_recovered
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import RECEIVERS_UNTOLD
from sessionpersist.threads import NoThread, begin_thread, leaving_no_connection, settle

MOST_WAITING = 100  # signals, while a receiver hangs


class TooManyWait(Exception):
    """Signals wait for a receiver that has not returned."""


_lock = threading.Lock()
_waiting: deque[Callable[[], None]] = deque()  # what the thread is to do, in order
_at_work = False  # whether there is a thread: it ends when it has nothing to do


def lost(store: type, description: str, error: StoreUnavailable) -> None:
    """Say that a store can't be asked any more; ``description`` is for staff."""
    _send(store_lost, sender=store, description=description, error=error)


def recovered(store: type, description: str) -> None:
    """Say that a store that was lost has answered."""
    _send(store_recovered, sender=store, description=description)


def _send(signal: Signal, **named: Any) -> None:
    """Send a signal. A coroutine waits for receivers in the thread as long as for a store; the slower ones go on.

    In a project's tests they are called in Django's thread all the same, which is in the transaction of the test.
    """
    if not in_loop() or conf.tests_are_quiet():
        send_robust(signal, **named)
    elif signal.receivers:
        _send_apart(signal, {"signal": signal, **named})


def _send_apart(signal: Any, named: dict[str, Any]) -> None:
    """Do for a coroutine what ``Signal.asend_robust`` does, but for the thread."""
    blocking, coroutines = signal._live_receivers(named["sender"])

    def call() -> None:
        for each in blocking:
            try:
                each(**named)
            except Exception as error:  # noqa: BLE001 - whatever a receiver raises
                signal._log_robust_failure(each, error)

    async def call_on_loop(receiver: Any) -> None:
        try:
            await receiver(**named)
        except Exception as error:  # noqa: BLE001 - whatever a receiver raises
            signal._log_robust_failure(receiver, error)

    if blocking:
        _call_in_order(
            call, "store_lost" if signal is store_lost else "store_recovered", named["description"]
        )
    if coroutines:
        wait(asyncio.gather(*map(call_on_loop, coroutines)))


def _call_in_order(call: Callable[[], None], name: str, description: str) -> None:
    """Have the thread call receivers of the signal of that name, and wait for it."""
    try:
        told = _in_order(leaving_no_connection(call))
    except (NoThread, TooManyWait) as error:
        sentence = f"{description}: receivers of {name} were not called: {error}."
        lines.say(RECEIVERS_UNTOLD, sentence, store=description, signal=name)
        return
    with suppress(TimeoutError):
        result_of(told, conf.timeout_seconds())


def _in_order(call: Callable[[], None]) -> Future[None]:
    """Have the thread call it after what it was given before. Raises NoThread and TooManyWait."""
    global _at_work
    future: Future[None] = Future()
    with _lock:
        if len(_waiting) >= MOST_WAITING:
            raise TooManyWait(f"{MOST_WAITING} signals wait for a receiver that has not returned")
        if not _at_work:
            begin_thread("sessionpersist-signals", _work)
            _at_work = True
        _waiting.append(partial(settle, future, partial(copy_context().run, call)))
    return future


def _work() -> None:
    global _at_work
    while True:
        with _lock:
            if not _waiting:
                _at_work = False
                return
            call = _waiting.popleft()
        call()


def _forget() -> None:
    """In a forked child, which has no such thread."""
    global _lock, _at_work
    _lock, _at_work = threading.Lock(), False
    _waiting.clear()


forks.in_child(forks.Layer.CONNECTIONS, _forget)
