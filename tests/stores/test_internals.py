"""A canary for each internal of a dependency that the app relies on: it fails on an upgrade before users notice.

None of them uses the app: what fails here has changed in the dependency.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import hiredis
import lmdb
import psycopg
import pymongo
import pymongo.database
import pymongo.errors
import pymysql
import pytest
import redis
from django.contrib.sessions.backends.base import SessionBase
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper as PostgresWrapper
from django.db.backends.sqlite3.base import DatabaseWrapper as SqliteWrapper
from django.dispatch import Signal
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils.log import log_response
from django_redis.pool import ConnectionFactory
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus
from pymongo import _csot
from pymongo.helpers_shared import _check_write_command_response
from pymongo.ssl_support import get_ssl_context
from pymongo.synchronous.pool import Connection, Pool
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.cluster import ClusterNode, NodesManager
from redis.connection import DefaultParser, SSLConnection
from redis.exceptions import AskError, MovedError
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

from sessionpersist.models import StoredSession
from sessionpersist.stores.internals import INTERNALS
from sessionpersist.stores.redis.errors import CODES
from tests.probing.answering import Answering
from tests.probing.test_hostile_servers import op_msg
from tests.servers import Cluster, MariaDB, MongoDB, Postgres, Redis, Valkey, require, shared
from tests.servers.cluster import Node
from tests.servers.names import name_server
from tests.servers.places import free_port
from tests.stores.parallel import in_threads
from tests.stores.test_errors import NO_SUCH_HOST, unblocked

__all__ = ["unblocked"]  # a fixture


def test_each_internal_has_a_canary_and_each_canary_an_internal() -> None:
    canaries = {name.removeprefix("test_canary_") for name in globals() if name.startswith("test_canary_")}
    assert canaries == {each.name for each in INTERNALS}


class CountingSocket:
    """Counts what goes through it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.read, self.written = sock, 0, 0

    def recv_into(self, buffer: Any) -> int:
        received = self.sock.recv_into(buffer)
        self.read += received
        return received

    def recv(self, size: int, flags: int = 0) -> bytes:
        received = self.sock.recv(size, flags)
        self.read += len(received)
        return received

    def sendall(self, data: Any) -> None:
        self.written += len(data)
        self.sock.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


class CountingConnection(redis.Connection):
    def _connect(self) -> Any:
        return CountingSocket(socket.create_connection((self.host, self.port), 5))


counting: Any = CountingConnection  # which has no types


@pytest.fixture
def valkey() -> Iterator[Any]:
    require(Valkey)
    server = shared(Valkey)
    options: dict[str, Any] = {"password": server.password, "protocol": 2}
    connection: Any = counting(host=server.host, port=server.port, **options)
    yield connection
    connection.disconnect()


def test_canary_redis_connect(valkey: Any) -> None:
    valkey.connect()
    sock = valkey._sock
    assert isinstance(sock, CountingSocket)
    assert sock.read > 0
    assert sock.written > 0
    assert isinstance(valkey.socket_keepalive_options, dict)
    before = sock.read
    valkey.send_command("PING")
    assert valkey.read_response() == b"PONG"
    assert sock.read - before == len(b"+PONG\r\n")


def test_canary_redis_tls() -> None:
    require(Redis, tls=True)
    server = shared(Redis, tls=True)

    class Encrypted(SSLConnection):
        def _connect(self) -> Any:
            plain = socket.create_connection((self.host, self.port), 5)
            return self._wrap_socket_with_ssl(plain)  # type: ignore[no-untyped-call]

    encrypted: Any = Encrypted
    connection: Any = encrypted(
        host=server.host, port=server.port, password=server.password, ssl_ca_certs=str(server.ca_file)
    )
    connection.send_command("PING")
    assert connection.read_response() == b"PONG"
    connection.disconnect()


def test_canary_redis_pool(valkey: Any) -> None:
    pool: Any = redis.ConnectionPool(
        connection_class=CountingConnection,
        host=valkey.host,
        port=valkey.port,
        password=shared(Valkey).password,
        max_connections=2**31,
    )
    first = pool.get_connection()
    assert isinstance(first, CountingConnection)
    pool.release(first)
    assert pool.get_connection() is first
    pool.disconnect(inuse_connections=False)
    assert first._sock is not None
    pool.release(first)
    pool.disconnect(inuse_connections=False)
    assert first._sock is None


def test_canary_redis_exchange(valkey: Any) -> None:
    valkey.connect()
    valkey.send_packed_command(valkey.pack_command("ECHO", b"\0\xff", *()), check_health=False)
    assert valkey.read_response() == b"\0\xff"
    both = valkey.pack_commands([("ECHO", 1), ("NO-SUCH-COMMAND",), ("ECHO", 2)])
    valkey.send_packed_command(both, check_health=False)
    assert valkey.read_response() == b"1"
    with pytest.raises(redis.ResponseError):
        valkey.read_response()
    assert valkey.read_response() == b"2"


def test_canary_redis_reader(valkey: Any) -> None:
    valkey.connect()
    sock, parser = valkey._sock, valkey._parser
    assert parser._reader.gets() is NOT_ENOUGH_DATA
    asked: list[tuple[tuple[Any, ...], Any]] = [
        (("ECHO", b"\0\xff"), b"\0\xff"),
        (("STRLEN", "none"), 0),
        (("GET", "none"), None),
    ]
    for command, answer in asked:
        sock.sendall(hiredis.pack_command(command))
        parser._reader.feed(parser._buffer, 0, sock.recv_into(parser._buffer))
        assert parser._reader.gets() == answer
        assert not parser._reader.has_data()
    parser._reader.feed(b"$2\r\nab")  # a part, and the driver reads the rest
    assert parser._reader.gets() is NOT_ENOUGH_DATA
    parser._reader.feed(b"\r\n-NO such\r\n")
    assert valkey.read_response() == b"ab"
    assert parser._reader.has_data()
    with pytest.raises(redis.ResponseError):
        valkey.read_response()


def test_canary_redis_parser(valkey: Any) -> None:
    class Own(DefaultParser):  # type: ignore[misc, valid-type] # whichever the driver has
        @classmethod
        def parse_error(cls, response: Any) -> Exception:
            return redis.ResponseError(f"ours: {super().parse_error(response)}")

    valkey.disconnect()
    valkey.set_parser(Own)
    valkey.send_command("NOSUCH")
    with pytest.raises(redis.ResponseError, match="ours: unknown command"):
        valkey.read_response()


def test_canary_redis_topology() -> None:
    require(Cluster)
    cluster = shared(Cluster)
    made: list[tuple[str, int]] = []

    def pool(host: str, port: int, **_: Any) -> Any:
        made.append((host, port))
        return redis.ConnectionPool(host=host, port=port, password=cluster.password, protocol=2)

    manager: Any = NodesManager
    node: Any = ClusterNode
    first = node(cluster.host, cluster.port)
    found = manager([first], from_url=True, connection_pool_class=pool, dynamic_startup_nodes=False)
    assert made[0] == (cluster.host, cluster.port)
    assert len(found.slots_cache) == 16384
    assert {each[0].port for each in found.slots_cache.values()} == {each.port for each in cluster.members}
    assert {(each.host, each.server_type) for each in found.nodes_cache.values()} == {
        (cluster.host, "primary")
    }
    found.close()
    with Node(cluster.password) as alone, pytest.raises(IndexError):
        manager([node(alone.host, alone.port)], from_url=True, connection_pool_class=pool)


def test_canary_redis_redirections() -> None:
    for kind in (MovedError, AskError):
        error: Any = kind("3999 ::1:6381")
        assert (error.host, error.port) == ("::1", 6381)
    assert issubclass(MovedError, AskError)


def test_canary_redis_sentinels() -> None:
    asked: list[str] = []

    class Fake:
        def __init__(self, name: str, masters: dict[str, Any]) -> None:
            self.name, self.masters = name, masters

        def sentinel_masters(self) -> dict[str, Any]:
            asked.append(self.name)
            return self.masters

    up = {"is_master": True, "is_sdown": False, "is_odown": False, "num-other-sentinels": 2}
    first, second = Fake("first", {}), Fake("second", {"main": {"ip": "h", "port": 1, **up}})
    sentinel: Any = Sentinel([])  # type: ignore[no-untyped-call]
    sentinel.sentinels = [first, second]
    assert sentinel.discover_master("main") == ("h", 1)
    assert asked == ["first", "second"]
    assert sentinel.sentinels == [second, first]


def test_canary_redis_primary(valkey: Any) -> None:
    class Known:
        def discover_master(self, service_name: str) -> tuple[str, int]:
            return valkey.host, valkey.port

    class Counting(CountingConnection, SentinelManagedConnection):
        pass

    made: Any = SentinelConnectionPool
    pool = made("main", Known(), connection_class=Counting, password=shared(Valkey).password, protocol=2)
    assert pool.master_address is None
    connection = pool.get_connection()
    assert pool.master_address == (valkey.host, valkey.port)
    assert isinstance(connection._sock, CountingSocket)
    pool.disconnect()


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_canary_redis_codes(name: str, code: str) -> None:
    said = {"MOVED": "1 127.0.0.1:1", "ASK": "1 127.0.0.1:1"}.get(code, "and some words")
    with Answering(f"-{code} {said}\r\n".encode()) as server:
        connection: Any = counting(host="127.0.0.1", port=server.port)
        connection._sock = sock = socket.create_connection(("127.0.0.1", server.port), 5)
        connection._parser.on_connect(connection)
        connection.send_packed_command(connection.pack_command("PING"), check_health=False)
        with pytest.raises(redis.RedisError) as raised:
            connection.read_response()
        # Older versions leave the codes of a Cluster in the text.
        assert type(raised.value).__name__ == name or str(raised.value).startswith(code)
        connection.disconnect()
        sock.close()


def test_canary_django_redis_factory() -> None:
    class Other(redis.Connection):
        pass

    options = {"connection_class": Other, "host": "an-example", "username": "app", "password": "secret"}
    settings = {
        "SOCKET_TIMEOUT": 1.5,
        "SOCKET_CONNECT_TIMEOUT": 1.5,
        "CONNECTION_POOL_KWARGS": options,
    }
    first, second = (
        factory.get_connection_pool(factory.make_connection_params("redis://"))
        for factory in (ConnectionFactory(settings), ConnectionFactory(settings))
    )
    assert first is not second
    assert first.connection_class is Other
    assert first.connection_kwargs["socket_timeout"] == 1.5
    assert [first.connection_kwargs[name] for name in ("host", "username", "password")] == [
        *("an-example", "app", "secret"),
    ]


@pytest.fixture
def postgres() -> Iterator[Any]:
    require(Postgres)
    connection = shared(Postgres).connect()
    yield connection
    connection.close()


def test_canary_psycopg_libpq(postgres: Any) -> None:
    postgres.autocommit = True
    server = postgres.pgconn
    assert server.transaction_status == TransactionStatus.IDLE
    assert server.pipeline_status == PipelineStatus.OFF
    server.send_prepare(b"canary", b"SELECT $1::bytea, $2::bigint, $3::text")
    assert results(server)[0].status == ExecStatus.COMMAND_OK
    server.send_query_prepared(b"canary", [b"\0\xff", b"7", b"text"], [1, 0, 0], result_format=1)
    (result,) = results(server)
    assert result.status == ExecStatus.TUPLES_OK
    assert (result.nfields, result.ntuples, result.command_tuples) == (3, 1, 1)
    assert [result.ftype(column) for column in range(3)] == [17, 20, 25]
    assert [bytes(result.get_value(0, column)) for column in range(3)] == [
        b"\0\xff",
        b"\0" * 7 + b"\7",
        b"text",
    ]
    server.send_query_prepared(b"unknown", [], [], result_format=1)
    assert error_from_result(results(server)[0]).sqlstate == "26000"
    assert postgres.execute("SELECT 1").fetchone() == (1,)


def results(server: Any) -> list[Any]:
    found: list[Any] = []
    server.flush()
    while True:
        while server.is_busy():
            server.consume_input()
        if (result := server.get_result()) is None:
            return found
        found.append(result)


def test_canary_psycopg_connection(postgres: Any) -> None:
    with postgres.lock:
        postgres._an_attribute_of_ours = {b"name"}
    assert vars(postgres)["_an_attribute_of_ours"] == {b"name"}
    assert postgres.fileno() == postgres.pgconn.socket
    assert not postgres.closed
    postgres.pgconn.finish()
    assert postgres.closed
    with pytest.raises(psycopg.OperationalError):
        postgres.execute("SELECT 1")


def test_canary_psycopg_pool() -> None:
    psycopg_pool = pytest.importorskip("psycopg_pool")
    require(Postgres)
    with psycopg_pool.ConnectionPool(shared(Postgres).url, min_size=1, max_size=1, open=True) as pool:
        raw = pool._getconn_unchecked(5)
        assert raw._pool is pool
        raw.pgconn.finish()
        pool.putconn(raw)
        again = pool._getconn_unchecked(5)
        assert again is not raw
        assert again.execute("SELECT 1").fetchone() == (1,)
        again.rollback()
        pool.putconn(again)


def ends_as_its_socket_is_shut_down(number: int, wait: Callable[[], Any]) -> bool:
    """Whether who waits for an answer gives up soon after somebody else has shut the connection down."""
    duplicate = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=os.dup(number))
    timer = threading.Timer(0.2, duplicate.shutdown, [socket.SHUT_RDWR])
    begun = time.monotonic()
    timer.start()
    try:
        wait()
    finally:
        timer.join()
        duplicate.close()
    return time.monotonic() - begun < 3


def test_canary_psycopg_cut_off(postgres: Any) -> None:
    def wait() -> None:
        with pytest.raises(psycopg.OperationalError):
            postgres.execute("SELECT pg_sleep(5)")

    assert ends_as_its_socket_is_shut_down(postgres.fileno(), wait)
    assert postgres.closed


def test_canary_pymysql_cut_off() -> None:
    require(MariaDB)
    raw: Any = shared(MariaDB).connect()

    def wait() -> None:
        with pytest.raises(pymysql.OperationalError), raw.cursor() as cursor:
            cursor.execute("SELECT SLEEP(5)")

    assert ends_as_its_socket_is_shut_down(raw._sock.fileno(), wait)


def test_canary_pymysql_patience() -> None:
    require(MariaDB)
    raw: Any = shared(MariaDB).connect()
    assert {"_read_timeout", "_write_timeout"} <= set(vars(raw))
    assert raw._sock.fileno() > 0
    raw._read_timeout = raw._write_timeout = 0.2
    begun = time.monotonic()
    with pytest.raises(pymysql.OperationalError), raw.cursor() as cursor:
        cursor.execute("SELECT SLEEP(5)")
    assert time.monotonic() - begun < 3
    raw.close()


class WatchedPool(Pool):
    told: ClassVar[list[str]] = []
    largest = 0  # bytes of an answer; 0: as the driver has it

    def connect(self, handler: Any = None) -> Connection:
        self.told.append("connect")
        return super().connect(WatchedHandler(handler) if handler else None)  # type: ignore[arg-type]

    def _get_conn(self, *arguments: Any, **options: Any) -> Connection:
        self.told.append("lend")
        connection = super()._get_conn(*arguments, **options)
        connection.max_message_size = self.largest or connection.max_message_size
        return connection


class WatchedHandler:
    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def contribute_socket(self, connection: Any, **options: Any) -> None:
        assert connection.max_message_size > 0
        WatchedPool.told.append("tell")
        self.handler.contribute_socket(connection, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handler, name)


@pytest.fixture
def mongo() -> Iterator[Any]:
    require(MongoDB)
    WatchedPool.told, WatchedPool.largest = [], 0
    options: dict[str, Any] = {"_pool_class": WatchedPool, "timeoutMS": 5000}
    client: Any = pymongo.MongoClient(shared(MongoDB).url, **options)
    yield client
    client.close()


def test_canary_pymongo_pool(mongo: Any) -> None:
    mongo[shared(MongoDB).database].command("ping")
    assert {"connect", "lend"} <= set(WatchedPool.told)


def test_canary_pymongo_size() -> None:
    """A server that lets answers have two gigabytes, and promises one of a hundred megabytes."""
    greeting = op_msg(
        {"ok": 1, "isWritablePrimary": True, "maxWireVersion": 21, "maxMessageSizeBytes": 2**31 - 1}
    )

    def answer(asked: bytes) -> bytes:
        if b"hello" in asked or b"ismaster" in asked:
            return bytes(greeting(asked))
        return struct.pack("<iiii", 100_000_000, 1, *struct.unpack_from("<i", asked, 4), 2013)

    WatchedPool.largest = 17 * 1024 * 1024
    with Answering(answer) as server:
        options: dict[str, Any] = {"_pool_class": WatchedPool, "timeoutMS": 2000}
        client: Any = pymongo.MongoClient("127.0.0.1", server.port, **options)
        with pytest.raises(pymongo.errors.ProtocolError, match="larger than"):
            client.app.command("ping")
        client.close()


def test_canary_pymongo_handler(mongo: Any) -> None:
    mongo[shared(MongoDB).database]["canary"].find_one()
    assert "tell" in WatchedPool.told


def test_canary_pymongo_deadline() -> None:
    assert _csot.clamp_remaining(7.0) == 7.0
    with pymongo.timeout(1.0):
        assert 0 < _csot.clamp_remaining(7.0) <= 1.0


@pytest.mark.xdist_group("tls")
def test_canary_pymongo_tls() -> None:
    """The server is shown the certificate of the context that was set last, and knows no user of its name."""
    require(MongoDB, tls=True)
    server = shared(MongoDB, tls=True)
    assert server.certificates is not None
    shown = (server.certificates.client_certificate, server.certificates.client_key)

    class Identified(Pool):
        def connect(self, handler: Any = None) -> Connection:
            context: Any = get_ssl_context(None, None, str(server.ca_file), None, False, False, False, False)
            assert isinstance(context, ssl.SSLContext)
            context.load_cert_chain(*shown)
            options: Any = self.opts
            options._PoolOptions__ssl_context = context
            assert hasattr(self, "_ssl_session_cache")
            return super().connect(handler)

    options: dict[str, Any] = {"tls": True, "tlsCAFile": str(server.ca_file), "authMechanism": "MONGODB-X509"}
    options["_pool_class"] = Identified
    client: Any = pymongo.MongoClient(server.host, server.port, **options)
    with pytest.raises(pymongo.errors.OperationFailure, match="sessionpersist test client"):
        client.app.command("ping")
    client.close()


class WatchedSocket:
    told: ClassVar[list[str]] = []

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def __getattr__(self, name: str) -> Any:
        self.told.append(name)
        return getattr(self.sock, name)


def test_canary_pymongo_socket() -> None:
    require(MongoDB)

    class Wrapping(Pool):
        def connect(self, handler: Any = None) -> Connection:
            connection = super().connect(handler)
            wire: Any = connection.conn
            wire.conn = WatchedSocket(wire.conn)
            return connection

    options: dict[str, Any] = {"_pool_class": Wrapping, "timeoutMS": 5000}
    client: Any = pymongo.MongoClient(shared(MongoDB).url, **options)
    database = client[shared(MongoDB).database]
    WatchedSocket.told = []
    database.command("ping")
    assert {"settimeout", "sendall", "recv_into"} <= set(WatchedSocket.told)
    client.close()
    assert "close" in WatchedSocket.told
    assert not set(WatchedSocket.told) & {"recv", "send", "sendmsg", "makefile", "setblocking"}


class WatchedCondition(threading.Condition):
    told: ClassVar[list[str]] = []
    name = "server"

    def wait(self, timeout: float | None = None) -> bool:
        self.told.append(self.name)
        return super().wait(timeout)


def test_canary_pymongo_conditions() -> None:
    """Of two that connect at a time none waits for the other."""
    require(MongoDB)
    both = threading.Barrier(2)

    class Waiting(Pool):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            for name in ("size_cond", "_max_connecting_cond"):
                condition = WatchedCondition(self.lock)
                condition.name = name
                setattr(self, name, condition)

        def connect(self, handler: Any = None) -> Connection:
            give_up = time.monotonic() + 5
            while "server" not in WatchedCondition.told and time.monotonic() < give_up:
                time.sleep(0.01)
            if not self.is_sdam:
                both.wait(5)
            return super().connect(handler)

    WatchedCondition.told = []
    options: dict[str, Any] = {"_pool_class": Waiting, "_condition_class": WatchedCondition, "connect": False}
    options |= {"maxPoolSize": 0, "maxConnecting": 2**31 - 1}
    client: Any = pymongo.MongoClient(shared(MongoDB).url, **options)
    ping = client[shared(MongoDB).database].command
    in_threads([lambda: ping("ping")] * 2)
    client.close()
    assert set(WatchedCondition.told) == {"server"}


def test_canary_pymongo_lending() -> None:
    require(MongoDB)
    pools = []

    class Lending(Pool):
        @contextmanager
        def checkout(self, handler: Any = None) -> Iterator[Connection]:  # type: ignore[override]
            if not self.is_sdam:
                pools.append(self)
            with super().checkout(handler) as connection:
                yield connection

    client: Any = pymongo.MongoClient(shared(MongoDB).url, _pool_class=Lending)
    client[shared(MongoDB).database].command("ping")
    (pool,) = pools
    (idle,) = pool.conns
    assert not pool._perished(idle)
    pool.reset_without_pause()
    assert not pool.conns
    assert pool._perished(idle)
    client.close()


def test_canary_pymongo_commands() -> None:
    require(MongoDB)
    server = shared(MongoDB)
    with server.connect() as opened:
        client: Any = opened
        some = client[server.database][f"canary_{os.getpid()}"]
        insert: dict[str, Any] = {"insert": some.name, "documents": [{"_id": 1}]}
        with client._conn_for_writes(None, "insert") as connection:
            connection.set_conn_timeout(1.5)
            assert connection.conn.gettimeout() == 1.5
            told, again = (
                connection.command(server.database, insert, codec_options=some.codec_options)
                for _ in range(2)
            )
        some.drop()
    assert told["n"] == 1
    _check_write_command_response(told)
    with pytest.raises(pymongo.errors.DuplicateKeyError):
        _check_write_command_response(again)


def test_canary_pymongo_retries() -> None:
    """A server that is overloaded, as it says."""
    asked = []

    def answer(command: bytes) -> bytes:
        if b"hello" in command or b"ismaster" in command:
            return bytes(op_msg({"ok": 1, "isWritablePrimary": True, "maxWireVersion": 21})(command))
        labels = ["RetryableError", "SystemOverloadedError"]
        return bytes(op_msg({"ok": 0, "code": 462, "errmsg": "busy", "errorLabels": labels})(command))

    class Policy:
        def backoff(self, attempt: int, base_backoff: float | None = None) -> float:
            asked.append("backoff")
            return 0.0

        def should_retry(self, attempt: int, delay: float) -> bool:
            asked.append("should_retry")
            return attempt < 2

    with Answering(answer) as server:
        client: Any = pymongo.MongoClient("127.0.0.1", server.port)
        assert client._retry_policy.should_retry(1, 0.0)
        assert client._retry_policy.backoff(1, None) >= 0
        client._retry_policy = Policy()
        with pytest.raises(pymongo.errors.OperationFailure, match="busy"):
            client.app.canary.find_one()
        client.close()
    assert asked == ["backoff", "should_retry"] * 2


def test_canary_pymongo_srv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: [])
    name, asked = "canary.test.example", "_mongodb._tcp.canary.test.example"
    with name_server({(asked, "SRV"): ["0 0 27017 host.test.example."]}):
        client: Any = pymongo.MongoClient(f"mongodb+srv://{name}/", connect=False)
        client._get_topology()
    client._get_topology()
    assert set(client.topology_description.server_descriptions()) == {("host.test.example", 27017)}
    client.close()


@pytest.mark.parametrize(
    ("host", "words"),
    [("127.0.0.1", "refused"), (NO_SUCH_HOST, "Errno -")],
    ids=["closed port", "no such host"],
)
def test_canary_pymongo_texts(host: str, words: str) -> None:
    client: Any = pymongo.MongoClient(host, free_port(), serverSelectionTimeoutMS=300, connect=False)
    with pytest.raises(pymongo.errors.ServerSelectionTimeoutError, match=words):
        client.admin.command("ping")
    client.close()


def test_of_a_replica_set_too() -> None:
    require(MongoDB)
    client: Any = pymongo.MongoClient(shared(MongoDB).url, replicaSet="other", serverSelectionTimeoutMS=300)
    with pytest.raises(pymongo.errors.ServerSelectionTimeoutError, match='for replica set name "other"'):
        client.admin.command("ping")
    client.close()


def test_canary_django_mongodb_backend_pools(unblocked: None) -> None:
    base = pytest.importorskip("django_mongodb_backend.base")
    require(MongoDB)
    server = shared(MongoDB)
    config = {**connections["default"].settings_dict, "HOST": server.url, "NAME": "app", "OPTIONS": {}}
    config |= {"USER": "", "PASSWORD": "", "PORT": ""}
    connection = base.DatabaseWrapper(config, "canary")
    assert "database" not in vars(connection)
    database = connection.database
    assert vars(connection)["database"] is database
    assert database.client is type(connection)._connection_pools.pop("canary")
    database.client.close()


def test_canary_djongo_client(unblocked: None) -> None:
    base = pytest.importorskip("djongo.base")
    require(MongoDB)
    config = {**connections["default"].settings_dict, "NAME": "app", "CLIENT": {"host": shared(MongoDB).url}}
    connection = base.DatabaseWrapper(config, "canary")
    for _ in range(2):
        connection.connection = connection.client_connection = None
        connection.ensure_connection()
        assert isinstance(connection.connection, pymongo.database.Database)
        connection.client_connection.close()


def test_canary_django_connecting(tmp_path: Path, unblocked: None) -> None:
    connection: Any = SqliteWrapper(
        {**connections["default"].settings_dict, "NAME": str(tmp_path / "a.sqlite3")}
    )
    asked = []
    parameters, connect = connection.get_connection_params, connection.get_new_connection

    def get_connection_params() -> Any:
        asked.append("parameters")
        return parameters()

    def get_new_connection(given: Any) -> Any:
        asked.append("connection")
        return connect(given)

    connection.get_connection_params, connection.get_new_connection = (
        get_connection_params,
        get_new_connection,
    )
    assert connection.connection is None
    connection.connect()
    assert asked == ["parameters", "connection"]
    assert connection.connection is not None
    connection.close()


def test_canary_django_connection_state() -> None:
    connection: Any = SqliteWrapper({**connections["default"].settings_dict, "NAME": ":memory:"})
    assert connection.in_atomic_block is False
    assert connection.execute_wrappers == []
    assert connection.queries_logged is False
    assert connection.health_check_enabled in (True, False)
    assert connection.health_check_done in (True, False)
    assert connection.autocommit in (True, False)
    assert connection.Database.__name__ == "sqlite3.dbapi2"
    assert callable(connection.close_if_health_check_failed)


def test_canary_django_psycopg_pools() -> None:
    assert isinstance(PostgresWrapper._connection_pools, dict)  # type: ignore[attr-defined]
    assert isinstance(PostgresWrapper.pool, property)
    assert "_connection_pools" in PostgresWrapper.pool.fget.__code__.co_names


def test_canary_django_schema_editor(unblocked: None) -> None:
    editor: Any = connections["default"].schema_editor(collect_sql=True, atomic=False)
    editor.deferred_sql = []
    editor.create_model(StoredSession)
    [table] = editor.collected_sql
    [index] = editor.deferred_sql
    assert table.startswith("CREATE TABLE")
    assert str(index).startswith("CREATE INDEX")


class Session(SessionBase):
    loaded = 0

    def load(self) -> dict[str, Any]:
        self.loaded += 1
        return {"cat": "tabby"}


def test_canary_django_session() -> None:
    session: Any = Session("a" * 32)
    assert session._session_key == "a" * 32
    assert not hasattr(session, "_session_cache")
    assert session["cat"] == "tabby"
    assert session._session_cache == {"cat": "tabby"}
    assert session._get_session() is session._session_cache
    assert session.loaded == 1
    assert Session()._get_session(no_load=True) == {}  # type: ignore[attr-defined]


def test_canary_django_response(caplog: pytest.LogCaptureFixture) -> None:
    closed = []
    response: Any = HttpResponse(status=503)
    response._resource_closers.append(lambda: closed.append(True))
    response._has_been_logged = True
    with caplog.at_level(logging.DEBUG, "django.request"):
        log_response("unavailable", response=response, request=RequestFactory().get("/"))
    assert caplog.records == []
    response.close()
    assert closed == [True]


def test_canary_django_receivers(caplog: pytest.LogCaptureFixture) -> None:
    signal: Any = Signal()

    def blocking(**kwargs: Any) -> None:
        pass

    async def coroutine(**kwargs: Any) -> None:
        pass

    for each in (coroutine, blocking):
        signal.connect(each)
    assert signal._live_receivers(Session) == ([blocking], [coroutine])
    signal._log_robust_failure(blocking, RuntimeError("the pager is broken"))
    assert "the pager is broken" in caplog.text


def test_canary_lmdb_transaction(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path / "canary.lmdb"), subdir=False, max_spare_txns=1) as environment:
        environment.begin().get(b"key")
        environment.begin().get(b"key")
        slots = environment.readers().splitlines()[1:]
        assert len(slots) == 1
        assert slots[0].endswith(" -"), "it reads nothing any more"


def test_canary_lmdb_error(tmp_path: Path) -> None:
    with pytest.raises(lmdb.Error) as raised:
        lmdb.open(str(tmp_path / "missing" / "canary.lmdb"), subdir=False)
    assert raised.value.code == errno.ENOENT


def test_the_list_names_packages_that_are_installed() -> None:
    """Backends of the project's own are not everywhere: djongo's fork has an environment to itself."""
    from importlib.metadata import version

    apart = {"django-mongodb-backend", "djongo-certego"}
    assert all(version(name) for name in {each.package for each in INTERNALS} - apart)
