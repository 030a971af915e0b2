"""REDIS: a central Redis (6.2 or newer) or Valkey, through django-redis' connection factory.

One string a session: a fixed header, the user id and the payload, so that a read is one GET. What depends on the
present record is a Lua script, which the server runs atomically. Every key has a TTL.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import redis
from django_redis.pool import ConnectionFactory
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessionpersist.exceptions import SessionTooLarge, StoreUnavailable
from sessionpersist.stores import scripts
from sessionpersist.stores.base import (
    ENDED,
    Check,
    Outcome,
    Record,
    Store,
    check_address,
    check_reachable,
    check_speaks_tls,
    harmless,
    now_ms,
    unreachable,
)
from sessionpersist.stores.scripts import Script
from sessionpersist.stores.settings import RedisSettings

# version (8 bytes), created_at (8), expires_at (8), length of the user id (2); all big-endian. The scripts know it.
HEADER = struct.Struct(">QQQH")
PAGE = 100  # keys that one step of a scan reads: bounded memory
KEY_LENGTH = 64  # characters of a stored key, see sealing.stored_key()
COUNTED_TOGETHER = 1000  # keys; the server answers nobody else for about a millisecond
# A firewall may drop a connection that was idle for some minutes, and tell neither end: a request that used it would
# wait for the whole time-out and be refused.
IDLE_SECONDS = 30.0
OUTCOMES = (Outcome.MISSING, Outcome.CONFLICT, Outcome.SAVED)  # by the numbers that REPLACE returns


class RedisStore(Store):
    name = "REDIS"

    def __init__(
        self, settings: RedisSettings, password: str, timeout: float, prefix: str, ca_file: str | None = None
    ) -> None:
        """``password`` is the real one; ``timeout`` in seconds holds for connecting and for each answer."""
        check_address(self.name, settings.host, settings.port)
        self.settings, self.timeout, self.prefix = settings, timeout, prefix
        self._secret = password
        self._client = _connect(settings, password, timeout, ca_file)
        # When it was used last, and a connection of the driver, which has no type; the last used is the last here.
        self._idle: list[tuple[float, Any]] = []
        self._process = os.getpid()

    def get(self, key: str) -> Record | None:
        value = self._command("GET", self._name(key))
        record = unpack(value) if value else None
        return record if record and record.expires_at > now_ms() else None

    def create(self, key: str, record: Record) -> bool:
        name, value, life = self._name(key), pack(record), ttl(record.expires_at)
        # Taken, unless what is there has expired and the server's clock has not come to it.
        created = self._command("SET", name, value, "PX", life, "NX")
        return bool(created or self._script(scripts.REUSE, name, now_ms(), value, life))

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        new, life = pack(record), ttl(record.expires_at)
        return OUTCOMES[self._script(scripts.REPLACE, self._name(key), now_ms(), packed(expected), new, life)]

    def touch(self, key: str, expires_at: int) -> bool:
        return bool(self._script(scripts.TOUCH, self._name(key), now_ms(), expires_at, ttl(expires_at)))

    def delete(self, key: str, version: int | None = None) -> bool:
        only = b"" if version is None else packed(version)
        return bool(self._script(scripts.DELETE, self._name(key), now_ms(), only))

    def end(self, key: str, expires_at: int) -> None:
        ended = pack(Record(b"", ENDED, now_ms(), expires_at))
        self._command("SET", self._name(key), ended, "PX", ttl(expires_at))

    def clear_expired(self) -> int:
        return 0

    def scan(self) -> Iterator[tuple[str, Record]]:
        """See Store.scan(). While the server resizes its table, a record may come twice."""
        for names in self._pages():
            with self._translated():
                values = self._client.mget(names)
            now = now_ms()
            for name, value in zip(names, values, strict=True):
                if value and (record := unpack(value)).expires_at > now:
                    yield name.decode().removeprefix(self._name("")), record

    def count(self, at_most: int | None = None) -> int:
        total = 0
        for names in self._pages(COUNTED_TOGETHER):
            total += self._command("EVAL", scripts.COUNT.text, len(names), *names, now_ms())
            if at_most is not None and total >= at_most:
                return at_most
        return total

    def get_many(self, keys: Collection[str]) -> dict[str, Record]:
        with self._translated():
            values = self._client.mget([self._name(key) for key in keys])
        found = {key: unpack(value) for key, value in zip(keys, values, strict=True) if value}
        return {key: record for key, record in found.items() if record.expires_at > now_ms()}

    def create_many(self, records: Mapping[str, Record]) -> set[str]:
        pipeline = self._client.pipeline(transaction=False)
        for key, record in records.items():
            pipeline.execute_command("SET", self._name(key), pack(record), "PX", ttl(record.expires_at), "NX")
        with self._translated():
            return {key for key, created in zip(records, pipeline.execute(), strict=True) if created}

    def delete_many(self, versions: Mapping[str, int]) -> set[str]:
        pipeline, now = self._client.pipeline(transaction=False), now_ms()
        for key, version in versions.items():
            pipeline.eval(scripts.DELETE.text, 1, self._name(key), now, packed(version))
        with self._translated():
            return {key for key, deleted in zip(versions, pipeline.execute(), strict=True) if not deleted}

    def connection_checks(self) -> Iterable[Check]:
        yield from check_reachable(self.settings.host, self.settings.port, self.timeout)
        yield "Authenticate", self._check_login
        yield "Scripts", self._check_scripts

    def warnings(self) -> Iterable[str]:
        with self._translated():
            memory, persistence = self._client.info("memory"), self._client.info("persistence")
        if memory.get("maxmemory") and memory.get("maxmemory_policy") != "noeviction":
            yield (
                f"Under memory pressure this server evicts keys ({memory['maxmemory_policy']}), live sessions among "
                "them: users would be logged out. Set maxmemory-policy to noeviction."
            )
        if not persistence.get("aof_enabled"):
            yield (
                "This server does not keep every write over a restart (appendonly is off): a restart can log users "
                "out. Set appendonly to yes."
            )

    def close(self) -> None:
        if self._idle:
            self._discard(self._idle.pop()[1])
        self._client.connection_pool.disconnect(inuse_connections=False)

    def _name(self, key: str) -> str:
        return f"{self.prefix}:{key}"

    def _pages(self, size: int = PAGE) -> Iterator[list[bytes]]:
        """The names of this site's keys, at most so many at a time.

        Where this site's prefix is ``shop``, the pattern also matches what a site ``shop:staging`` keeps. Its names
        are longer, as all stored keys have one length.
        """
        length = len(self._name("").encode()) + KEY_LENGTH
        pattern = re.sub(r"([\\*?\[\]^-])", r"\\\1", self._name("")) + "*"
        cursor: int = 0
        while True:
            with self._translated():
                cursor, names = self._client.scan(cursor, match=pattern, count=size)
            names = [name for name in names if len(name) == length]
            for start in range(0, len(names), size):  # the server may give more than it was asked for
                yield names[start : start + size]
            if cursor == 0:
                return

    def _check_login(self) -> None:
        try:
            with self._translated():
                self._client.ping()
        except StoreUnavailable as error:
            if error.field == "port":
                check_speaks_tls(self.settings.host, self.settings.port, self.timeout)
            raise

    def _check_scripts(self) -> None:
        with self._translated():
            self._client.eval("return struct.unpack('>I8', struct.pack('>I8', 1))", 0)

    def _command(self, *words: Any) -> Any:
        """Send one command and return the answer, with errors translated."""
        try:
            return self._exchange(words)
        except (redis.RedisError, OSError) as error:
            raise _explain(error, self.settings) from harmless(error, self._secret)

    def _script(self, script: Script, name: str, *arguments: Any) -> Any:
        """Run a script by its hash; a server that does not know it is given its text."""
        try:
            try:
                return self._exchange(("EVALSHA", script.sha, 1, name, *arguments))
            except redis.exceptions.NoScriptError:
                return self._exchange(("EVAL", script.text, 1, name, *arguments))
        except (redis.RedisError, OSError) as error:
            raise _explain(error, self.settings) from harmless(error, self._secret)

    def _exchange(self, words: tuple[Any, ...]) -> Any:
        """Send and receive on a connection that this call has for itself.

        Straight on the driver's connection: its client would take longer for its hooks, and its pool for asking the
        kernel whether an idle connection is still good, than the server for its answer. One that is not shows when it
        is used, and whoever called tries again (see GuardedStore).
        """
        connection = self._take()
        try:
            connection.send_packed_command(connection.pack_command(*words), check_health=False)
            answer = connection.read_response()
        except redis.ReadOnlyError:
            self._discard(connection)  # no longer the primary: a new connection may lead to the one that is
            raise
        except redis.ResponseError:
            self._idle.append((time.monotonic(), connection))  # the server has answered: it is good
            raise
        except BaseException:
            self._discard(connection)
            raise
        self._idle.append((time.monotonic(), connection))
        return answer

    def _discard(self, connection: Any) -> None:
        """Close a connection, and with it the idle ones, which have most likely met the same fate."""
        while connection is not None:
            connection.disconnect()
            self._client.connection_pool.release(connection)
            try:
                _, connection = self._idle.pop()
            except IndexError:
                connection = None

    def _take(self) -> Any:
        """Return a connection of this process: the one that was used last, else one of the driver's pool.

        Where that one has been idle for too long, so have all the others.
        """
        if self._process != os.getpid():
            self._idle, self._process = [], os.getpid()
        try:
            used, connection = self._idle.pop()
        except IndexError:
            return self._client.connection_pool.get_connection()
        if time.monotonic() - used < IDLE_SECONDS:
            return connection
        self._discard(connection)
        return self._client.connection_pool.get_connection()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the driver's errors into StoreUnavailable, on the setting that is the likely cause."""
        try:
            yield
        except (redis.RedisError, OSError) as error:
            raise _explain(error, self.settings) from harmless(error, self._secret)


def pack(record: Record) -> bytes:
    """Return the record as the bytes of one Redis string."""
    user = record.user_id.encode()
    return (
        HEADER.pack(record.version, record.created_at, record.expires_at, len(user)) + user + record.payload
    )


def unpack(value: bytes) -> Record:
    """Return the record that ``pack`` made the bytes of."""
    version, created_at, expires_at, length = HEADER.unpack_from(value)
    payload = HEADER.size + length
    return Record(value[payload:], version, created_at, expires_at, value[HEADER.size : payload].decode())


def packed(version: int) -> bytes:
    """Return a version as the header holds it."""
    return version.to_bytes(8, "big")


def ttl(expires_at: int) -> int:
    """How long the server shall keep a key, in milliseconds; relative, so that its clock need not agree with ours."""
    return max(1, expires_at - now_ms())


def _connect(settings: RedisSettings, password: str, timeout: float, ca_file: str | None) -> Any:
    """Return a client with a pool of its own: django-redis shares pools by URL only, and a new password would meet
    the old pool, so the pool is asked for directly (stores are shared by *all* their settings, see open_store)."""
    options: dict[str, Any] = {
        "SOCKET_CONNECT_TIMEOUT": timeout,
        "SOCKET_TIMEOUT": timeout,
        # What did not get through is not repeated behind our back: the first try may have been carried out.
        # As many connections as calls at a time, which threads and greenlets bound; the driver's own bound is 100.
        # Keepalive is for the connections that stay in the pool, see IDLE_SECONDS.
        "CONNECTION_POOL_KWARGS": {
            "retry": Retry(NoBackoff(), 0),
            "max_connections": 2**31,
            "socket_keepalive": True,
        },
    }
    if settings.tls and ca_file:
        options["CONNECTION_POOL_KWARGS"]["ssl_ca_certs"] = ca_file
    if password:
        options |= {"PASSWORD": password, "USERNAME": settings.username}
    factory: ConnectionFactory[Any, Any, Any] = ConnectionFactory(options)
    host = f"[{settings.host}]" if ":" in settings.host else quote(settings.host, safe="")
    url = f"{'rediss' if settings.tls else 'redis'}://{host}:{settings.port}/{settings.database}"
    pool = factory.get_connection_pool(factory.make_connection_params(url))
    return redis.Redis(connection_pool=pool)


def _explain(error: BaseException, settings: RedisSettings) -> Exception:
    text, place = str(error), f"REDIS at {settings.host}:{settings.port}"
    if isinstance(error, redis.AuthenticationError):
        missing = any(each in text for each in ("Authentication required", "already authenticated"))  # NOAUTH
        what = "wants a password" if missing else "refused the user name or the password"
        return StoreUnavailable(f"REDIS {what}.", "password")
    if isinstance(error, redis.exceptions.AuthorizationError | redis.exceptions.NoPermissionError):
        return StoreUnavailable("The REDIS user may not run the commands that sessions need.", "username")
    if "DB index is out of range" in text:
        return StoreUnavailable(f"REDIS has no database {settings.database}.", "database")
    if isinstance(error, redis.ReadOnlyError):
        return StoreUnavailable("This REDIS server is a read-only replica. Use the primary.", "host")
    if (no_room := _explain_room(text)) is not None:
        return no_room
    if isinstance(error, redis.TimeoutError) and "handshake" not in str(error.__context__):
        return StoreUnavailable(f"{place} did not answer in time.")
    if isinstance(
        error, redis.ConnectionError | redis.TimeoutError | redis.exceptions.InvalidResponse
    ) and not isinstance(error, redis.BusyLoadingError):
        return _explain_connection(error, settings)
    return StoreUnavailable(f"{place} failed ({text.split()[0] if text else type(error).__name__}).")


def _explain_room(text: str) -> Exception | None:
    if "command not allowed when used memory" in text:
        return StoreUnavailable(
            "The memory of this REDIS server is full: it takes no more data.", answered=True
        )
    if "string exceeds maximum allowed size" in text:
        return SessionTooLarge("The session is larger than this REDIS server accepts.")
    return None


def _explain_connection(error: BaseException, settings: RedisSettings) -> StoreUnavailable:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError) or "handshake" in str(cause):
            return StoreUnavailable(
                "The TLS handshake with REDIS failed: the server may not speak TLS, or its certificate is not "
                "trusted.",
                "tls",
            )
        if isinstance(cause, ConnectionRefusedError | socket.gaierror):
            return unreachable(settings.host, settings.port, cause)
        cause = cause.__cause__ or cause.__context__
    return StoreUnavailable(
        f"The connection to {settings.host}:{settings.port} was lost: the server was restarted, is not a REDIS server, "
        f"or {'does not speak' if settings.tls else 'wants'} TLS.",
        "port",
        connection_lost=True,
    )
