"""The connections of the MONGODB store: the driver's own, which believe no server that promises two gigabytes.

PyMongo reserves the memory for an answer as soon as a server has told how long it will be, and lets the server itself
say how long one may be. It resolves a name without a deadline. And it follows a replica set to every member that a
server tells it of, which gets the user name and the start of the login: where ALLOWED_STORE_HOSTS is set, only to those
that it allows.

In an event loop the connections wait by the loop; see ``waiting.py``. The driver's own bounds are off: it counts for
the whole process, and a loop that was closed while coroutines waited would take its part of that with it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from pymongo import _csot, errors
from pymongo.ssl_support import get_ssl_context
from pymongo.synchronous.pool import Connection, Pool

from sessionpersist.awaiting import Turns, in_loop, sleep
from sessionpersist.stores.allowed_hosts import HostNotAllowed, check_addresses
from sessionpersist.stores.certificates import Certificates
from sessionpersist.stores.connecting import apart, ip_addresses, resolve
from sessionpersist.stores.mongodb.waiting import LONG, AwaitingSocket

# Bytes. An answer of a MongoDB server is one document, which may have 16 MiB and a little more.
LARGEST_ANSWER = 17 * 1024 * 1024
MOST_AT_ONCE = 100  # connections to one server that the coroutines of a loop use at a time
MOST_CONNECTING = 2  # connections that threads, or a loop, make at a time
LOOK_AGAIN = 0.01  # seconds between two looks whether one may connect
UNBOUNDED = {"maxPoolSize": 0, "maxConnecting": 2**31 - 1}  # threads are bounded already


class BoundedPool(Pool):
    """Given to the driver's client as ``_pool_class``."""

    def __init__(self, *arguments: Any, certificates: Certificates, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._certificates = certificates
        pool: Any = self
        if certificates != Certificates():
            pool._ssl_session_cache = None  # a session that is resumed shows nobody a new certificate
        if self.opts._ssl_context is not None and not isinstance(self.opts._ssl_context, ssl.SSLContext):
            # The driver prefers pyOpenSSL, which comes with Daphne, and for which a loop can't wait.
            pool.opts._PoolOptions__ssl_context = _python_s_own(None)
        self._turns = Turns(MOST_AT_ONCE)
        # How many are being made, by threads (under the key of the pool itself) and by each loop.
        self._connecting: WeakKeyDictionary[object, int] = WeakKeyDictionary()

    def checkout(self, handler: Any = None) -> Any:
        return self._in_its_place(handler) if in_loop() else super().checkout(handler)

    @contextmanager
    def _in_its_place(self, handler: Any) -> Iterator[Connection]:
        with self._turns.one(self._give_up()), super().checkout(handler) as connection:
            yield connection

    def connect(self, handler: Any = None) -> Connection:
        """A few connect at a time. Whoever waits for that uses a connection that another gives back meanwhile."""
        owner: object = asyncio.get_running_loop() if in_loop() else self
        give_up = self._give_up()
        while not self._may_connect(owner):
            if (idle := self._idle()) is not None:
                return idle
            if monotonic() >= give_up:
                raise errors.NetworkTimeout(f"{self.address[0]}: timed out")
            sleep(LOOK_AGAIN)
        try:
            return self._connect(handler, give_up)
        finally:
            with self.lock:
                self._connecting[owner] -= 1

    def _give_up(self) -> float:
        return monotonic() + _csot.clamp_remaining(self.opts.connect_timeout or LONG)

    def _may_connect(self, owner: object) -> bool:
        with self.lock:
            connecting = self._connecting.get(owner, 0)
            if connecting >= MOST_CONNECTING:
                return False
            self._connecting[owner] = connecting + 1
        return True

    def _idle(self) -> Connection | None:
        with suppress(IndexError):
            connection = self.conns.popleft()
            if not self._perished(connection):
                self.active_contexts.add(connection.cancel_context)
                return connection
        return None

    def _connect(self, handler: Any, give_up: float) -> Connection:
        host, port = self.address
        try:
            addresses = resolve(host, port or 0, give_up)
            check_addresses(host, ip_addresses(addresses))
        except TimeoutError as error:
            raise errors.NetworkTimeout(f"{host}: the name server did not answer in time") from error
        except OSError as error:
            raise errors.AutoReconnect(f"{host}: {error}") from error
        bounding: Any = _Bounding(handler, host) if handler else None
        connection = self._connect_apart(bounding, give_up)
        wire: Any = connection.conn
        wire.conn = AwaitingSocket(wire.conn)
        return connection

    def _connect_apart(self, handler: Any, give_up: float) -> Connection:
        """For a coroutine: to connect, the handshake of TLS and the login wait in many places, and are rare. So they
        have a thread."""
        try:
            return apart(partial(self._log_in, handler), give_up, self._throw_away)
        except TimeoutError as error:
            raise errors.NetworkTimeout(f"{self.address[0]}: timed out") from error

    def _log_in(self, handler: Any) -> Connection:
        try:
            self._read_certificates()
        except OSError as error:
            raise errors.AutoReconnect(f"{self.address[0]}: {error}") from error
        return super().connect(handler)

    def _throw_away(self, connection: Connection) -> None:
        """Close a connection that nobody waits for any more."""
        self.active_contexts.discard(connection.cancel_context)
        connection.close_conn(None)

    def _read_certificates(self) -> None:
        """The driver reads them once, and wants the key in the file of the certificate.

        They go into a context that nobody has yet, as OpenSSL takes a certificate for one that another thread connects
        with for an error, or ends the process. What a file no longer holds is not in it either.
        """
        if self._certificates != Certificates():
            context = _python_s_own(self._certificates.ca_file or None)
            self._certificates.load_own(context)
            options: Any = self.opts
            options._PoolOptions__ssl_context = context  # whole, whoever connects with it

    def _get_conn(self, *arguments: Any, **options: Any) -> Connection:
        return _bounded(super()._get_conn(*arguments, **options))


def _python_s_own(ca_file: str | None) -> ssl.SSLContext:
    """Return a context of Python's own TLS as the driver makes it, which for asyncio always is that."""
    context: Any = get_ssl_context(None, None, ca_file, None, False, False, False, False)
    assert isinstance(context, ssl.SSLContext)
    return context


class _Bounding:
    """What the driver tells of a connection between its greeting, in which the server says what it likes, and the
    login."""

    def __init__(self, handler: Any, host: str) -> None:
        self._handler, self._host = handler, host

    def contribute_socket(self, connection: Connection, **options: Any) -> None:
        sock: Any = connection.conn.sock
        try:
            check_addresses(self._host, [sock.getpeername()[0]])  # the driver has resolved the name once more
        except HostNotAllowed as error:
            raise errors.AutoReconnect(str(error)) from error
        self._handler.contribute_socket(_bounded(connection), **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)


def _bounded(connection: Connection) -> Connection:
    connection.max_message_size = min(connection.max_message_size, LARGEST_ANSWER)
    return connection
