"""One deadline for all that is done at a time on one of Django's own connections, from connecting to the last byte.

Left alone, a connection waits for ever for a server that hangs: its machine still acknowledges every packet. And the
drivers' own time-outs hold for each read, so a server that sends a byte now and then is waited for without end. The
JDBC store nevertheless uses Django's connection and not one of its own, because then transactions, test databases,
CONN_MAX_AGE, health checks and pools are as the project has set them up, and the server has no second connection a
thread to bear. So the deadline is put around each use and taken off again: the project's own queries keep the
patience that the project gave them.

What is late is cut off: one thread a process shuts its socket down, and the driver, whichever it is and whatever it
waits for, finds the connection closed. A connection that is still being made has no socket that one could know of; it
is made in a thread of its own, and thrown away where it comes too late. A pool makes its connections in threads anyway.
"""

from __future__ import annotations

import math
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar

from django.db import Error, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from sessionpersist import forks
from sessionpersist.stores.connecting import aside
from sessionpersist.threads import NoThread, begin_thread

T = TypeVar("T")

SHORTEST_CONNECT = 2  # seconds: libpq, and psycopg after it, waits for a host at least as long


class TimedOut(OperationalError):
    """The database did not answer before the deadline, and the connection is closed: a late answer must not be taken
    for that of the next statement."""

    connecting = False  # whether it was late before anything could be asked


class NoneFree(OperationalError):
    """A pool that has ``most`` connections, as many as it may, gave none in time."""

    def __init__(self, most: int) -> None:
        super().__init__(f"none of {most} connections of the pool is free")
        self.most = most


class Unwatched(OperationalError):
    """There is no thread that could cut it off at the deadline."""


class ConnectionLost(OperationalError):
    """A connection broke while there was a deadline, and Django was about to open another without one."""


@contextmanager
def answers_within(seconds: float, connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Open the connection if need be; what takes longer, with all that is done inside, is TimedOut.

    SQLite has no server that could hang; for it the project's own settings hold.
    """
    if connection.vendor == "sqlite":
        yield
        return
    give_up = monotonic() + seconds
    if connection.connection is not None and _wants_a_health_check(connection):
        with _CutOff(connection, connection.connection, give_up):
            connection.close_if_health_check_failed()
    if connection.connection is None:
        _connect(connection, give_up)
    with _CutOff(connection, connection.connection, give_up):
        vars(connection)["get_new_connection"] = _refuse_another
        try:
            yield
        finally:
            vars(connection).pop("get_new_connection", None)


def _refuse_another(parameters: dict[str, Any]) -> Any:
    """What Django calls at the end of a transaction whose connection broke, to have another in autocommit."""
    raise ConnectionLost("the connection is lost")


def _wants_a_health_check(connection: Any) -> bool:
    return connection.health_check_enabled and not connection.health_check_done


# While it is open.


class _CutOff:
    """Inside, a connection lasts until the deadline only. It must be entered and left by one thread."""

    __slots__ = ("connection", "duplicate", "give_up", "late", "raw")

    def __init__(self, connection: BaseDatabaseWrapper, raw: Any, give_up: float) -> None:
        self.connection, self.raw, self.give_up = connection, raw, give_up
        # Of its socket: the number of the driver's own may belong to another connection once it is closed.
        self.duplicate: int | None = None
        self.late = False

    def __enter__(self) -> Self:
        number = _socket_of(self.raw)
        if number is not None:
            self.duplicate = os.dup(number)
            try:
                _watch.begin(self)
            except Unwatched:
                os.close(self.duplicate)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.duplicate is None:
            return
        _watch.end(self)
        os.close(self.duplicate)
        if self.late:
            _hang_up(self.raw)
            with suppress(Error):
                self.connection.close()
            if isinstance(error, Exception) and not isinstance(error, TimedOut):
                raise TimedOut("timed out") from error

    def cut(self) -> None:
        self.late = True
        if self.duplicate is not None:
            with suppress(OSError), socket.socket(fileno=os.dup(self.duplicate)) as line:
                line.shutdown(socket.SHUT_RDWR)  # an error: the server has closed it just now


class _Watch:
    """The thread that cuts off what is late. It sleeps until the next deadline, which few uses live to see, so that a
    use does not wake it: it wakes once a time-out, and not at all where there is nothing to do."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._watched: set[_CutOff] = set()
        self._wakes_at: float | None = None  # None: when it is told to
        self._running = False

    def begin(self, use: _CutOff) -> None:
        """Raises Unwatched."""
        with self._changed:
            if self._wakes_at is None or use.give_up < self._wakes_at:
                self._wake_at(use.give_up)
            self._watched.add(use)

    def end(self, use: _CutOff) -> None:
        with self._changed:
            self._watched.discard(use)

    def _wake_at(self, moment: float) -> None:
        if not self._running:
            try:
                begin_thread("sessionpersist-deadlines", self._run)
            except NoThread as error:
                raise Unwatched(str(error)) from error
            self._running = True
        self._wakes_at = moment
        self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while True:
                now = monotonic()
                for use in [each for each in self._watched if each.give_up <= now]:
                    use.cut()
                    self._watched.discard(use)
                self._wakes_at = min((each.give_up for each in self._watched), default=None)
                self._changed.wait(None if self._wakes_at is None else self._wakes_at - monotonic())


_watch = _Watch()


def _start_over() -> None:
    """In a forked child, which has not inherited the thread."""
    global _watch
    _watch = _Watch()


forks.in_child(forks.Layer.CONNECTIONS, _start_over)


def _socket_of(raw: Any) -> int | None:
    """Return the number of a driver's socket; None where the connection is closed, which the driver itself will say."""
    found: Any = raw if hasattr(raw, "fileno") else getattr(raw, "_sock", None)  # of PyMySQL
    try:
        number = int(found.fileno())
    except Exception:  # noqa: BLE001 - each driver says in its own way that it is closed
        return None
    return number if number >= 0 else None


def _hang_up(raw: Any) -> None:
    """Close a driver's connection, whatever state it is in, without waiting for the server."""
    pgconn = getattr(raw, "pgconn", None)
    with suppress(Exception):
        # Not psycopg's close(), with which some pools take it back.
        raw.close() if pgconn is None else pgconn.finish()


# While it is being made.


def _connect(connection: Any, give_up: float) -> None:
    """Connect as Django does, in time; what fails half-way is closed."""
    as_django_does = connection.get_new_connection

    def in_time(parameters: dict[str, Any]) -> Any:
        impatient = {**parameters, **_impatience(connection, parameters, give_up)}
        make = partial(as_django_does, impatient)
        raw = make() if _comes_in_time(connection) else _in_time(make, give_up, _throw_away)
        _restore_patience(raw, parameters)
        try:  # for what Django says on a new connection
            stack.enter_context(_CutOff(connection, raw, give_up))
        except Unwatched:
            _throw_away(raw)
            raise
        return raw

    try:
        with ExitStack() as stack:
            connection.get_new_connection = in_time
            stack.callback(vars(connection).pop, "get_new_connection")
            stack.enter_context(_patient_pool(connection, give_up))
            stack.enter_context(_closed_on_failure(connection))
            connection.ensure_connection()
    except TimedOut as error:
        error.connecting = True
        raise


@contextmanager
def _closed_on_failure(connection: Any) -> Iterator[None]:
    """Leave no connection that has been set up by half."""
    try:
        yield
    except BaseException:
        raw, connection.connection = connection.connection, None
        if raw is not None:
            _throw_away(raw)
        raise


def _in_time(call: Callable[[], T], give_up: float, throw_away: Callable[[T], None]) -> T:
    """Return what it returns, or raise TimedOut and have it thrown away when it comes. Raises Unwatched."""
    try:
        return aside(call, give_up, throw_away)
    except TimeoutError as error:
        raise TimedOut("timed out") from error
    except NoThread as error:
        raise Unwatched(str(error)) from error


def _throw_away(raw: Any) -> None:
    """Close a connection, and tell its pool, if it comes from one."""
    _hang_up(raw)
    if pool := getattr(raw, "_pool", None):
        pool.putconn(raw)


def _impatience(connection: Any, parameters: dict[str, Any], give_up: float) -> dict[str, Any]:
    """What has the drivers end by themselves soon after the deadline, in whole seconds as they want it. Each of several
    hosts gets its share: the first may hang.

    PyMySQL reads the server's greeting with the time-out for reading.
    """
    left, hosts = give_up - monotonic(), hosts_in(parameters)
    seconds = max(1, math.ceil(left)) if hosts == 1 else max(SHORTEST_CONNECT, int(left / hosts))
    of_pymysql = {"read_timeout": seconds, "write_timeout": seconds}
    reading = of_pymysql if driver_of(connection) == "pymysql" else {}
    return {"connect_timeout": seconds, **reading}


def hosts_in(parameters: dict[str, Any]) -> int:
    """Return how many hosts libpq would try in turn."""
    return str(parameters.get("host") or "").count(",") + 1


def driver_of(connection: Any) -> str:
    """Return the name of the module that Django's backend has imported as its driver."""
    return str(connection.Database.__name__)


def _restore_patience(raw: Any, parameters: dict[str, Any]) -> None:
    """Give a connection of PyMySQL the time-outs that the project has set, or none."""
    if hasattr(raw, "_read_timeout"):
        raw._read_timeout = parameters.get("read_timeout")
        raw._write_timeout = parameters.get("write_timeout")


@contextmanager
def _patient_pool(connection: Any, give_up: float) -> Iterator[None]:
    """Where connections come from psycopg's pool, have it wait until the deadline, and not for its own 30 seconds."""
    pool = getattr(connection, "pool", None)
    if pool is None:
        yield
        return
    vars(connection)["_connection_pools"] = {connection.alias: _PatientPool(pool, give_up)}
    try:
        yield
    finally:
        del vars(connection)["_connection_pools"]


def _comes_in_time(connection: Any) -> bool:
    """Whether connections come from a pool, which waits no longer by itself. Under ASGI each request takes one, and a
    thread to wait for it costs more than all the rest."""
    pool = getattr(connection, "pool", None)
    return isinstance(pool, _PatientPool) and pool.take != pool.pool.getconn


class _PatientPool:
    """A pool as Django asks it for a connection."""

    def __init__(self, pool: Any, give_up: float) -> None:
        self.pool, self.give_up = pool, give_up
        self.take = getattr(pool, "_getconn_unchecked", pool.getconn)

    def open(self) -> None:
        self.pool.open()

    def getconn(self) -> Any:
        """Return a connection that the server has not closed: after a restart all that lie idle are closed. The pool's
        own check would sleep for a second after each of them."""
        while True:
            raw = self._take()
            if not _is_closed_by_server(raw):
                return raw
            _throw_away(raw)

    def _take(self) -> Any:
        try:
            return self.take(max(0.01, self.give_up - monotonic()))
        except Exception as error:
            crowded = type(error).__name__ in ("PoolTimeout", "TooManyRequests")
            if crowded and self.pool.get_stats()["pool_size"] >= self.pool.max_size:
                raise NoneFree(self.pool.max_size) from error
            raise


def _is_closed_by_server(raw: Any) -> bool:
    """Whether there is something to read on an idle connection: its end, or the reason for it."""
    poll = select.poll()
    poll.register(raw.fileno(), select.POLLIN)
    return bool(poll.poll(0))
