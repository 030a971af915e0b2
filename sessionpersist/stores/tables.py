"""The table of the JDBC store: whether it is there, how it is made, and whether its database may be written to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from sessionpersist.stores.base import PLACE, place_of

# Bytes of a statement that writes the largest session: the drivers of MySQL may write each byte as two.
PACKET = 16 * 1024 * 1024
READ_ONLY_ERRORS = ("readonly", "read-only")  # SQLite tells by text only


def stored_session() -> Any:
    """The model that declares the table."""
    from sessionpersist.models import StoredSession  # models are loaded after the app registry is ready

    return StoredSession


def missing_parts(connection: BaseDatabaseWrapper) -> list[str]:
    """Return which of ``["table"]`` or ``["index"]`` a database lacks."""
    table = stored_session()._meta.db_table
    with connection.cursor() as cursor:
        if table not in connection.introspection.table_names(cursor):
            return ["table"]
        constraints = connection.introspection.get_constraints(cursor, table).values()
    return (
        [] if any(each["columns"] == ["expires_at"] and each["index"] for each in constraints) else ["index"]
    )


def place_in(connection: BaseDatabaseWrapper, statement: str) -> str | None:
    """Return the id of the place that a database's table carries; None where there is none. It makes no table."""
    with connection.cursor() as cursor:
        if stored_session()._meta.db_table not in connection.introspection.table_names(cursor):
            return None
        cursor.execute(statement, [PLACE])
        row = cursor.fetchone()
    return place_of(bytes(row[0])) if row else None


def create_missing(connection: BaseDatabaseWrapper) -> None:
    """Create what is missing: all or nothing where the database can roll DDL back.

    MySQL can't; a table that was left without its index gets it the next time.
    """
    parts = missing_parts(connection)
    if not parts:
        return
    with connection.schema_editor() as editor:
        if parts == ["table"]:
            editor.create_model(stored_session())
        else:
            editor.add_index(stored_session(), stored_session()._meta.indexes[0])


def narrowness(connection: BaseDatabaseWrapper) -> str | None:
    """Say that the server takes less than the largest session, or return None. Raises the driver's errors."""
    if connection.vendor != "mysql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        found = int(cursor.fetchone()[0])
    if found >= PACKET:
        return None
    return (
        f"This server takes statements of {found:,} bytes at most: larger sessions are refused, and can't be moved to "
        f"it. Set max_allowed_packet to {PACKET:,} or more."
    )


def read_only_reason(connection: BaseDatabaseWrapper) -> str | None:
    """Say why nothing can be written to a database, or return None. Raises the driver's errors."""
    with connection.cursor() as cursor:
        return READ_ONLY_CHECKS[connection.vendor](cursor)


def _sqlite_read_only(cursor: Any) -> str | None:
    """SQLite tells only when something is written: what is there already, in a transaction that is taken back. A
    file that is merely busy is not read-only."""
    cursor.execute("PRAGMA query_only")
    if cursor.fetchone()[0]:
        return "it was opened with query_only"
    if cursor.db.in_atomic_block:
        return None
    try:
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("PRAGMA user_version")
        cursor.execute(f"PRAGMA user_version = {int(cursor.fetchone()[0])}")
    except DatabaseError as error:
        if any(text in str(error) for text in READ_ONLY_ERRORS):
            return "it was opened read-only, or its file may not be written"
        raise
    finally:
        if cursor.db.connection.in_transaction:
            cursor.execute("ROLLBACK")
    return None


def _postgresql_read_only(cursor: Any) -> str | None:
    cursor.execute("SELECT pg_is_in_recovery(), current_setting('transaction_read_only')")
    standby, read_only = cursor.fetchone()
    if standby:
        return "it is a standby server"
    return "default_transaction_read_only is on" if read_only == "on" else None


def _mysql_read_only(cursor: Any) -> str | None:
    cursor.execute("SELECT @@global.read_only")
    return "read_only is set on the server" if cursor.fetchone()[0] not in (0, "OFF", "NO") else None


READ_ONLY_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "sqlite": _sqlite_read_only,
    "postgresql": _postgresql_read_only,
    "mysql": _mysql_read_only,
}
