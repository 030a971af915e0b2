"""The connections of the REDIS store: the driver's own, each answer of which has a deadline and a size.

The driver waits for each read: a server that drips a byte now and then would hold a request for minutes. And it
believes a server that promises two gigabytes. So the driver is given a socket that counts.
"""

from __future__ import annotations

import os
import socket
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache, partial
from time import monotonic
from typing import Any

import redis
from django_redis.pool import ConnectionFactory
from redis.backoff import NoBackoff
from redis.connection import DefaultParser, SSLConnection
from redis.retry import Retry

from sessionpersist import forks
from sessionpersist.awaiting import AllInUse, Turns, in_loop, once_ready, readable, send_all
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.addresses import Address
from sessionpersist.stores.allowed_hosts import check_addresses
from sessionpersist.stores.certificates import Certificates
from sessionpersist.stores.connecting import apart, connect, left
from sessionpersist.stores.credentials import Credentials

pack_command: Any
NOT_ENOUGH_DATA: Any
try:
    from hiredis import pack_command
    from redis._parsers.hiredis import NOT_ENOUGH_DATA
except ImportError:  # the driver goes without it
    pack_command = NOT_ENOUGH_DATA = None

# A firewall may drop a connection that was idle for some minutes, and tell neither end: a request that used it would
# wait for the whole time-out and be refused.
IDLE_SECONDS = 30.0
SMALL = 1024 * 1024  # bytes that an answer without a record may have, and all of them as the driver connects
WAITED = 0.7  # of the time that is left, for replicas: what is left is for the answer
SHORT = 16 * 1024  # bytes that a kernel takes at once
# Connections to one server that the coroutines of a loop use at a time: as many as MongoDB's driver has.
MOST_AT_ONCE = 100
# When the verb gives up for which a connection is being made: the driver's pool has no room to pass it on.
_gives_up: ContextVar[float] = ContextVar("sessionpersist_redis_gives_up")

OF_A_CLUSTER: dict[str, Any] = {
    "MOVED": redis.exceptions.MovedError,
    "ASK": redis.exceptions.AskError,
    "TRYAGAIN": redis.exceptions.TryAgainError,
    "CLUSTERDOWN": redis.exceptions.ClusterDownError,
    "MASTERDOWN": redis.exceptions.MasterDownError,
    "CROSSSLOT": redis.exceptions.ClusterCrossSlotError,
}
# What an answer begins with that needs no interpretation: a string, a line, a number.
PLAIN = b"$+:"
Command = tuple[Any, ...]  # its words, none of which has a space in it unless it is an argument
ADDRESS = "sessionpersist_address"  # what an error is given: where the server is


class AnswerTooLarge(redis.exceptions.InvalidResponse):
    """The server sends more than it was asked for."""


class Unexpected(redis.exceptions.InvalidResponse):
    """The server answers something that it was not asked."""


class Parser(DefaultParser):  # type: ignore[misc, valid-type] # whichever the driver has
    """The driver's parser, with an error for each error that a server can send.

    The driver's own fails at "MOVED somewhere", and where that is within a map, hiredis takes the process down with it.
    Before redis-py 6 only the parser for a Cluster knows what a Cluster says.
    """

    @classmethod
    def parse_error(cls, response: Any) -> Exception:
        try:
            error: Exception = super().parse_error(response)
            code, _, rest = str(response).partition(" ")
            return (
                OF_A_CLUSTER[code](rest)
                if type(error) is redis.ResponseError and code in OF_A_CLUSTER
                else error
            )
        except Exception:  # noqa: BLE001 - a server can say anything
            return redis.ResponseError(str(response))


class CountingSocket:
    """A socket with one deadline for all that is written and read, and a limit to what is read.

    Most exchanges are a short write and one read, for which the socket's own time-out does. From the second read on,
    and after a long write, it is set to what is left. In an event loop the socket never waits, and the loop does.
    """

    def __init__(self, sock: socket.socket, give_up: float) -> None:
        self._sock = sock
        self._send, self._receive_into = sock.sendall, sock.recv_into
        self._patience = -1.0  # not known
        self.allow(give_up, SMALL, left(give_up), in_loop())

    def allow(self, give_up: float, most: int, seconds: float, awaits: bool) -> None:
        """Begin an exchange, for which so many seconds are left; ``awaits`` is what ``in_loop()`` says."""
        self._give_up, self._most, self._going_on, self._awaits = give_up, most, False, awaits
        if awaits:
            seconds = 0.0
        if seconds != self._patience:
            self._patience = seconds
            self._sock.settimeout(seconds)

    def sendall(self, data: Any) -> None:
        if self._awaits:
            return send_all(self._sock, data, self._give_up)
        self._send(data)
        if len(data) > SHORT:  # which may have taken a while
            self._going_on = True
        return None

    def recv_into(self, buffer: Any) -> int:
        if self._awaits:
            received = once_ready(lambda: self._receive_into(buffer), self._sock, readable, self._give_up)
        else:
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
        self._awaits = seconds != 0 and in_loop()
        if self._awaits:
            seconds = 0.0
        self._patience = seconds or 0.0
        self._sock.settimeout(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def _hurry(self) -> None:
        self._patience = left(self._give_up)
        self._sock.settimeout(self._patience)


class PlainConnection(redis.Connection):
    """The driver's connection on such a socket, made by the deadline of the verb that needs it."""

    def connect(self) -> None:
        """Connect and log in, or leave nothing open: the driver takes an open socket for one that has logged in."""
        try:
            super().connect()  # type: ignore[no-untyped-call]
        except BaseException:  # a coroutine that is cancelled, too
            self.disconnect()  # type: ignore[no-untyped-call]
            raise

    def ask(self, command: Command) -> Any:
        """Send a command and return its answer, which may be an error. Whatever is raised leaves the connection of no
        use.

        A plain answer that comes in one piece is read straight into the driver's parser, which saves two thirds of the
        calls; any other is left to the driver.
        """
        if pack_command is None:
            return self.ask_all((command,))[0]
        sock: Any = self._sock
        parser: Any = self._parser
        reader, buffer = parser._reader, parser._buffer
        sock.sendall(pack_command(command))
        received = sock.recv_into(buffer)
        reader.feed(buffer, 0, received)
        if received and buffer[0] in PLAIN and (answer := reader.gets()) is not NOT_ENOUGH_DATA:
            return answer
        return self.answer()

    def ask_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands together and return their answers, as ``ask`` does."""
        packed = self.pack_commands(commands)  # type: ignore[no-untyped-call]
        self.send_packed_command(packed, check_health=False)  # type: ignore[no-untyped-call]
        return [self.answer() for _ in commands]

    def check_silent(self) -> None:
        """Raise Unexpected where more has come than was asked for: one of the answers is to another question, and
        nobody can tell which. What comes later is not seen: to look for it would take a system call each time."""
        parser: Any = self._parser
        reader = getattr(parser, "_reader", None)  # that of hiredis, where the driver has it
        if reader.has_data() if reader is not None else parser._buffer.unread_bytes():
            raise Unexpected("more than it was asked")

    def answer(self) -> Any:
        try:
            return self.read_response()
        except redis.ResponseError as error:  # the server has answered: the connection is good
            return error

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
        shake_hands: Callable[[], socket.socket] = partial(self._wrap_socket_with_ssl, sock)
        # It is given up in time by the socket, whose error tells more.
        return apart(shake_hands, _gives_up.get() + 1, socket.socket.close)


class Unconfirmed(redis.RedisError):
    """What was written is on the primary, and on too few replicas."""


class Link(ABC):
    """A way to one server, or to those of a Cluster."""

    def __init__(self, timeout: float, replicas: int) -> None:
        """``timeout`` in seconds is for all that is asked at once; ``replicas`` is how many must have what is written
        before it counts. Called last: a fork must not meet a link that is half made."""
        self.timeout, self.replicas = timeout, replicas
        if not replicas:
            self.write = self.ask  # type: ignore[method-assign] # which is all that there is to do
        _links.add(self)

    @abstractmethod
    def ask(
        self, commands: Sequence[Command], give_up: float = 0.0, most: int = SMALL, name: str = ""
    ) -> list[Any]:
        """Send commands and return their answers, on a connection that this call has for itself; at most so many bytes
        of them, by that time (0: as long as the time-out is). A command that the server refuses has an error as its
        answer. ``name`` is the key that they are about. Raises whatever a driver can raise.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connections. Others are made when they are needed."""

    @abstractmethod
    def forget(self) -> None:
        """Know nothing, as at first: in a forked child, where a thread that does not exist may hold a lock."""

    def write(
        self, commands: Sequence[Command], give_up: float = 0.0, most: int = SMALL, name: str = ""
    ) -> list[Any]:
        """Ask, and wait for the replicas in the same exchange. Raises Unconfirmed, too."""
        seconds = left(give_up) if give_up else self.timeout
        wait = ("WAIT", self.replicas, max(1, int(seconds * 1000 * WAITED)))
        *answers, confirmed = self.ask([*commands, wait], give_up, most, name)
        if any(map(_is_written, answers)):
            if isinstance(confirmed, Exception):
                raise confirmed
            if confirmed < self.replicas:
                raise Unconfirmed(f"{confirmed} of {self.replicas}")
        return answers


def _is_written(answer: object) -> bool:
    """Whether a command may have written something: a SET that did not says None, a script 0."""
    return not (answer is None or answer == 0 or isinstance(answer, Exception))


class Wire(Link):
    """Asks one server, on as many connections as are asked on at a time."""

    def __init__(self, make_pool: Callable[[], Any], timeout: float, replicas: int = 0) -> None:
        """``make_pool`` makes one of the driver's."""
        self._make_pool = make_pool
        self._pool = make_pool()
        # When it was used last, the age it is of, and a connection of the driver, which has no type; the last used is
        # the last here.
        self._idle: list[tuple[float, int, Any]] = []
        self._process = os.getpid()
        self._turns = Turns(MOST_AT_ONCE)
        self._age = 0  # how often its connections were given up
        super().__init__(timeout, replicas)

    def ask(
        self, commands: Sequence[Command], give_up: float = 0.0, most: int = SMALL, name: str = ""
    ) -> list[Any]:
        """See Link.ask().

        Straight on the driver's connection: its client would take longer for its hooks, and its pool for asking the
        kernel whether an idle connection is still good, than the server for its answer. One that is not shows when it
        is used, and whoever called tries again (see GuardedStore).
        """
        if not in_loop():
            return self._exchange(commands, give_up, most, False)
        give_up = give_up or monotonic() + self.timeout
        try:
            with self._turns.one(give_up):
                return self._exchange(commands, give_up, most, True)
        except AllInUse as error:
            vars(error).setdefault(ADDRESS, self.address)
            raise

    def _exchange(self, commands: Sequence[Command], give_up: float, most: int, awaits: bool) -> list[Any]:
        now, age = monotonic(), self._age  # first: what is given up meanwhile may be this connection
        connection = self._take(now)
        if connection is None:
            give_up = give_up or now + self.timeout
            connection = self._open(give_up)
        try:
            if give_up:
                connection._sock.allow(give_up, most, left(give_up), awaits)
            else:
                connection._sock.allow(now + self.timeout, most, self.timeout, awaits)
            answers = [connection.ask(commands[0])] if len(commands) == 1 else connection.ask_all(commands)
            connection.check_silent()
        except Exception as error:
            self._discard(connection)
            vars(error)[ADDRESS] = self.address
            raise
        except BaseException:  # whoever asked no longer wants the answer, which says nothing about the others
            self._close(connection)
            raise
        if isinstance(answers[0], redis.ReadOnlyError) or age != self._age:
            self._discard(connection)  # no longer the primary: a new connection may lead to the one that is
        else:
            self._idle.append((monotonic(), age, connection))
        return answers

    @property
    def address(self) -> Address:
        """Where the server is, as far as that is known."""
        given = self._pool.connection_kwargs
        return Address(given.get("host", ""), given.get("port", 0))

    def give_up_connections(self) -> None:
        """Close the idle connections now, and those in use after it: there is another primary."""
        self._age += 1
        with suppress(IndexError):
            self._discard(self._idle.pop()[2])

    def close(self) -> None:
        self.give_up_connections()
        self._pool.disconnect(inuse_connections=False)

    def forget(self) -> None:
        """See Link.forget(). The driver's pool notices the fork, and then waits for its own lock without end."""
        self._pool, self._idle, self._process = self._make_pool(), [], os.getpid()

    def _take(self, now: float) -> Any:
        """Return the connection of this process that was used last, or None.

        Where that one has been idle for too long or was given up, so have all the others.
        """
        if self._process != os.getpid():
            self._idle, self._process = [], os.getpid()
        try:
            used, age, connection = self._idle.pop()
        except IndexError:
            return None
        if now - used < IDLE_SECONDS and age == self._age:
            return connection
        self._discard(connection)
        return None

    def _open(self, give_up: float) -> Any:
        try:
            with in_time(give_up):
                return self._pool.get_connection()
        except Exception as error:
            vars(error)[ADDRESS] = self.address
            raise

    def _discard(self, connection: Any) -> None:
        """Close a connection, and with it the idle ones, which have most likely met the same fate."""
        while connection is not None:
            self._close(connection)
            try:
                *_, connection = self._idle.pop()
            except IndexError:
                connection = None

    def _close(self, connection: Any) -> None:
        connection.disconnect()
        self._pool.release(connection)


@contextmanager
def in_time(give_up: float) -> Iterator[None]:
    """Inside, connections are made by that time."""
    token = _gives_up.set(give_up)
    try:
        yield
    finally:
        _gives_up.reset(token)


def time_left() -> float:
    """How many seconds are left for making a connection; TimeoutError where none are."""
    return left(_gives_up.get())


class NoCredentials(redis.AuthenticationError):
    """What to log in with could not be had; the cause is an error of ours. One of the driver's own kind, with which it
    closes the connection."""


class Provider(redis.CredentialProvider):
    """Gives the driver what to log in with, at each login."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        ask = self.credentials.now
        try:
            username, password = apart(ask, _gives_up.get()) if self.credentials.changing else ask()
        except StoreUnavailable as error:
            raise NoCredentials(str(error)) from error
        return (username, password) if username else (password,)


class LogsInAgain:
    """A pool of the driver. Where the password changes, a login that was refused is tried once more: it may just have.

    What it lends can be read by the deadline of whoever asks, so that the driver's own clients can use it, too.
    """

    connection_kwargs: dict[str, Any]
    release: Callable[[Any], None]

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        give_up = _gives_up.get()
        lend: Any = super().get_connection  # type: ignore[misc] # of the driver's pool beside it
        try:
            connection = lend(*arguments, **options)
        except redis.AuthenticationError:
            if not self._changes():
                raise
            connection = lend(*arguments, **options)
        try:
            connection._sock.allow(give_up, SMALL, left(give_up), in_loop())
        except BaseException:
            connection.disconnect()
            self.release(connection)
            raise
        return connection

    def _changes(self) -> bool:
        provider = self.connection_kwargs.get("credential_provider")
        return isinstance(provider, Provider) and provider.credentials.changing


class Pool(LogsInAgain, redis.ConnectionPool):
    """The connections to one server."""


def options_of(credentials: Credentials, certificates: Certificates | None, timeout: float) -> dict[str, Any]:
    """Return how every connection of a store is made, whatever it leads to; ``certificates`` is None without TLS."""
    options: dict[str, Any] = {
        "connection_class": PlainConnection if certificates is None else EncryptedConnection,
        "parser_class": Parser,
        "socket_connect_timeout": timeout,
        "socket_timeout": timeout,
        # What did not get through is not repeated behind our back: the first try may have been carried out.
        "retry": Retry(NoBackoff(), 0),
        # As many connections as calls at a time, which threads and greenlets bound; the driver's own bound is 100.
        "max_connections": 2**31,
        # With RESP 3 a server can tell the driver to be more patient, and to send the password to another address.
        "protocol": 2,
        **_who_connects(),
    }
    if certificates is not None:
        files = {
            "ssl_ca_certs": certificates.ca_file,
            "ssl_certfile": certificates.client_certificate,
            "ssl_keyfile": certificates.own_key,
        }
        options |= {name: path for name, path in files.items() if path}
    if credentials.changing or credentials.now().password:
        options["credential_provider"] = Provider(credentials)
    return options


@cache
def _who_connects() -> dict[str, Any]:
    """What a connection tells a server of the driver, which would read its own version from a file for each."""
    try:
        from redis.driver_info import DriverInfo
    except ImportError:  # it is old, and reads it once
        return {}
    return {"driver_info": DriverInfo()}


def pool_of_one(host: str, port: int, database: int, options: Mapping[str, Any]) -> Any:
    """Return a pool of one's own: django-redis shares pools by URL only, and a new password would meet the old pool,
    so the pool is asked for directly (stores are shared by *all* their settings, see open_store)."""
    given = {
        "CONNECTION_POOL_CLASS": f"{Pool.__module__}.{Pool.__qualname__}",
        "CONNECTION_POOL_KWARGS": {**options, "host": host, "port": port, "db": database},
    }
    factory: ConnectionFactory[Any, Any, Any] = ConnectionFactory(given)
    return factory.get_connection_pool(factory.make_connection_params("redis://"))


_links: weakref.WeakSet[Link] = weakref.WeakSet()


def _forget_all() -> None:
    for each in list(_links):
        each.forget()


forks.in_child(forks.Layer.CONNECTIONS, _forget_all)
