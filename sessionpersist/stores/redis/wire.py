"""The connections of the REDIS store: the driver's own, each answer of which has a deadline and a size.

The driver waits for each read: a server that drips a byte now and then would hold a request for minutes. And it
believes a server that promises two gigabytes. So the driver is given a socket that counts.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextvars import ContextVar
from time import monotonic
from typing import Any

import redis
from django_redis.pool import ConnectionFactory
from redis.backoff import NoBackoff
from redis.connection import DefaultParser, SSLConnection
from redis.retry import Retry

from sessionpersist.stores.connecting import connect, left
from sessionpersist.stores.hosts import check_addresses
from sessionpersist.stores.settings import RedisSettings

# A firewall may drop a connection that was idle for some minutes, and tell neither end: a request that used it would
# wait for the whole time-out and be refused.
IDLE_SECONDS = 30.0
SMALL = 1024 * 1024  # bytes that an answer without a record may have, and all of them as the driver connects
SHORT = 16 * 1024  # bytes that a kernel takes at once
# When the verb gives up for which a connection is being made: the driver's pool has no room to pass it on.
_gives_up: ContextVar[float] = ContextVar("sessionpersist_redis_gives_up")

Command = tuple[Any, ...]


class AnswerTooLarge(redis.exceptions.InvalidResponse):
    """The server sends more than it was asked for."""


class Unexpected(redis.exceptions.InvalidResponse):
    """The server answers something that it was not asked."""


class Parser(DefaultParser):  # type: ignore[misc, valid-type] # whichever the driver has
    """The driver's parser, with an error for each error that a server can send.

    The driver's own fails at "MOVED somewhere", and where that is within a map, hiredis takes the process down with it.
    """

    @classmethod
    def parse_error(cls, response: Any) -> Exception:
        try:
            error: Exception = super().parse_error(response)
        except Exception:  # noqa: BLE001 - a server can say anything
            return redis.ResponseError(str(response))
        return error


class CountingSocket:
    """A socket with one deadline for all that is written and read, and a limit to what is read.

    Most exchanges are a short write and one read, for which the socket's own time-out does. From the second read on,
    and after a long write, it is set to what is left.
    """

    def __init__(self, sock: socket.socket, give_up: float) -> None:
        self._sock = sock
        self._send, self._receive_into = sock.sendall, sock.recv_into
        self._patience = 0.0
        self.allow(give_up, SMALL, left(give_up))

    def allow(self, give_up: float, most: int, seconds: float) -> None:
        """Begin an exchange, for which so many seconds are left."""
        self._give_up, self._most, self._going_on = give_up, most, False
        if seconds != self._patience:
            self._patience = seconds
            self._sock.settimeout(seconds)

    def sendall(self, data: Any) -> None:
        self._send(data)
        if len(data) > SHORT:  # which may have taken a while
            self._going_on = True

    def recv_into(self, buffer: Any) -> int:
        if self._going_on:
            self._hurry()
        received = self._receive_into(buffer)
        self._going_on = True
        self._most -= received
        if self._most < 0:
            raise AnswerTooLarge("the answer is larger than what was asked for")
        return received

    def recv(self, size: int, flags: int = 0) -> bytes:
        if flags:  # a look at what is there
            return self._sock.recv(size, flags)
        buffer = bytearray(size)
        return bytes(buffer[: self.recv_into(buffer)])

    def settimeout(self, seconds: float | None) -> None:
        """The driver looks in with no patience at all whether there is something to read."""
        self._going_on = self._going_on and seconds != 0
        self._patience = seconds or 0.0
        self._sock.settimeout(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def _hurry(self) -> None:
        self._patience = left(self._give_up)
        self._sock.settimeout(self._patience)


class PlainConnection(redis.Connection):
    """The driver's connection on such a socket, made by the deadline of the verb that needs it."""

    def _connect(self) -> Any:
        give_up = _gives_up.get()
        sock = connect(self.host, self.port, give_up, check_addresses)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # For the connections that stay in the pool.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in self.socket_keepalive_options.items():
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
            sock.settimeout(left(give_up))
            return CountingSocket(self._encrypted(sock), give_up)
        except BaseException:
            sock.close()
            raise

    def _encrypted(self, sock: socket.socket) -> socket.socket:
        return sock


class EncryptedConnection(PlainConnection, SSLConnection):
    def _encrypted(self, sock: socket.socket) -> socket.socket:
        encrypted: socket.socket = self._wrap_socket_with_ssl(sock)  # type: ignore[no-untyped-call]
        return encrypted


class Wire:
    """Asks one server, on as many connections as are asked on at a time."""

    def __init__(self, settings: RedisSettings, password: str, timeout: float, ca_file: str | None) -> None:
        self.timeout = timeout
        self._pool = _pool(settings, password, timeout, ca_file)
        # When it was used last, and a connection of the driver, which has no type; the last used is the last here.
        self._idle: list[tuple[float, Any]] = []
        self._process = os.getpid()

    def ask(self, commands: Sequence[Command], give_up: float = 0.0, most: int = SMALL) -> list[Any]:
        """Send commands and return their answers, on a connection that this call has for itself; at most so many bytes
        of them, by that time (0: as long as the time-out is). A command that the server refuses has an error as its
        answer. Raises whatever a driver can raise.

        Straight on the driver's connection: its client would take longer for its hooks, and its pool for asking the
        kernel whether an idle connection is still good, than the server for its answer. One that is not shows when it
        is used, and whoever called tries again (see GuardedStore).
        """
        now = monotonic()
        connection = self._take(now)
        if connection is None:
            give_up = give_up or now + self.timeout
            connection = self._open(give_up)
        try:
            if give_up:
                connection._sock.allow(give_up, most, left(give_up))
            else:
                connection._sock.allow(now + self.timeout, most, self.timeout)
            if len(commands) == 1:
                connection.send_packed_command(connection.pack_command(*commands[0]), check_health=False)
                answers = [_answer(connection)]
            else:
                connection.send_packed_command(connection.pack_commands(commands), check_health=False)
                answers = [_answer(connection) for _ in commands]
        except BaseException:
            self._discard(connection)
            raise
        if isinstance(answers[-1], redis.ReadOnlyError):
            self._discard(connection)  # no longer the primary: a new connection may lead to the one that is
        else:
            self._idle.append((monotonic(), connection))
        return answers

    def close(self) -> None:
        if self._idle:
            self._discard(self._idle.pop()[1])
        self._pool.disconnect(inuse_connections=False)

    def _take(self, now: float) -> Any:
        """Return the connection of this process that was used last, or None.

        Where that one has been idle for too long, so have all the others.
        """
        if self._process != os.getpid():
            self._idle, self._process = [], os.getpid()
        try:
            used, connection = self._idle.pop()
        except IndexError:
            return None
        if now - used < IDLE_SECONDS:
            return connection
        self._discard(connection)
        return None

    def _open(self, give_up: float) -> Any:
        token = _gives_up.set(give_up)
        try:
            return self._pool.get_connection()
        finally:
            _gives_up.reset(token)

    def _discard(self, connection: Any) -> None:
        """Close a connection, and with it the idle ones, which have most likely met the same fate."""
        while connection is not None:
            connection.disconnect()
            self._pool.release(connection)
            try:
                _, connection = self._idle.pop()
            except IndexError:
                connection = None


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:  # the server has answered: the connection is good
        return error


def _pool(settings: RedisSettings, password: str, timeout: float, ca_file: str | None) -> Any:
    """Return a pool of one's own: django-redis shares pools by URL only, and a new password would meet the old pool,
    so the pool is asked for directly (stores are shared by *all* their settings, see open_store)."""
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "db": settings.database,
        "connection_class": EncryptedConnection if settings.tls else PlainConnection,
        "parser_class": Parser,
        # What did not get through is not repeated behind our back: the first try may have been carried out.
        "retry": Retry(NoBackoff(), 0),
        # As many connections as calls at a time, which threads and greenlets bound; the driver's own bound is 100.
        "max_connections": 2**31,
        # With RESP 3 a server can tell the driver to be more patient, and to send the password to another address.
        "protocol": 2,
    }
    if settings.tls and ca_file:
        options["ssl_ca_certs"] = ca_file
    if password:  # straight to the driver: django-redis knows of user names from 7.0 on only
        options |= {"username": settings.username or None, "password": password}
    patience = {"SOCKET_CONNECT_TIMEOUT": timeout, "SOCKET_TIMEOUT": timeout}
    factory: ConnectionFactory[Any, Any, Any] = ConnectionFactory(
        {"CONNECTION_POOL_KWARGS": options, **patience}
    )
    return factory.get_connection_pool(factory.make_connection_params("redis://"))
