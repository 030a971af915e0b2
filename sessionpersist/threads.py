"""Threads of our own: each is a daemon, so no process waits for it as it ends, and where none can be had that is an
OSError, as any other want of the system is."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from django.db import connections

T = TypeVar("T")


class NoThread(OSError):
    """The system allows no more threads, or the interpreter is ending."""


def begin_thread(name: str, work: Callable[[], object]) -> threading.Thread:
    """Begin a thread, and return it. Raises NoThread."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise NoThread(str(error)) from error
    return thread


def settle(future: Future[T], call: Callable[[], T]) -> None:
    """Call it, and have whoever waits for the future get what it returns or raises."""
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - whoever waits raises it
        future.set_exception(error)
    else:
        future.set_result(result)


def leaving_no_connection(call: Callable[[], T]) -> Callable[[], T]:
    """Return it for a thread of its own: what it opens to databases ends with it."""

    def run() -> T:
        try:
            return call()
        finally:
            connections.close_all()

    return run


def is_ending() -> bool:
    """Return whether the interpreter is ending, so that what fails is no news."""
    return not threading.main_thread().is_alive()


def threads_run() -> bool:
    """Return whether threads run here: those of uWSGI do so only with ``enable-threads``. One that is held up in the
    midst of a change would hold up others."""
    uwsgi: Any = sys.modules.get("uwsgi")  # a module of that server alone
    return uwsgi is None or bool(uwsgi.opt.get("enable-threads") or uwsgi.opt.get("threads"))
