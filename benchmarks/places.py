"""The places that are compared: our engine there, its rivals, and the bare driver, on one server that runs meanwhile.

Django is set up once a process, so each place is opened in a process of its own.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import bare
from benchmarks.bare import Bare
from benchmarks.operations import Engine
from benchmarks.relay import Relay, relayed
from benchmarks.surroundings import LONG, cache, database, set_up
from tests.load.stores import fields
from tests.servers import MongoDB, Postgres, Server, Valkey

AnyServer = TypeVar("AnyServer", bound=Server)

OURS, BARE = "sessionpersist", "bare driver"
TMPFS = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
POSTGRESQL_SIZES = "SELECT pg_database_size(datname) FROM pg_database WHERE datname IN ('sessions', 'others')"
OWN_REDIS = "django.core.cache.backends.redis.RedisCache"


@dataclass
class Place:
    """One place with its engines.

    ``bare`` makes the bare driver for payloads of a size in bytes. ``used`` says how many bytes the server keeps.
    ``fields`` and ``others`` are two choices of the Login Configuration that keep their sessions apart, as long as they
    have different prefixes, too.
    """

    server: str
    engines: dict[str, Engine]
    bare: Callable[[int], Bare]
    used: Callable[[], int]
    fields: dict[str, Any]
    others: dict[str, Any]
    relay: Relay | None = None
    note: str = ""  # what a reader of the figures should know


@contextmanager
def memory(delay: float | None = None) -> Iterator[Place]:
    """In-Memory against LocMem, which no other process shares, and which by default forgets all but 300 sessions; and
    against Django's files, which are shared as ours are."""
    with folder(TMPFS) as here:
        caches = {"default": cache(LOCMEM, MAX_ENTRIES=LONG)}
        set_up(here, CACHES=caches, SESSIONPERSIST={"MEMORY_DIR": str(here)}, SESSION_FILE_PATH=str(here))
        chosen = {"persistence_type": "IN_MEMORY"}
        with ours(chosen) as engine:
            yield Place(
                "LMDB on tmpfs",
                {OURS: engine, "LocMem": cache_engine("default"), "file engine": file_engine()},
                lambda size: bare.lmdb_driver(here / f"bare-{size}.lmdb", size),
                lambda: bytes_in(here),
                chosen,
                chosen,
                note="LocMem is shared by no other process. It is told not to forget all but 300 sessions.",
            )


@contextmanager
def redis(delay: float | None = None) -> Iterator[Place]:
    """REDIS against the cache engine on django-redis and on Django's own backend; all with hiredis and appendonly."""
    with folder() as here, reached(Valkey(), delay) as (server, relay), server.connect() as client:
        caches = {"default": cache(DJANGO_REDIS, server.url), "own": cache(OWN_REDIS, server.url)}
        set_up(here, CACHES=caches)
        engines = {"django-redis": cache_engine("default"), "Django's Redis": cache_engine("own")}
        with ours(chosen := fields(server)) as engine:
            yield Place(
                f"Valkey {version(client.info('server'))}",
                {OURS: engine, **engines},
                lambda size: bare.redis_driver(client, size),
                lambda: int(client.info("memory")["used_memory"]),
                chosen,
                chosen,
                relay,
                "appendonly is on; all sides use hiredis.",
            )


@contextmanager
def postgresql(delay: float | None = None) -> Iterator[Place]:
    """JDBC against the db engine, both on the project's default database, PostgreSQL without fsync."""
    with folder() as here, reached(Postgres(), delay) as (server, relay), server.connect() as connection:
        set_up(here, DATABASES=two_databases(server.url, server.create_database("others")))
        with ours(jdbc("default")) as engine:
            yield Place(
                f"PostgreSQL {connection.info.server_version // 10000}",
                {OURS: engine, "db engine": db_engine()},
                lambda size: bare.psycopg_driver(connection, size),
                lambda: sum(row[0] for row in connection.execute(POSTGRESQL_SIZES)),
                jdbc("default"),
                jdbc("others"),
                relay,
                "fsync is off: no commit waits for a disk.",
            )


@contextmanager
def sqlite(delay: float | None = None) -> Iterator[Place]:
    """JDBC against the db engine, both on the project's default database, an SQLite file with a write-ahead log."""
    with folder() as here:
        files = [f"sqlite:///{here}/{name}.sqlite3" for name in ("site", "others")]
        set_up(here, DATABASES=two_databases(*files))
        with ours(jdbc("default")) as engine:
            yield Place(
                f"SQLite {sqlite3.sqlite_version}",
                {OURS: engine, "db engine": db_engine()},
                lambda size: bare.sqlite_driver(here / "bare.sqlite3", size),
                lambda: bytes_in(here),
                jdbc("default"),
                jdbc("others"),
                note="A write-ahead log, synchronous NORMAL.",
            )


@contextmanager
def mongodb(delay: float | None = None) -> Iterator[Place]:
    """MONGODB against the db engine on django-mongodb-backend.

    The server is no replica set and has no transactions: the backend's ``atomic()`` does, and costs, nothing here. The
    unique index that the backend makes is partial, and MongoDB does not use it for a read, but goes through all live
    sessions by their expiry. So the rival is given a plain index on the key, as whoever watches its queries would.
    """
    with folder() as here, reached(MongoDB(), delay) as (server, relay), server.connect() as client:
        set_up(here, DATABASES={"default": mongodb_backend(server)})
        with ours(chosen := fields(server)) as engine:
            rival = db_engine()
            client[server.database]["django_session"].create_index("session_key", name="by_key")
            yield Place(
                f"MongoDB {client.server_info()['version']}",
                {OURS: engine, "db engine (MongoDB)": rival},
                lambda size: bare.pymongo_driver(client[server.database]["benchmark_bare"], size),
                lambda: mongodb_bytes(server),
                chosen,
                chosen,
                relay,
                "No replica set, so no transactions. The rival is given the index on its key that it lacks.",
            )


PLACES: dict[str, Callable[..., AbstractContextManager[Place]]] = {
    "IN_MEMORY": memory,
    "REDIS": redis,
    "POSTGRESQL": postgresql,
    "SQLITE": sqlite,
    "MONGODB": mongodb,
}


@contextmanager
def reached(server: AnyServer, delay: float | None) -> Iterator[tuple[AnyServer, Relay | None]]:
    """A server that runs meanwhile, reached through a relay that counts round trips and makes each of them so many
    seconds longer; None: reached as it is."""
    with server:
        if delay is None:
            yield server, None
            return
        with relayed(server, delay) as relay:
            yield server, relay


@contextmanager
def ours(chosen: dict[str, Any]) -> Iterator[Engine]:
    """Our engine with these fields of the Login Configuration in force."""
    from sessionpersist import stores
    from sessionpersist.engine import SessionStore
    from sessionpersist.testing import override_login_configuration

    with override_login_configuration(**chosen):
        yield SessionStore
    stores.reset()


def cache_engine(alias: str) -> Engine:
    """Django's cache engine on a cache, which it else takes from one setting for the whole process."""
    from django.contrib.sessions.backends.base import SessionBase
    from django.contrib.sessions.backends.cache import SessionStore
    from django.core.cache import caches

    class OnAlias(SessionStore):
        def __init__(self, session_key: str | None = None) -> None:
            self._cache = caches[alias]
            SessionBase.__init__(self, session_key)

    return OnAlias


def db_engine() -> Engine:
    """Django's db engine, on the default database, in which its table is made."""
    from django.contrib.sessions.backends.db import SessionStore
    from django.contrib.sessions.models import Session
    from django.db import connection

    with connection.schema_editor() as editor:
        editor.create_model(Session)
    return SessionStore


def file_engine() -> Engine:
    """Django's engine of files, in SESSION_FILE_PATH."""
    from django.contrib.sessions.backends.file import SessionStore

    return SessionStore


def mongodb_backend(server: MongoDB) -> dict[str, Any]:
    """An entry for DATABASES: django-mongodb-backend on this server."""
    return {
        "ENGINE": "django_mongodb_backend",
        "NAME": server.database,
        "HOST": server.host,
        "PORT": server.port,
        "USER": server.username,
        "PASSWORD": server.password,
        "OPTIONS": {"authSource": server.auth_source},
    }


def two_databases(url: str, other: str) -> dict[str, Any]:
    """The site's database, and one more that JDBC can choose."""
    return {"default": database(url), "others": database(other)}


def jdbc(alias: str) -> dict[str, Any]:
    """The fields of the Login Configuration that choose a database of the project."""
    return {"persistence_type": "JDBC", "jdbc_database": alias}


def mongodb_bytes(server: MongoDB) -> int:
    """What the collections and indexes of a database take on the disk, after all has been written there."""
    from pymongo import MongoClient

    login: dict[str, Any] = {"username": server.admin_username, "password": server.admin_password}
    with MongoClient[dict[str, Any]](server.host, server.port, **login) as client:
        client.admin.command("fsync")
        return int(client[server.database].command("dbStats")["totalSize"])


def bytes_in(folder: Path) -> int:
    """What the files below a folder take."""
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def version(info: Any) -> str:
    """The version of a Redis or a Valkey, which also tells the version of Redis that it stands in for."""
    return str(info.get("valkey_version") or info["redis_version"])


@contextmanager
def folder(parent: Path | None = None) -> Iterator[Path]:
    """A temporary folder for the files of a benchmark."""
    with tempfile.TemporaryDirectory(prefix="sessionpersist-benchmark-", dir=parent) as path:
        yield Path(path)
