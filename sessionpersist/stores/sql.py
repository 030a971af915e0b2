"""The statements of the store in a table, in the dialect of each database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sessionpersist.exceptions import ForeignRecord
from sessionpersist.stores.base import (
    AFTER_ROSTERS,
    ENDED,
    LONGEST_USER_ID,
    MAX_PAYLOAD_BYTES,
    NEVER,
    PLACE,
    ROSTER,
    Record,
    new_place,
    validated,
)

DIALECTS = ("sqlite", "postgresql", "mysql")  # Django's name for MariaDB is mysql, too
BATCH = 100  # rows that one statement clears: short locks
PAGE = 100  # rows that one statement of a scan reads
PAGE_BYTES = 16 * 1024 * 1024  # of payload that it reads at most: bounded memory
EVERY = 2**63 - 1  # as a limit: none

# A payload that is larger than any session's is not read: without one it is a foreign record, whatever its size.
PAYLOAD = {
    "sqlite": "CASE WHEN typeof(payload) = 'blob' AND LENGTH(payload) <= {longest} THEN payload END",
    "other": "CASE WHEN LENGTH(payload) <= {longest} THEN payload END",
}
COLUMNS = "{payload}, version, created_at, expires_at, user_id"
ASSIGN = "payload = {m}, version = {m}, created_at = {m}, expires_at = {m}, user_id = {m}"
LIVE = "stored_key = {m} AND expires_at > {m} AND {sound}"
EXACT = "stored_key = {m} AND expires_at > {m} AND version = {m}"  # which nobody knows of a foreign record
# A duplicate key would break a transaction of PostgreSQL, where it is not the statement alone that fails.
NOT_TAKEN = " AND NOT EXISTS (SELECT 1 FROM {t} WHERE stored_key = {m})"
INSERT = "INSERT INTO {t} (stored_key, payload, version, created_at, expires_at, user_id)\
 VALUES ({m}, {m}, {m}, {m}, {m}, {m})"
UPDATE_EXCLUDED = (
    " ON CONFLICT (stored_key) DO UPDATE SET payload = excluded.payload, version = excluded.version,\
 created_at = excluded.created_at, expires_at = excluded.expires_at, user_id = excluded.user_id"
)
MYSQL_UPDATE = " ON DUPLICATE KEY UPDATE payload = VALUES(payload), version = VALUES(version),\
 created_at = VALUES(created_at), expires_at = VALUES(expires_at), user_id = VALUES(user_id)"
MARK = INSERT + " ON CONFLICT (stored_key) DO NOTHING"
# What a session must be, so that a foreign record is as good as none. SQLite takes any type in any column, and no
# other database does; but columns may have lost their NOT NULL.
SOUND = {
    "sqlite": f"version > {ENDED} AND created_at >= 0 AND typeof(version) = 'integer'"
    " AND typeof(created_at) = 'integer' AND typeof(expires_at) = 'integer'"
    " AND typeof(payload) = 'blob' AND typeof(user_id) = 'text'",
    "other": f"version > {ENDED} AND created_at >= 0 AND payload IS NOT NULL AND user_id IS NOT NULL",
}
# For a count, by which a drain knows that it is done, its size too; MariaDB takes a while to look at that.
# With 1 as its parameter every row, with 0 all but rosters.
COUNTED = f"({{m}} = 1 OR stored_key < '{ROSTER}' OR stored_key >= '{AFTER_ROSTERS}')"
FITTING = "LENGTH(payload) <= {longest} AND {letters}(user_id) <= {longest_id}"
LETTERS = {"sqlite": "LENGTH", "other": "CHAR_LENGTH"}
# SQLite also takes texts that are none, and Python's driver then fails to read the whole page: so they are read as
# bytes. The page begins after a key that is given as bytes, too.
AS_BYTES = (
    "CAST(stored_key AS BLOB), {payload}, version, created_at, expires_at,"
    " CASE typeof(user_id) WHEN 'text' THEN CAST(user_id AS BLOB) END"
)
READ = {
    "sqlite": f"SELECT {AS_BYTES} FROM {{t}} WHERE typeof(stored_key) = 'text' AND",
    "other": f"SELECT stored_key, {COLUMNS} FROM {{t}} WHERE",
}
AFTER = {"sqlite": "CAST({m} AS TEXT)", "other": "{m}"}
EXPIRED = "SELECT stored_key FROM {t} WHERE expires_at <= {m} ORDER BY expires_at LIMIT {batch}"

# One statement a batch. In PostgreSQL nodes that clear at the same time don't wait for each other; the array is there
# because what stands after an IN may be executed again for each row, and would then lock rows that are not deleted.
# MySQL only finds what has expired, after a place in the index, which also has the key: see database/clearing.py.
CLEAR = {
    "sqlite": "DELETE FROM {t} WHERE stored_key IN (" + EXPIRED + ")",
    "postgresql": "DELETE FROM {t} WHERE stored_key = ANY(ARRAY(" + EXPIRED + " FOR UPDATE SKIP LOCKED))",
    "mysql": "SELECT expires_at, stored_key FROM {t} WHERE expires_at BETWEEN {m} AND {m}"
    " AND (expires_at > {m} OR stored_key > {m}) ORDER BY expires_at, stored_key LIMIT {m}",
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
    rotate: str
    clear: str
    page: str
    one: str
    count_unexpired: str
    count: str
    mark: str
    place: str


def statements(table: str, mark: str, dialect: str) -> Statements:
    """Build the statements for an (already quoted) table name; ``mark`` is the driver's placeholder.

    A row of version 0 is an ended record, or the one that carries the id of the place. ``create`` writes over an
    expired row where the database has a conditional upsert; MySQL has none, and its store follows a duplicate key up
    with ``reuse``, and passes over that of a ``mark``.
    """

    def sql(text: str, longest: int = MAX_PAYLOAD_BYTES) -> str:
        # Constants of the code: no value is ever formatted in.
        text = (
            text.replace("{sound}", SOUND[kind]).replace("{counted}", COUNTED).replace("{after}", AFTER[kind])
        )
        text = text.replace("{payload}", PAYLOAD[kind])
        limits = {"longest": longest, "longest_id": LONGEST_USER_ID, "never": NEVER}
        return text.format(t=table, m=mark, batch=BATCH, page=PAGE, letters=LETTERS[kind], **limits)

    mysql, kind = dialect == "mysql", _kind(dialect)
    return Statements(
        get=sql(f"SELECT {COLUMNS} FROM {{t}} WHERE stored_key = {{m}} AND expires_at > {{m}}"),
        create=sql(INSERT if mysql else INSERT + UPDATE_EXCLUDED + " WHERE {t}.expires_at <= {m}"),
        reuse=sql("UPDATE {t} SET " + ASSIGN + " WHERE stored_key = {m} AND expires_at <= {m}"),
        replace=sql("UPDATE {t} SET " + ASSIGN + " WHERE " + EXACT),
        held=sql("SELECT version FROM {t} WHERE " + LIVE),
        touch=sql(
            "UPDATE {t} SET expires_at = CASE WHEN expires_at < {m} THEN {m} ELSE expires_at END WHERE "
            + LIVE
        ),
        delete=sql("DELETE FROM {t} WHERE " + LIVE),
        delete_version=sql("DELETE FROM {t} WHERE " + EXACT),
        end=sql(INSERT + (MYSQL_UPDATE if mysql else UPDATE_EXCLUDED)),
        rotate=sql(
            "UPDATE {t} SET stored_key = {m}, " + ASSIGN + " WHERE " + EXACT + ("" if mysql else NOT_TAKEN)
        ),
        clear=sql(CLEAR[dialect]),
        page=sql(
            f"{READ[kind]} stored_key > {{after}} AND expires_at > {{m}}"
            f" AND stored_key <> '{PLACE}' ORDER BY stored_key LIMIT {{page}}",
            PAGE_BYTES // PAGE,
        ),
        one=sql(READ[kind] + " stored_key = {m} AND expires_at > {m}"),
        count_unexpired=sql(
            "SELECT COUNT(*) FROM"
            " (SELECT 1 FROM {t} WHERE expires_at > {m} AND expires_at < {never} AND {counted} LIMIT {m}) AS counted"
        ),
        count=sql(
            "SELECT COUNT(*) FROM (SELECT 1 FROM {t} WHERE expires_at > {m} AND {sound} AND {counted} AND "
            + FITTING
            + " LIMIT {m}) AS counted"
        ),
        mark=sql(INSERT if mysql else MARK),
        place=sql("SELECT {payload} FROM {t} WHERE stored_key = {m}"),
    )


def a_place() -> tuple[str, bytes, int, int, int, str]:
    """Return the row that carries the id of a place, in the order of INSERT: no verb finds it, and it never expires."""
    return PLACE, new_place().encode(), ENDED, 0, NEVER, ""


def _kind(dialect: str) -> str:
    return dialect if dialect == "sqlite" else "other"


def values_of(record: Record) -> tuple[bytes, int, int, int, str]:
    """Return what is written of a record, in the order of INSERT: whole numbers, and a user's id that fits."""
    payload, version, created_at, expires_at, user_id = record
    return payload, int(version), int(created_at), int(expires_at), fitting(user_id)


def fitting(user_id: str | None) -> str:
    """Return a user's id as a column takes it. It is for information only, and must never refuse a login."""
    if not user_id:
        return ""
    if user_id.isascii() and len(user_id) <= LONGEST_USER_ID and "\0" not in user_id:
        return user_id
    whole = user_id.replace("\0", "").encode("utf-8", "replace").decode()
    return whole[:LONGEST_USER_ID]


def in_ascii(user_id: str) -> str:
    """Return a user's id for a column whose character set lacks some of its letters."""
    return user_id.encode("ascii", "backslashreplace").decode()[:LONGEST_USER_ID]


def record_of_row(row: Sequence[object]) -> Record:
    """Return the record of a row; psycopg 2 answers with a memoryview for bytes. Raises ForeignRecord."""
    payload, version, created_at, expires_at, user_id = row
    if isinstance(payload, memoryview):
        payload = bytes(payload)
    if version == ENDED and isinstance(payload, bytes) and len(payload) > 1:
        raise ForeignRecord("An ended record has a reason of one byte.")
    return validated(payload, version, created_at, expires_at, user_id)


def records_of(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[str, Record | None]]:
    """Yield the records of rows that begin with their key, None for a foreign one."""
    for key, *values in rows:
        name = _name_of(key)
        try:
            if isinstance(values[-1], bytes):
                values[-1] = values[-1].decode(errors="replace")  # in a count it is a session like any other
            yield name, record_of_row(values)
        except ForeignRecord:
            yield name, None


def page_of(
    rows: Iterable[Sequence[Any]], read_one: Callable[[str], Iterable[Sequence[Any]]]
) -> Iterator[tuple[str, Record | None]]:
    """Yield the records of a page. A row that came without its payload, which is too large for a page, is read alone
    when its turn comes."""
    for row in rows:
        yield from records_of([row] if row[1] is not None else read_one(_name_of(row[0])))


def _name_of(key: str | bytes) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else key


def get_many(table: str, rows: int, dialect: str) -> str:
    """Build the query for several records that have not expired."""
    marks = ", ".join(["%s"] * rows)
    kind = _kind(dialect)
    read = READ[kind].replace("{payload}", PAYLOAD[kind]).format(t=table, longest=MAX_PAYLOAD_BYTES)
    return f"{read} expires_at > %s AND stored_key IN ({marks})"


def insert_many(table: str, rows: int, dialect: str) -> str:
    """Build the statement that inserts several records. Taken keys are passed over; in MySQL, which could do so only
    by passing over other faults too, one of them makes the whole statement fail."""
    head, _, values = INSERT.format(t=table, m="%s").partition(" VALUES ")
    statement = f"{head} VALUES {', '.join([values] * rows)}"
    return statement if dialect == "mysql" else statement + " ON CONFLICT (stored_key) DO NOTHING"


def end_and_replace(table: str, rows: int) -> str:
    """Build PostgreSQL's statement that ends sessions and replaces a record, whether that is done or not."""
    head, _, values = INSERT.format(t=table, m="%s").partition(" VALUES ")
    replace = ("UPDATE {t} SET " + ASSIGN + " WHERE " + EXACT).format(t=table, m="%s")
    # What nobody reads is executed last, and would wait for locks while it holds that of the record to replace.
    ended = f"{head} VALUES {', '.join([values] * rows)}{UPDATE_EXCLUDED} RETURNING 1"
    return f"WITH ended AS ({ended}) {replace} AND (SELECT count(*) FROM ended) >= 0"


def delete_many(table: str, rows: int) -> str:
    """Build the statement that deletes several records that still have their version."""
    return f"DELETE FROM {table} WHERE " + " OR ".join(["stored_key = %s AND version = %s"] * rows)


def delete_expired(table: str, rows: int) -> str:
    """Build the statement by which MySQL deletes those of several records that have expired.

    Of a small table it would else read all rows, and lock them.
    """
    keys = ", ".join(["%s"] * rows)
    return (
        f"DELETE {table} FROM {table} FORCE INDEX (PRIMARY) WHERE stored_key IN ({keys}) AND expires_at <= %s"
    )


def versions_of(table: str, rows: int) -> str:
    """Build the query for the versions of several records."""
    return f"SELECT stored_key, version FROM {table} WHERE stored_key IN ({', '.join(['%s'] * rows)})"
