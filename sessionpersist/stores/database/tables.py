"""The table of the JDBC store: whether it is there, how it is made, and whether its database may be written to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from django.db import DatabaseError, OperationalError, ProgrammingError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from sessionpersist.stores.base import PLACE, place_of
from sessionpersist.stores.database.meanings import NOT_ALLOWED, READ_ONLY_WORDS, code_of

# What a query of a table that is not there raises, among other things; elsewhere it is ProgrammingError.
WITHOUT_TABLE: Mapping[str, type[DatabaseError]] = {"sqlite": OperationalError}

# Bytes of a statement that writes the largest session: the drivers of MySQL may write each byte as two.
PACKET = 16 * 1024 * 1024


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
    """Return the id of the place that a database's table carries; None where there is none. It makes no table.

    Each process asks for it again and again, so the table is looked for only where the query fails. In a transaction
    of the caller a savepoint is around it: a query that fails would break that.
    """
    before: Any = connection.savepoint()  # None outside a transaction, where the others do nothing
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, [PLACE])
            row = cursor.fetchone()
    except WITHOUT_TABLE.get(connection.vendor, ProgrammingError):
        connection.savepoint_rollback(before)
        with connection.cursor() as cursor:
            if stored_session()._meta.db_table in connection.introspection.table_names(cursor):
                raise
        return None
    connection.savepoint_commit(before)
    return place_of(bytes(row[0])) if row and row[0] is not None else None


def creation_sql(connection: BaseDatabaseWrapper, parts: list[str]) -> list[str]:
    """Return the statements that make what is missing, as Django's migrations would."""
    editor: Any = connection.schema_editor(collect_sql=True, atomic=False)
    # Entering it would do no more for us, but on SQLite it checks every foreign key of the database, and refuses to be
    # entered in a transaction.
    editor.deferred_sql = []
    if parts == ["table"]:
        editor.create_model(stored_session())
    else:
        editor.add_index(stored_session(), stored_session()._meta.indexes[0])
    return [*editor.collected_sql, *(f"{each};" for each in editor.deferred_sql)]


def create_missing(connection: BaseDatabaseWrapper) -> None:
    """Create what is missing: all or nothing where the database can roll DDL back.

    MySQL can't; a table that was left without its index gets it the next time.
    """
    parts = missing_parts(connection)
    if not parts:
        return
    undone = connection.features.can_rollback_ddl
    block = transaction.atomic(using=connection.alias) if undone else nullcontext()
    with block, connection.cursor() as cursor:
        for statement in creation_sql(connection, parts):
            cursor.execute(statement)


def create_for_this_connection(connection: BaseDatabaseWrapper) -> None:
    """Create a table in MySQL that no other connection sees, and that goes with this one."""
    statement = creation_sql(connection, ["table"])[0]
    with connection.cursor() as cursor:
        cursor.execute(statement.replace("CREATE TABLE", "CREATE TEMPORARY TABLE", 1))


def drop_for_this_connection(connection: BaseDatabaseWrapper) -> None:
    name = connection.ops.quote_name(stored_session()._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TEMPORARY TABLE IF EXISTS {name}")


def sql_for_others(connection: BaseDatabaseWrapper, parts: list[str]) -> str:
    """Return what somebody with more rights can execute, so that the user of this connection needs none to create."""
    statements = creation_sql(connection, parts)
    if connection.vendor == "postgresql" and parts == ["table"]:
        name = connection.ops.quote_name(stored_session()._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute("SELECT quote_ident(current_user)")
            user = cursor.fetchone()[0]
        statements.append(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {user};")
    return " ".join(statements)


def may_create(connection: BaseDatabaseWrapper, parts: list[str]) -> bool:
    """Return whether the user of this connection has the right to create what is missing. It leaves nothing behind."""
    check = RIGHTS.get(connection.vendor)
    return check is None or check(connection, parts)


def _postgresql_may_create(connection: BaseDatabaseWrapper, parts: list[str]) -> bool:
    table = connection.ops.quote_name(stored_session()._meta.db_table)
    owns = " AND pg_has_role((SELECT relowner FROM pg_class WHERE oid = to_regclass(%s)), 'USAGE')"
    of_index = parts == ["index"]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT has_schema_privilege(current_schema(), 'CREATE')" + (owns if of_index else ""),
            [table] if of_index else [],
        )
        return bool(cursor.fetchone()[0])  # null: there is no schema to create it in


def _mysql_may_create(connection: BaseDatabaseWrapper, parts: list[str]) -> bool:
    """A statement that is prepared is checked for the rights that it needs, and not executed. For an index that is not
    so; one on a column that is not there is checked for them first."""
    if parts == ["index"] and connection.in_atomic_block:
        return True  # it would commit, so it is not tried
    [statement, *_] = creation_sql(connection, parts)
    try:
        with connection.cursor() as cursor:
            if parts == ["index"]:
                cursor.execute(statement.replace("`expires_at`", "`no_such_column`"))
            else:
                cursor.execute("PREPARE sessionpersist FROM %s", [statement])
                cursor.execute("DEALLOCATE PREPARE sessionpersist")
    except DatabaseError as error:
        return code_of(error) not in NOT_ALLOWED
    return True


RIGHTS: dict[str, Callable[[BaseDatabaseWrapper, list[str]], bool]] = {
    "postgresql": _postgresql_may_create,
    "mysql": _mysql_may_create,
}


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
        if any(text in str(error) for text in READ_ONLY_WORDS):
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
