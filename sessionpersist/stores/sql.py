"""The statements that the two SQL stores share: the table of records, in the dialect of each database."""

from __future__ import annotations

from dataclasses import dataclass

DIALECTS = ("sqlite", "postgresql", "mysql")  # Django's name for MariaDB is mysql, too
BATCH = 100  # rows that one statement clears: short locks; MariaDB was seen to take 0.9 s for 500
PAGE = 100  # rows that one statement of a scan reads: bounded memory
EVERY = 2**63 - 1  # as a limit: none

COLUMNS = "payload, version, created_at, expires_at, user_id"
ASSIGN = "payload = {m}, version = {m}, expires_at = {m}, user_id = {m}"
LIVE = "stored_key = {m} AND expires_at > {m} AND version <> 0"
EXACT = "stored_key = {m} AND expires_at > {m} AND version = {m}"
INSERT = "INSERT INTO {t} (stored_key, payload, version, created_at, expires_at, user_id)\
 VALUES ({m}, {m}, {m}, {m}, {m}, {m})"
UPDATE_EXCLUDED = (
    " ON CONFLICT (stored_key) DO UPDATE SET payload = excluded.payload, version = excluded.version,\
 created_at = excluded.created_at, expires_at = excluded.expires_at, user_id = excluded.user_id"
)
MYSQL_UPDATE = " ON DUPLICATE KEY UPDATE payload = VALUES(payload), version = VALUES(version),\
 created_at = VALUES(created_at), expires_at = VALUES(expires_at), user_id = VALUES(user_id)"
EXPIRED = "SELECT stored_key FROM {t} WHERE expires_at <= {m} ORDER BY expires_at LIMIT {batch}"

# One statement a batch. In PostgreSQL nodes that clear at the same time don't wait for each other; the array is there
# because what stands after an IN may be executed for each row anew, and would then lock rows that are not deleted.
# In MySQL they may even deadlock, which the store bears (see GAVE_WAY).
CLEAR = {
    "sqlite": "DELETE FROM {t} WHERE stored_key IN (" + EXPIRED + ")",
    "postgresql": "DELETE FROM {t} WHERE stored_key = ANY(ARRAY(" + EXPIRED + " FOR UPDATE SKIP LOCKED))",
    "mysql": "DELETE FROM {t} WHERE expires_at <= {m} ORDER BY expires_at LIMIT {batch}",
}


@dataclass(frozen=True)
class Statements:
    """Parameterised SQL for one table."""

    get: str
    create: str
    reuse: str
    replace: str
    held: str
    touch: str
    delete: str
    delete_version: str
    end: str
    clear: str
    page: str
    count_unexpired: str
    count: str


def statements(table: str, mark: str, dialect: str) -> Statements:
    """Build the statements for an (already quoted) table name; ``mark`` is the driver's placeholder.

    A row of version 0 is an ended record. ``create`` writes over an expired row where the database has a
    conditional upsert; MySQL has none, and its store follows a duplicate key up with ``reuse``.
    """

    def sql(text: str) -> str:
        # Constants of the code: no value is ever formatted in.
        return text.format(t=table, m=mark, batch=BATCH, page=PAGE)

    mysql = dialect == "mysql"
    return Statements(
        get=sql(f"SELECT {COLUMNS} FROM {{t}} WHERE stored_key = {{m}} AND expires_at > {{m}}"),
        create=sql(INSERT if mysql else INSERT + UPDATE_EXCLUDED + " WHERE {t}.expires_at <= {m}"),
        reuse=sql(
            "UPDATE {t} SET " + ASSIGN + ", created_at = {m} WHERE stored_key = {m} AND expires_at <= {m}"
        ),
        replace=sql("UPDATE {t} SET " + ASSIGN + " WHERE " + EXACT),
        held=sql("SELECT version FROM {t} WHERE " + LIVE),
        touch=sql(
            "UPDATE {t} SET expires_at = CASE WHEN expires_at < {m} THEN {m} ELSE expires_at END WHERE "
            + LIVE
        ),
        delete=sql("DELETE FROM {t} WHERE " + LIVE),
        delete_version=sql("DELETE FROM {t} WHERE " + EXACT),
        end=sql(INSERT + (MYSQL_UPDATE if mysql else UPDATE_EXCLUDED)),
        clear=sql(CLEAR[dialect]),
        page=sql(
            f"SELECT stored_key, {COLUMNS} FROM {{t}} WHERE stored_key > {{m}} AND expires_at > {{m}}"
            " ORDER BY stored_key LIMIT {page}"
        ),
        count_unexpired=sql(
            "SELECT COUNT(*) FROM (SELECT 1 FROM {t} WHERE expires_at > {m} LIMIT {m}) AS counted"
        ),
        count=sql(
            "SELECT COUNT(*) FROM"
            " (SELECT 1 FROM {t} WHERE expires_at > {m} AND version <> 0 LIMIT {m}) AS counted"
        ),
    )


def get_many(table: str, rows: int) -> str:
    """Build the query for several records that have not expired."""
    marks = ", ".join(["%s"] * rows)
    return f"SELECT stored_key, {COLUMNS} FROM {table} WHERE expires_at > %s AND stored_key IN ({marks})"


def insert_many(table: str, rows: int, dialect: str) -> str:
    """Build the statement that inserts several records. Taken keys are passed over; in MySQL, which could do so only
    by passing over other faults too, one of them makes the whole statement fail."""
    head, _, values = INSERT.format(t=table, m="%s").partition(" VALUES ")
    statement = f"{head} VALUES {', '.join([values] * rows)}"
    return statement if dialect == "mysql" else statement + " ON CONFLICT (stored_key) DO NOTHING"


def delete_many(table: str, rows: int) -> str:
    """Build the statement that deletes several records that still have their version."""
    return f"DELETE FROM {table} WHERE " + " OR ".join(["stored_key = %s AND version = %s"] * rows)


def versions_of(table: str, rows: int) -> str:
    """Build the query for the versions of several records."""
    return f"SELECT stored_key, version FROM {table} WHERE stored_key IN ({', '.join(['%s'] * rows)})"
