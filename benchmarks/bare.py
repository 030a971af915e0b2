"""The physical limit: the bare driver doing one round trip, with records of the same shape and no session around them.

A read is one row or value by its key; a write replaces it where its version is the expected one.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import lmdb

from benchmarks.operations import KEPT
from benchmarks.timing import Case

if TYPE_CHECKING:
    import psycopg
    import redis
    from pymongo.collection import Collection

LIFE = 14 * 86400 * 1000  # milliseconds
KEYS = [f"{number:064d}" for number in range(KEPT)]
COMPARE_AND_SET = """
if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
TABLE = """CREATE TABLE IF NOT EXISTS benchmark_bare (stored_key VARCHAR(64) PRIMARY KEY, payload {blob} NOT NULL,
    version BIGINT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, user_id VARCHAR(255) NOT NULL)"""
INSERT = "INSERT INTO benchmark_bare VALUES ({m}, {m}, 1, {m}, {m}, '1')"
SELECT = "SELECT payload, version, created_at, expires_at, user_id FROM benchmark_bare WHERE stored_key = {m}"
UPDATE = "UPDATE benchmark_bare SET payload = {m}, expires_at = {m} WHERE stored_key = {m} AND version = {m}"


class Bare(NamedTuple):
    """The two round trips of one driver."""

    read: Callable[[str], Any]
    write: Callable[[str], Any]

    def cases(self) -> dict[str, Case]:
        """Return what is compared with a load and with a save."""
        keys = itertools.cycle(KEYS)
        return {
            "load": Case(lambda: next(keys), self.read),
            "save": Case(lambda: next(keys), self.write),
        }


def redis_driver(client: redis.Redis, size: int) -> Bare:
    """GET, and EVALSHA of a compare-and-set."""
    value = bytes(8) + os.urandom(size)
    for key in KEYS:
        client.set(key, value, px=LIFE)
    sha = str(client.script_load(COMPARE_AND_SET))
    write = client.evalsha
    return Bare(client.get, lambda key: write(sha, 1, key, bytes(8), value, LIFE))


def psycopg_driver(connection: psycopg.Connection[Any], size: int) -> Bare:
    """A prepared SELECT and UPDATE of one row, in autocommit."""
    select, update = SELECT.format(m="%s").encode(), UPDATE.format(m="%s").encode()
    payload, cursor = os.urandom(size), connection.cursor()
    cursor.execute(TABLE.format(blob="BYTEA").encode())
    cursor.execute(b"TRUNCATE benchmark_bare")
    for key in KEYS:
        cursor.execute(INSERT.format(m="%s").encode(), (key, payload, now(), now() + LIFE))
    return Bare(
        lambda key: cursor.execute(select, (key,), prepare=True).fetchone(),
        lambda key: cursor.execute(update, (payload, now() + LIFE, key, 1), prepare=True),
    )


def lmdb_driver(path: Path, size: int) -> Bare:
    """A read transaction, and one that reads and writes; without waiting for a disk, as ours."""
    env = lmdb.open(str(path), map_size=2**30, subdir=False, sync=False, metasync=False, max_spare_txns=1)
    version, value = bytes(8), bytes(8) + os.urandom(size)
    with env.begin(write=True) as transaction:
        for key in KEYS:
            transaction.put(key.encode(), value)

    def write(key: str) -> None:
        with env.begin(write=True) as transaction:
            held = transaction.get(key.encode())
            if held is not None and held[:8] == version:
                transaction.put(key.encode(), version + os.urandom(size))

    return Bare(lambda key: env.begin().get(key.encode()), write)


def sqlite_driver(path: Path, size: int) -> Bare:
    """SELECT and UPDATE of one row with the standard library's driver; with a write-ahead log, as ours."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(TABLE.format(blob="BLOB"))
    select, update, payload = SELECT.format(m="?"), UPDATE.format(m="?"), os.urandom(size)
    rows = [(key, payload, now(), now() + LIFE) for key in KEYS]
    connection.execute("DELETE FROM benchmark_bare")
    connection.executemany(INSERT.format(m="?"), rows)
    return Bare(
        lambda key: connection.execute(select, (key,)).fetchone(),
        lambda key: connection.execute(update, (payload, now() + LIFE, key, 1)),
    )


def pymongo_driver(collection: Collection[dict[str, Any]], size: int) -> Bare:
    """find_one and update_one."""
    payload = os.urandom(size)
    collection.delete_many({})
    common = {"payload": payload, "version": 1, "created_at": now(), "user_id": "1"}
    collection.insert_many({"_id": key, "expires_at": now() + LIFE, **common} for key in KEYS)

    def write(key: str) -> None:
        new = {"$set": {"payload": payload, "expires_at": now() + LIFE}}
        collection.update_one({"_id": key, "version": 1}, new)

    return Bare(lambda key: collection.find_one({"_id": key}), write)


def now() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
