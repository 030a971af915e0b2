"""The server that Sentinels name as the primary, through the driver's own Sentinel and its pool.

They are asked whenever a connection is made. Connections that are there are given up when the primary is lost, when it
turns out to be a replica, and when a Sentinel announces another one: the old one may go on for a while and believe that
it is the primary, and what it is told then is lost.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar
from copy import copy
from functools import partial
from time import monotonic
from typing import Any, cast

import redis
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
)

from sessionpersist.awaiting import in_loop, sleep
from sessionpersist.stores.addresses import Address
from sessionpersist.stores.connecting import left
from sessionpersist.stores.redis.wire import (
    ADDRESS,
    SMALL,
    EncryptedConnection,
    LogsInAgain,
    PlainConnection,
    Wire,
    in_time,
    pool_of_one,
    time_left,
)
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import SENTINELS_SILENT
from sessionpersist.threads import NoThread, begin_thread, is_ending

# Of another primary; the Sentinel that makes it says so a second earlier.
ANNOUNCEMENTS = ("+switch-master", "+promoted-slave")
PATIENCE = 10.0  # seconds without an announcement, after which the Sentinels are asked whether one was missed
AGAIN = 0.1  # seconds, after a Sentinel has named a replica
PAUSE = 1.0  # seconds, after no Sentinel could be listened to


class PrimaryConnection(PlainConnection, SentinelManagedConnection):
    """The driver's connection to whoever is the primary, on our socket."""


class EncryptedPrimaryConnection(EncryptedConnection, SentinelManagedConnection):
    pass


class PrimaryPool(LogsInAgain, SentinelConnectionPool):
    """Connections to whoever is the primary."""


# Why Sentinels could not tell who is the primary: the driver would make a long text of it.
_failures: ContextVar[list[Exception]] = ContextVar("sessionpersist_sentinel_failures")


class OneSentinel(redis.Redis):
    """The driver's client of one Sentinel. It gets half of the time that is left: others can be asked, too."""

    def __init__(self, watched: str, pool: Any) -> None:
        """``watched`` is the name of the primary."""
        super().__init__(connection_pool=pool)
        self.watched = watched

    def sentinel_masters(self) -> Any:
        """Whatever is wrong with this one, the driver is to ask the next: it does so after an error of this kind."""
        try:
            with in_time(monotonic() + time_left() / 2):
                return self._primaries()
        except Exception as error:
            given = self.connection_pool.connection_kwargs
            vars(error)[ADDRESS] = Address(given["host"], given["port"])
            _failures.get().append(error)
            raise redis.ConnectionError("this Sentinel can't tell") from error

    def _primaries(self) -> Any:
        """What the driver looks at still has the old primary for a second after another one was promoted, and what the
        old one is told then is lost. So the address is asked for, too."""
        found: Any = super().sentinel_masters()
        if (state := found.get(self.watched)) is not None:
            host, port = cast("Any", self.sentinel_get_master_addr_by_name(self.watched))
            if (host := host.decode(), port) != (state["ip"], state["port"]):
                state |= {"ip": host, "port": port, "is_sdown": False, "is_odown": False}
        return found


class Sentinels(Sentinel):
    """The driver's Sentinel, on our connections. Several threads may ask."""

    def __init__(self, name: str, addresses: Sequence[Address], options: dict[str, Any]) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]
        self._name, self._addresses, self._options = name, addresses, options
        self.forget()

    def forget(self) -> None:
        """See Link.forget()."""
        pools = [pool_of_one(*address, 0, self._options) for address in self._addresses]
        self.sentinels = [OneSentinel(self._name, pool) for pool in pools]

    def discover_master(self, service_name: str) -> Any:
        """The driver puts the one that answered first; two threads that do so at once would lose one.

        Raises MasterNotFoundError. Where no Sentinel could tell, its cause is why; where one could, it has none.
        """
        asking = copy(self)
        asking.sentinels = list(self.sentinels)
        failures: list[Exception] = []
        token = _failures.set(failures)
        try:
            found = Sentinel.discover_master(asking, service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            reason = _reason(failures) if len(failures) == len(asking.sentinels) else None
            raise MasterNotFoundError("no Sentinel names a primary") from reason
        finally:
            _failures.reset(token)
        self.sentinels = asking.sentinels
        return found

    def close(self) -> None:
        for each in self.sentinels:
            each.connection_pool.disconnect()

    def ask_others_first(self) -> None:
        first, *others = self.sentinels
        self.sentinels = [*others, first]


def _reason(failures: Sequence[Exception]) -> Exception:
    """Return the failure that tells most: one that is left after the servers are back."""
    refused = (each for each in failures if isinstance(each, redis.AuthenticationError | redis.ResponseError))
    return next(refused, failures[0])


def is_primary(connection: Any, give_up: float) -> bool:
    """Ask a server on a new connection of the driver; one that does not tell this user is believed to be."""
    connection._sock.allow(give_up, SMALL, left(give_up), in_loop())
    connection.send_command("ROLE", check_health=False)
    try:
        role = connection.read_response()
    except redis.ResponseError:
        return True
    return not isinstance(role, list) or role[:1] == [b"master"]


class PrimaryWire(Wire):
    """Asks the primary that the Sentinels name."""

    def __init__(
        self, name: str, sentinel: Sentinels, options: dict[str, Any], timeout: float, replicas: int
    ) -> None:
        """``options`` are those of a connection to the primary."""
        encrypted = options["connection_class"] is EncryptedConnection
        own = {**options, "connection_class": EncryptedPrimaryConnection if encrypted else PrimaryConnection}
        self.name, self.sentinel = name, sentinel
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        super().__init__(partial(PrimaryPool, name, sentinel, **own), timeout, replicas)

    @property
    def address(self) -> Address:
        return Address(*(self._pool.master_address or ("", 0)))

    def primary(self) -> Address:
        """Ask the Sentinels who is the primary. Raises whatever a driver can raise."""
        with in_time(monotonic() + self.timeout):
            return Address(*self.sentinel.discover_master(self.name))

    def replica_addresses(self) -> list[Address]:
        """Ask the Sentinels for the replicas that are up. Where none names any, raises why one of them could not tell.

        The driver's own way takes that for an answer: no replica.
        """
        failure: Exception | None = None
        with in_time(monotonic() + self.timeout):
            for each in self.sentinel.sentinels:
                try:
                    found = self.sentinel.filter_slaves(each.sentinel_slaves(self.name))  # type: ignore[no-untyped-call]
                except (redis.RedisError, OSError) as error:
                    failure = error
                    continue
                if found:
                    return [Address(*address) for address in found]
        if failure is not None:
            raise failure
        return []

    def close(self) -> None:
        with self._lock:
            if self._listener:
                self._listener.stop()
            self._listener = None
        super().close()
        self.sentinel.close()

    def forget(self) -> None:
        super().forget()
        self.sentinel.forget()
        self._lock, self._listener = threading.Lock(), None

    def _open(self, give_up: float) -> Any:
        """Connect to who is named, and is, the primary: what a replica has may be of the past. In a planned fail-over
        one Sentinel knows of the new one a second before another."""
        last = self._pool.master_address
        while (connection := self._open_to_primary(give_up)) is None:
            self.sentinel.ask_others_first()
            if monotonic() + AGAIN > give_up:
                raise redis.ReadOnlyError("the server that a Sentinel names is a replica")
            sleep(AGAIN)
        if last not in (None, self._pool.master_address):
            self.give_up_connections()  # they lead to the one before
        if self._listener is None or not self._listener.begun:
            self._begin_to_listen()
        return connection

    def _open_to_primary(self, give_up: float) -> Any:
        """Connect to who is named; None where that is a replica."""
        connection = super()._open(give_up)
        try:
            if is_primary(connection, give_up):
                return connection
        except BaseException as error:
            self._discard(connection)
            vars(error)[ADDRESS] = self.address
            raise
        self._discard(connection)
        return None

    def _begin_to_listen(self) -> None:
        with self._lock:
            self._listener = self._listener or Listener(self)
            self._listener.begin()


class Listener:
    """A thread that hears of another primary, and gives up the connections to the last one. It costs a process one
    connection to one Sentinel, and a request nothing. It ends with the wire."""

    def __init__(self, wire: PrimaryWire) -> None:
        self._wire = weakref.ref(wire)
        self._sentinel, self._name, self._timeout = wire.sentinel, wire.name, wire.timeout
        self._stopped = threading.Event()
        self._connection: Any = None
        self._silent = False  # and the log knows it
        self.begun = False

    def begin(self) -> None:
        """Begin, unless it has. Where no thread can be had the log has it once; the next connection tries again."""
        if self.begun:
            return
        try:
            begin_thread("sessionpersist-sentinel", self._run)
        except NoThread as error:
            self._note_silence(error)
        else:
            self.begun = True

    def stop(self) -> None:
        self._stopped.set()
        if (connection := self._connection) is not None:
            connection.disconnect()

    def _run(self) -> None:
        while not self._stopped.is_set() and self._wire() is not None:
            try:
                self._listen_to_any()
            except Exception as error:  # noqa: BLE001 - it tries again, and the log has it once
                self._note_silence(error)
                self._stopped.wait(PAUSE)

    def _note_silence(self, error: Exception) -> None:
        if not self._silent and not self._stopped.is_set() and not is_ending():
            name, kind = self._name, type(error).__name__
            sentence = f"No Sentinel of “{name}” can be listened to ({kind})."
            lines.say(SENTINELS_SILENT, sentence, name=name, error=kind)
        self._silent = True

    def _listen_to_any(self) -> None:
        """Raises the last error where no Sentinel can be listened to."""
        failure: Exception | None = None
        for client in list(self._sentinel.sentinels):
            try:
                self._listen(client.connection_pool)
                return
            except Exception as error:  # noqa: BLE001 - the next one may be better
                failure = error
            if self._stopped.is_set():
                return
        if failure is not None:
            raise failure

    def _listen(self, pool: Any) -> None:
        """Return after an announcement, and after a time without one."""
        with in_time(monotonic() + self._timeout / 2):
            connection = self._connection = pool.get_connection()
        try:
            connection.send_command("SUBSCRIBE", *ANNOUNCEMENTS, check_health=False)
            for _ in ANNOUNCEMENTS:
                connection.read_response()
            self._silent = False
            self._give_up_the_last()  # it may have been announced before
            connection._sock.allow(monotonic() + PATIENCE, SMALL, PATIENCE, awaits=False)
            with suppress(redis.TimeoutError):
                connection.read_response()
            self._give_up_the_last()
        finally:
            self._connection = None
            connection.disconnect()
            pool.release(connection)

    def _give_up_the_last(self) -> None:
        """Give up connections that lead to another server than the Sentinels name now."""
        wire = self._wire()
        if wire is None or self._stopped.is_set():
            return
        last = wire.address
        if last.host and wire.primary() != last:
            wire.give_up_connections()
