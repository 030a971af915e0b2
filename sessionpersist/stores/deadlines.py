"""A deadline for every answer on one of Django's own connections.

Left alone, a connection waits for ever for a server that hangs: its machine still acknowledges every packet. The JDBC
store nevertheless uses Django's connection and not one of its own, because then transactions, test databases,
CONN_MAX_AGE, health checks and pools are as the project has set them up, and the server has no second connection a
thread to bear. So the deadline is put around each use and taken off again: the project's own queries keep the
patience that the project gave them.
"""

from __future__ import annotations

import math
import select
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def answers_within(seconds: float, connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Open the connection if need be; inside, an answer that takes longer is the driver's OperationalError.

    A connection that it happened to must be closed, lest the late answer be taken for that of the next statement.
    With a driver that is not known here (SQLite has no server that could hang), the project's own settings hold.
    """
    driver = DRIVERS.get(connection.Database.__name__)  # type: ignore[attr-defined] # each backend has it
    if driver is None:
        yield
        return
    if connection.connection is not None:
        with driver.limit(connection.connection, seconds):
            connection.close_if_health_check_failed()
    if connection.connection is None:
        _connect(connection, driver.connect_parameters(math.ceil(seconds)))
    with driver.limit(connection.connection, seconds):
        yield


def _connect(connection: BaseDatabaseWrapper, parameters: dict[str, Any]) -> None:
    """Connect with these parameters on top of the project's own, this once."""
    project_parameters = connection.get_connection_params
    connection.get_connection_params = lambda: {**project_parameters(), **parameters}  # type: ignore[method-assign]
    try:
        connection.ensure_connection()
    finally:
        del connection.get_connection_params
    if "read_timeout" in parameters:
        own = project_parameters()
        connection.connection._read_timeout = own.get("read_timeout")
        connection.connection._write_timeout = own.get("write_timeout")


@contextmanager
def _limit_psycopg(raw: Any, seconds: float) -> Iterator[None]:
    """psycopg waits for the server in one place, ``Connection.wait``; in this one object it now gives up."""
    wait = raw.wait
    raw.wait = lambda generator, *args, **kwargs: wait(_limited(generator, raw, seconds), *args, **kwargs)
    try:
        yield
    finally:
        del raw.wait


def _limited(generator: Generator[Any, Any, Any], raw: Any, seconds: float) -> Generator[Any, Any, Any]:
    """Pass everything through; when nothing has come (psycopg asks every 0.1 s) and the time is over, give up."""
    from psycopg import OperationalError

    give_up = monotonic() + seconds
    try:
        ready = yield next(generator)
        while True:
            if not ready and monotonic() > give_up:
                raw.pgconn.finish()  # not close(), with which some pools take it back
                raise OperationalError("timed out")
            ready = yield generator.send(ready)
    except StopIteration as stop:
        return stop.value


@contextmanager
def _limit_pymysql(raw: Any, seconds: float) -> Iterator[None]:
    before = raw._read_timeout, raw._write_timeout
    raw._read_timeout = raw._write_timeout = seconds
    try:
        yield
    finally:
        raw._read_timeout, raw._write_timeout = before


@contextmanager
def _limit_mysqlclient(raw: Any, seconds: float) -> Iterator[None]:
    """mysqlclient's own time-outs are fixed when it connects; so the sending and the waiting are taken apart."""
    from MySQLdb import OperationalError

    def query(statement: bytes | bytearray) -> None:
        raw.send_query(bytes(statement))
        poll = select.poll()
        poll.register(raw.fileno(), select.POLLIN)
        if not poll.poll(seconds * 1000):
            raise OperationalError(2013, "timed out")
        raw.read_query_result()

    vars(raw)["query"] = query  # a connection refuses to have its attributes deleted
    try:
        yield
    finally:
        del vars(raw)["query"]


class Driver(NamedTuple):
    """How one driver is told to be impatient."""

    connect_parameters: Callable[[int], dict[str, Any]]
    limit: Callable[[Any, float], AbstractContextManager[None]]


# By the name of the module that Django's backend has imported as its driver.
DRIVERS = {
    "psycopg": Driver(lambda seconds: {"connect_timeout": seconds}, _limit_psycopg),
    "MySQLdb": Driver(lambda seconds: {"connect_timeout": seconds}, _limit_mysqlclient),
    # PyMySQL reads the server's greeting with the time-out for reading.
    "pymysql": Driver(
        lambda seconds: {"connect_timeout": seconds, "read_timeout": seconds, "write_timeout": seconds},
        _limit_pymysql,
    ),
}
