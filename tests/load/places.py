"""The stores that a live site is switched between: what staff type for each, and how many sessions lie there, which the
server is asked by its own driver."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sessionpersist.stores.base import PLACE, ROSTER
from sessionpersist.stores.redis.store import unpack
from tests.load import stores
from tests.servers import Cluster, MariaDB, MongoDB, Postgres, ReplicaSet, Valkey, Watched, require, shared

TABLE = "sessionpersist_storedsession"
LIVE = f"SELECT COUNT(*) FROM {TABLE} WHERE version <> 0 AND stored_key < '{ROSTER}'"  # noqa: S608 - no input


@dataclass(frozen=True, eq=False)
class Place:
    name: str
    fields: dict[str, Any]
    count: Callable[[], int]  # live sessions
    databases: dict[str, str] = field(default_factory=dict)


def servers() -> list[str]:
    """The names of what is one server: Valkey, PostgreSQL, MongoDB, and MariaDB where it is installed."""
    for server in (Valkey, Postgres, MongoDB):
        require(server)
    found = ["Valkey", "PostgreSQL", "MongoDB"]
    return found if MariaDB.available() else [*found, "MariaDB"]


def places(names: Iterable[str], prefix: str) -> list[Place]:
    """What has these names, with a database or a prefix of this site; nothing else is started. A name that occurs
    twice is one place."""
    names = list(names)
    found = {name: PLACES[name](prefix) for name in names}
    return [found[name] for name in names]


def valkey(prefix: str) -> Place:
    return Place("Valkey", stores.fields_on(Valkey), lambda: count_on([shared(Valkey)], prefix))


def cluster(prefix: str) -> Place:
    return Place("Cluster", stores.fields_on(Cluster), lambda: count_on(shared(Cluster).members, prefix))


def sentinel(prefix: str) -> Place:
    return Place("Sentinel", stores.fields_on(Watched), lambda: count_on([shared(Watched).primary()], prefix))


def count_on(servers: Iterable[Valkey], prefix: str) -> int:
    """Count the live sessions on all of these."""
    found = 0
    for server in servers:
        with server.connect() as client:
            keys = [
                key
                for key in client.scan_iter(f"{prefix}:*")
                if not key.endswith(f":{PLACE}".encode()) and f":{ROSTER}".encode() not in key
            ]
            values = map(client.get, keys)  # one by one: those of a cluster are not in one slot
            found += sum(not unpack(value).ended for value in values if value)
    return found


def postgres(prefix: str) -> Place:
    import psycopg

    require(Postgres)
    url = shared(Postgres).create_database(new_name())

    def count() -> int:
        with psycopg.connect(url) as connection:
            row = connection.execute(LIVE).fetchone()
            return int(row[0]) if row else 0

    return Place("PostgreSQL", jdbc("on_postgres"), count, {"on_postgres": url})


def mariadb(prefix: str) -> Place:
    require(MariaDB)
    server, name = shared(MariaDB), new_name()
    url = server.create_database(name)

    def count() -> int:
        connection = server.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(LIVE.replace(TABLE, f"{name}.{TABLE}"))
                row = cursor.fetchone()
                return int(row[0]) if row else 0
        finally:
            connection.close()

    return Place("MariaDB", jdbc("on_mariadb"), count, {"on_mariadb": url})


def mongodb(prefix: str, kind: type[MongoDB] = MongoDB) -> Place:
    def count() -> int:
        server = shared(kind)
        with server.connect() as client:
            sessions = client[server.database][f"{prefix}_sessions"]
            return sessions.count_documents({"_id": {"$lt": ROSTER, "$ne": PLACE}, "version": {"$ne": 0}})

    return Place(kind.__name__, stores.fields_on(kind), count)


PLACES: dict[str, Callable[[str], Place]] = {
    "Valkey": valkey,
    "PostgreSQL": postgres,
    "MongoDB": mongodb,
    "MariaDB": mariadb,
    "Cluster": cluster,
    "Sentinel": sentinel,
    "ReplicaSet": lambda prefix: mongodb(prefix, ReplicaSet),
}


def jdbc(alias: str) -> dict[str, Any]:
    return {"persistence_type": "JDBC", "jdbc_database": alias}


def new_name() -> str:
    return f"test_live_{os.getpid()}_{time.monotonic_ns()}"
