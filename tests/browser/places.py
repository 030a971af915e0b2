"""The four stores as a person meets them: what to choose and to type, and what their own drivers find inside."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sessionpersist.stores.base import PLACE, is_roster
from tests.load.warm import warm
from tests.servers import MongoDB, Valkey, shared

ALIAS = "sessions"
TYPES = ("IN_MEMORY", "REDIS", "JDBC", "MONGODB")

# What a store holds, with nothing decoded: the stored key of each record, and all that is written in it.
Found = dict[str, str]


@dataclass(frozen=True)
class Place:
    """One store. ``fields`` are what to type, by the labels of the form; ``read`` reads all that it holds."""

    type: str
    label: str
    fields: dict[str, str]
    read: Callable[[], Found]

    def look(self) -> Found:
        """What it holds of sessions; the id of the place and the rosters of users are none."""
        return {key: record for key, record in self.read().items() if key != PLACE and not is_roster(key)}


def places(folder: Path, prefix: str, url: str) -> dict[str, Place]:
    """Return the stores of a site whose memory is in ``folder`` and whose imported database is at ``url``."""
    valkey, mongodb = shared(Valkey), shared(MongoDB)
    redis_fields = {"Host": valkey.host, "Port": str(valkey.port), "Password": valkey.password}
    mongodb_fields = {
        "Host": mongodb.host,
        "Port": str(mongodb.port),
        "User name": mongodb.username,
        "Password": mongodb.password,
        "Database name": mongodb.database,
        "Authentication database": mongodb.auth_source,
    }
    found = (
        Place("IN_MEMORY", "In-Memory", {}, lambda: in_memory(folder)),
        Place("REDIS", "REDIS", redis_fields, lambda: in_valkey(prefix)),
        Place("JDBC", "JDBC", {"Database": ALIAS}, lambda: in_postgres(url)),
        Place("MONGODB", "MONGODB", mongodb_fields, lambda: in_mongodb(prefix)),
    )
    return {place.type: place for place in found}


def in_memory(folder: Path) -> Found:
    """Read in a process of its own: it must not be open twice in one."""
    files = list(folder.glob("sessionpersist-*/sessions.lmdb"))
    if not files:
        return {}
    said = warm().run(["-c", READ, str(files[0])], os.environ, "", seconds=30)
    assert said.returncode == 0, said.stderr
    return dict(line.split(" ", 1) for line in said.stdout.splitlines())


READ = """
import lmdb, sys
with lmdb.open(sys.argv[1], subdir=False, map_size=2**36).begin() as transaction:
    for key, value in transaction.cursor():
        print(key.decode(), value)
"""


def in_valkey(prefix: str) -> Found:
    with shared(Valkey).connect() as client:
        names = list(client.scan_iter(f"{prefix}:*"))
        return {name.decode().rpartition(":")[2]: repr((name, client.get(name))) for name in names}


def in_postgres(url: str) -> Found:
    import psycopg

    exists = "SELECT to_regclass('sessionpersist_storedsession') IS NOT NULL"
    every = "SELECT stored_key, t.* FROM sessionpersist_storedsession t"
    with psycopg.connect(url) as connection:
        if connection.execute(exists).fetchall() == [(False,)]:
            return {}
        return {row[0]: repr(row) for row in connection.execute(every)}


def in_mongodb(prefix: str) -> Found:
    server = shared(MongoDB)
    with server.connect() as client:
        return {each["_id"]: repr(each) for each in client[server.database][f"{prefix}_sessions"].find()}
