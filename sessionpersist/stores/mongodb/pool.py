"""The connections of the MONGODB store: the driver's own, which believe no server that promises two gigabytes.

PyMongo reserves the memory for an answer as soon as a server has told how long it will be, and lets the server itself
say how long one may be. It resolves a name without a deadline. And it follows a replica set to every member that a
server tells it of, which gets the user name and the start of the login: where ALLOWED_STORE_HOSTS is set, only to those
that it allows.

In an event loop the connections wait by the loop; see ``waiting.py``.
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import Any

from pymongo import _csot, errors
from pymongo.synchronous.pool import Connection, Pool

from sessionpersist.awaiting import in_loop
from sessionpersist.stores.certificates import Certificates
from sessionpersist.stores.connecting import aside, ip_addresses, resolve
from sessionpersist.stores.hosts import HostNotAllowed, check_addresses
from sessionpersist.stores.mongodb.waiting import LONG, AwaitingSocket, Condition

# Bytes. An answer of a MongoDB server is one document, which may have 16 MiB and a little more.
LARGEST_ANSWER = 17 * 1024 * 1024


class BoundedPool(Pool):
    """Given to the driver's client as ``_pool_class``."""

    def __init__(self, *arguments: Any, certificates: Certificates, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._certificates = certificates
        waiting: Any = Condition
        self.size_cond, self._max_connecting_cond = waiting(self.lock), waiting(self.lock)

    def connect(self, handler: Any = None) -> Connection:
        host, port = self.address
        give_up = monotonic() + _csot.clamp_remaining(self.opts.connect_timeout or LONG)
        try:
            addresses = resolve(host, port or 0, give_up)
            check_addresses(host, ip_addresses(addresses))
            self._read_certificates()
        except TimeoutError as error:
            raise errors.NetworkTimeout(f"{host}: the name server did not answer in time") from error
        except OSError as error:
            raise errors.AutoReconnect(f"{host}: {error}") from error
        bounding: Any = _Bounding(handler, host) if handler else None
        connection = self._connected(bounding, give_up) if in_loop() else super().connect(bounding)
        wire: Any = connection.conn
        wire.conn = AwaitingSocket(wire.conn)
        return connection

    def _connected(self, handler: Any, give_up: float) -> Connection:
        """For a coroutine: to connect, the handshake of TLS and the login wait in many places, and are rare. So they
        have a thread."""
        try:
            return aside(partial(super().connect, handler), give_up, self._throw_away)
        except TimeoutError as error:
            raise errors.NetworkTimeout(f"{self.address[0]}: timed out") from error

    def _throw_away(self, connection: Connection) -> None:
        """Close a connection that nobody waits for any more."""
        self.active_contexts.discard(connection.cancel_context)
        connection.close_conn(None)

    def _read_certificates(self) -> None:
        """The driver reads them once, and wants the key in the file of the certificate."""
        context: Any = self.opts._ssl_context
        if context is not None:
            self._certificates.load(context)

    def _get_conn(self, *arguments: Any, **options: Any) -> Connection:
        return _bounded(super()._get_conn(*arguments, **options))


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
