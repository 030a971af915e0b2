"""This machine or container, among the nodes of the site: each process that serves requests reports itself.

A report says that this process of this node holds this revision to be current, at this time of the database's clock.
It is made after a request was answered, at most every ``REPORT_SECONDS``, and at once after the process has moved to
another revision. In between a request pays a comparison or two. A process without requests reports such a move by the
thread of its upkeep. One that serves websockets reports itself where their sessions are used.

So the **last sign of life** is the last request, to within ``REPORT_SECONDS``, or the last switch. It is not a
heartbeat: a process that nobody asks anything is silent and healthy in between. Management commands answer no requests
and are not nodes, but for the workers of Channels (see ``upkeep/sockets.py``).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import Any

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now

from sessionpersist import conf, forks
from sessionpersist.handover import logouts, places, snapshot
from sessionpersist.handover.snapshot import DEFAULT, OVERRIDDEN
from sessionpersist.models import LIVE, Node, Revision
from sessionpersist.stores.base import INITIAL
from sessionpersist.stores.deadlines import answers_within
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import REPORT_FAILED
from sessionpersist.threads import NoThread, begin_thread, leaving_no_connection

REPORT_SECONDS = 10.0  # between two reports of a process
RETRY_SECONDS = 60.0  # after a report that failed
LOCKED_MS = 100  # milliseconds that a report waits for a locked SQLite file
SWEEP_SECONDS = 3600.0  # between two looks for processes that are long gone


_lock = threading.Lock()
_revision: int | None = None  # what was last reported
_tried: int | None = None  # what was last to be reported, whatever came of it
_due = 0.0  # when that is due again, on the monotonic clock
_sweep_due = 0.0
_failed = False  # whether the last report failed, so that the log has one line of it


def live_names() -> list[str]:
    """Return the names of the nodes that were heard from in the last hour."""
    live = Node.objects.filter(seen_at__gte=Now() - LIVE)
    return sorted(live.values_list("name", flat=True).distinct())


def is_due() -> bool:
    """Return whether this process is to report itself: it is time, or it has moved. Costs a comparison or two."""
    now = monotonic()
    return now >= _due or _number(now) != _tried


def _number(now: float) -> int | None:
    """Return which revision is in force, as far as is known without asking anybody."""
    held = snapshot.held()
    return _tried if held is None else held.at(now).current.number


def report(*, aside: bool = False) -> None:
    """Have this process report itself, if that is due. Called after each request; never raises, never waits for
    another thread, and keeps out of transactions and of tests. ``aside``: nobody is to wait for it, as in an event
    loop."""
    global _tried, _due
    if not is_due():
        return
    now = monotonic()
    number = _number(now)
    if (
        number == OVERRIDDEN
        or conf.tests_are_quiet()
        or connections[router.db_for_write(Node)].in_atomic_block
    ):
        return
    lock = _lock
    if not lock.acquire(blocking=False):
        return  # one thread reports; others that come at the same time go on
    _tried, _due = number, now + REPORT_SECONDS
    if aside or snapshot.in_event_loop():
        _report_aside(lock)
    else:
        try:
            _report_once()
        finally:
            lock.release()


def report_move() -> None:
    """Have a process that has moved to another revision report itself, though it may have no requests. Never raises."""
    held = snapshot.held()
    if held is not None and (_failed or held.at(monotonic()).current.number != _revision):
        report()


def reset() -> None:
    """Forget what was reported: the next request reports again. After a fork, and in tests."""
    global _lock, _revision, _tried, _due, _sweep_due, _failed
    _lock, _revision, _tried, _due, _sweep_due, _failed = threading.Lock(), None, None, 0.0, 0.0, False


def _report_aside(lock: threading.Lock) -> None:
    """Report in a thread of its own, which releases the lock."""

    def work() -> None:
        try:
            leaving_no_connection(_report_once)()
        finally:
            lock.release()  # that of before a reset, too

    try:
        begin_thread("sessionpersist-report", work)
    except NoThread as error:
        lock.release()
        _note_failure(error)


def _report_once() -> None:
    """Report. Whatever is wrong is noted once and tried later."""
    global _tried, _failed
    try:
        if (held := snapshot.held()) is not None and held.kept:
            return  # the database of the configuration can't be asked now: nobody is to wait for that a second time
        known = snapshot.current()
        meant = places.meant(known)
        _write(known.current.number, meant)
        places.note(known.current, meant["place"])
        if known.ended:
            logouts.carry_out(known)
        _tried, _failed = _revision, False
    except Exception as error:  # noqa: BLE001 - the request has been answered well, whatever happens here
        _note_failure(error)


def _note_failure(error: Exception) -> None:
    global _due, _failed
    _due = monotonic() + RETRY_SECONDS
    if not _failed:
        kind = type(error).__name__
        sentence = f"This process could not report itself ({kind})."
        lines.say(REPORT_FAILED, sentence, error=kind, exc_info=error)
    _failed = True


def _write(number: int, meant: dict[str, Any]) -> None:
    """``meant`` are the columns of ``places.meant()``."""
    global _revision, _tried, _sweep_due
    connection = connections[router.db_for_write(Node)]
    try:
        with answers_within(conf.timeout_seconds(), connection), _impatient(connection):
            if number == DEFAULT.number:  # nobody has saved a store: note the one in use
                Revision.objects.begin()
                snapshot.expire()
                number = _tried = snapshot.current().current.number
            node = Node(name=conf.node_name(), process=os.getpid(), revision=max(number, INITIAL), **meant)
            _upsert(connection, node, meant)
            _revision = number
            if monotonic() >= _sweep_due:
                _sweep_due = monotonic() + SWEEP_SECONDS
                forget_gone()
                logouts.forget_over()
    except BaseException:
        connection.close()  # there may be a late answer on it
        raise
    # Django has closed or kept the connections of this request already; this was one more use of one.
    connection.close_if_unusable_or_obsolete()


@contextmanager
def _impatient(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Inside, a locked SQLite file is an error almost at once. Sessions wait for their turn to write for as long as the
    project says; a report is not worth that."""
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    execute = connection.connection.execute  # the driver's: who watches the queries need not see this
    [patience] = execute("PRAGMA busy_timeout").fetchone()
    execute(f"PRAGMA busy_timeout = {LOCKED_MS}")
    try:
        yield
    finally:
        execute(f"PRAGMA busy_timeout = {int(patience)}")


def _upsert(connection: BaseDatabaseWrapper, node: Node, meant: Iterable[str]) -> None:
    """Write one row in one statement, with the database's time."""
    by_target = connection.features.supports_update_conflicts_with_target
    node.seen_at = Now()
    Node.objects.bulk_create(
        [node],
        update_conflicts=True,
        update_fields=["revision", "seen_at", "sealing", *meant],
        unique_fields=["name", "process"] if by_target else None,
    )


def forget_gone() -> None:
    """Delete the rows of processes that have been silent for longer than any session lives."""
    silent = max(timedelta(seconds=snapshot.current().longest_life), LIVE)
    Node.objects.filter(seen_at__lt=Now() - silent).delete()


forks.in_child(forks.Layer.KNOWLEDGE, reset)
