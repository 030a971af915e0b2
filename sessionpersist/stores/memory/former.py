"""What releases up to 0.3.0 kept in SQLite: taken over once, by the first process of a newer one.

Processes of the older release may still run, as where workers are replaced one by one. What they wrote after that
nobody would ever read, and what the others write they can't see: each would log users out. So the table gets another
name first, and a view that can't be read gets its name: from then on they fail, which they tell as an outage, and
nobody is logged out. A process that is killed on the way leaves the table for the next.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sessionpersist.exceptions import ForeignRecord
from sessionpersist.stores.base import PLACE, Record, now_ms, place_of
from sessionpersist.stores.sql import record_of_row

FILE = "sessions.sqlite3"
KEPT = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '{}'"
# The name of what is missing is what an older process tells.
VIEW = "CREATE VIEW IF NOT EXISTS session AS SELECT * FROM taken_over_by_a_newer_release"
ROWS = "SELECT stored_key, payload, version, created_at, expires_at, user_id FROM former WHERE expires_at > ?"


def take(folder: Path, timeout: float) -> str | None:
    """Keep older processes out of their file, and return the id of the place that it is; None where there is none."""
    if not (folder / FILE).exists():
        return None
    with closing(_opened(folder, timeout)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute(KEPT.format("session")).fetchone():
            connection.execute("ALTER TABLE session RENAME TO former")
        connection.execute(VIEW)
        connection.execute("COMMIT")
        if not connection.execute(KEPT.format("former")).fetchone():
            return None
        row = connection.execute("SELECT payload FROM former WHERE stored_key = ?", [PLACE]).fetchone()
        return place_of(row[0]) if row else None


def records(folder: Path, timeout: float) -> Iterator[tuple[str, Record]]:
    """Yield what is kept and has not expired. What is no session stays behind."""
    with closing(_opened(folder, timeout)) as connection:
        for key, *row in connection.execute(ROWS, [now_ms()]):
            try:
                if key != PLACE:
                    yield key, record_of_row(row)
            except ForeignRecord:
                pass


def forget(folder: Path, timeout: float) -> None:
    """Give the memory back that is still taken by what has been taken over."""
    if not (folder / FILE).exists():
        return
    with closing(_opened(folder, timeout)) as connection:
        if connection.execute(KEPT.format("former")).fetchone():
            connection.execute("DROP TABLE IF EXISTS former")
            connection.execute("VACUUM")


def _opened(folder: Path, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / FILE, timeout=timeout, isolation_level=None)
    connection.text_factory = lambda text: text.decode(errors="replace")
    return connection
