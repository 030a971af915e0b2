"""Tells the receivers of ``store_lost`` and ``store_recovered``.

For a coroutine those that are no coroutines have a thread of their own: Django's may be busy for long, and the
operation that has met the outage would wait for it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import Any

from django.dispatch import Signal

from sessionpersist import conf
from sessionpersist.awaiting import in_loop, send_robust, wait
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.signals import store_lost, store_recovered
from sessionpersist.stores.connecting import aside
from sessionpersist.stores.transactions import leaving_no_connection


def lost(store: type, description: str, error: StoreUnavailable) -> None:
    """Say that a store can't be asked any more; ``description`` is for staff."""
    _send(store_lost, sender=store, description=description, error=error)


def recovered(store: type, description: str) -> None:
    """Say that a store that was lost has answered."""
    _send(store_recovered, sender=store, description=description)


def _send(signal: Signal, **named: Any) -> None:
    """Send a signal. A coroutine waits for receivers in a thread as long as for a store; the slower ones go on.

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
        with suppress(TimeoutError):
            aside(leaving_no_connection(call), monotonic() + conf.timeout_seconds(), lambda _: None)
    if coroutines:
        wait(asyncio.gather(*map(call_on_loop, coroutines)))
