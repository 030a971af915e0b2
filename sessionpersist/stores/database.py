"""JDBC: a table in one of the project's relational databases, through Django's connection to it.

The statements are written out: for one row by primary key the ORM costs more than the query. No transaction is opened
around a single statement; inside a transaction of the caller they take part in it, as Django's own engine does.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, Error, IntegrityError, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import DatabaseWrapper as SqliteWrapper

from sessionpersist.exceptions import ForeignRecord, SessionTooLarge, StoreMisconfigured, StoreUnavailable
from sessionpersist.stores import sql, tables
from sessionpersist.stores.base import ENDED, Check, Outcome, Record, Store, harmless, note_foreign, now_ms
from sessionpersist.stores.deadlines import answers_within
from sessionpersist.stores.settings import DatabaseSettings
from sessionpersist.transactions import may_see_the_past, outside

MANY = 20  # parameters: statements for several records come in as many forms as there are numbers of records
PATIENCE = (
    30.0  # seconds to wait for an answer where a table is made (an index may take its time), or counted
)
TOO_LARGE = 1153  # MySQL: got a packet bigger than max_allowed_packet
READ_ONLY = (1290, 1792, 1836, "25006")  # the server, the transaction or the database is read-only
LOST = (2006, 2013, 2055, 1927, 4031)  # MySQL: the server has gone away, the connection was killed
# A server ended the statement for another's sake: as a deadlock, or for what another changed (by numbers in MySQL, by
# SQLSTATE in PostgreSQL). It has done nothing then, and both manuals say to execute it once more.
GAVE_WAY = (1213, 1020, "40P01", "40001")
FAILED_TRANSACTION = "25P02"  # PostgreSQL: an earlier statement failed, and the caller went on
TRIES = 6  # of a statement that has to give way: one of those that meet gets through each time
PAUSE = 0.05  # seconds at most before another try, at random, so that they don't meet again


class Duplicate(StoreUnavailable):
    """An INSERT met a row of the same key; within this module only."""


class GaveWay(StoreUnavailable):
    """A statement was ended for the sake of another, and can be executed once more; within this module only."""


class Answer(NamedTuple):
    """What a statement gave: its rows, and how many rows it changed."""

    rows: Sequence[Sequence[Any]]
    changed: int


class DatabaseStore(Store):
    name = "JDBC"

    def __init__(self, settings: DatabaseSettings, timeout: float, *, migrated: bool = False) -> None:
        """``timeout`` in seconds holds for connecting and for each answer. ``migrated``: the table is there if it is
        one that migrations make in this database, so that nobody needs to look, as in tests.

        Raises StoreMisconfigured where the project has no such database, or its driver is missing.
        """
        self.alias, self.timeout = settings.database or DEFAULT_DB_ALIAS, timeout
        connection = connection_to(self.alias)
        if connection.vendor not in sql.DIALECTS:
            raise StoreMisconfigured(
                f"Sessions can't be kept in {connection.display_name} (the database “{self.alias}”), "
                "but in PostgreSQL, MySQL, MariaDB or SQLite.",
                "database",
            )
        self._mysql = connection.vendor == "mysql"
        self._prepared_statements = prepared_statements() if connection.vendor == "postgresql" else None
        self._table = connection.ops.quote_name(tables.stored_session()._meta.db_table)
        self._sql = sql.statements(self._table, "%s", connection.vendor)
        self._prepared = migrated and router.allow_migrate_model(self.alias, tables.stored_session())

    def get(self, key: str) -> Record | None:
        row = self._row(self._sql.get, key, now_ms())
        return self._record(row) if row else None

    def create(self, key: str, record: Record) -> bool:
        if self._mysql:
            return self._insert(key, record)
        return self._changed(self._sql.create, key, *record, now_ms()) == 1

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        now = now_ms()
        if expected != ENDED and self._changed(self._sql.replace, *assigned(record), key, now, expected):
            return Outcome.SAVED
        held = self._row(self._sql.held, key, now)
        if held and held[0] == expected:
            raise StoreUnavailable("This transaction sees the session as it was before another saved it.")
        return Outcome.CONFLICT if held else Outcome.MISSING

    def touch(self, key: str, expires_at: int) -> bool:
        return self._changed(self._sql.touch, expires_at, expires_at, key, now_ms()) == 1

    def delete(self, key: str, version: int | None = None) -> bool:
        if version is None:
            return self._changed(self._sql.delete, key, now_ms()) == 1
        return version != ENDED and self._changed(self._sql.delete_version, key, now_ms(), version) == 1

    def end(self, key: str, expires_at: int) -> None:
        self._changed(self._sql.end, key, b"", ENDED, now_ms(), expires_at, "")

    def clear_expired(self) -> int:
        total = 0
        while cleared := self._changed(self._sql.clear, now_ms()):
            total += cleared
        return total

    def scan(self) -> Iterator[tuple[str, Record | None]]:
        last = ""
        while rows := self._rows(self._sql.page, last, now_ms()):
            yield from sql.records_of(rows)
            last = rows[-1][0]

    def count(self, at_most: int | None = None) -> int:
        """See Store.count(). Ended records can be told apart only by reading each row, which MariaDB does at random and
        may take seconds for; so they count where it is only asked whether there are that many."""
        now = now_ms()
        if at_most is not None and int(self._row(self._sql.count_unexpired, now, at_most)[0]) >= at_most:
            return at_most
        limit = sql.EVERY if at_most is None else at_most
        return int(self._ask(self._sql.count, (now, limit), PATIENCE).rows[0][0])

    def get_many(self, keys: Collection[str]) -> dict[str, Record]:
        rows = self._rows(sql.get_many(self._table, len(keys)), now_ms(), *keys)
        return {key: record for key, record in sql.records_of(rows) if record is not None}

    def create_many(self, records: Mapping[str, Record]) -> set[str]:
        """See Store.create_many(). In the order of their keys: two drains must not lock each other out."""
        keys = sorted(records)
        dialect = "mysql" if self._mysql else "other"
        values = [value for key in keys for value in (key, *records[key])]
        try:
            created = self._changed(sql.insert_many(self._table, len(keys), dialect), *values)
        except Duplicate:
            return super().create_many(records)
        if created == len(keys):
            return set(keys)
        held = self._rows(sql.versions_of(self._table, len(keys)), *keys)
        return {key for key, version in held if version == records[key].version}

    def delete_many(self, versions: Mapping[str, int]) -> set[str]:
        keys = sorted(versions)
        pairs = [value for key in keys for value in (key, versions[key])]
        if self._changed(sql.delete_many(self._table, len(keys)), *pairs) == len(keys):
            return set()
        return {key for key, _ in self._rows(sql.versions_of(self._table, len(keys)), *keys)}

    def prepare(self) -> None:
        """Create the table, or only its index where a failure left the table without it."""
        try:
            with self._connected(PATIENCE) as connection:
                tables.create_missing(connection)
        except StoreUnavailable as error:
            if self.missing():  # else another process has made it at the same moment
                raise StoreMisconfigured(f"{error} The table could not be created.", "database") from error
        self._mark()

    def place(self) -> str | None:
        with self._connected(self.timeout) as connection:
            return tables.place_in(connection, self._sql.place)

    def connection_checks(self) -> Iterable[Check]:
        yield "Connect", self._check_connection
        yield "Editable", self._check_editable

    def missing(self) -> str | None:
        with self._connected(self.timeout) as connection:
            if not tables.missing_parts(connection):
                return None
        return (
            f"The table “{tables.stored_session()._meta.db_table}” is missing; it is created when you save."
        )

    def warnings(self) -> Iterable[str]:
        if connection_to(self.alias).vendor == "sqlite":
            yield "SQLite is a file on one machine: it is not shared by several nodes."
        with self._connected(self.timeout) as connection:
            narrow = tables.narrowness(connection)
        if narrow:
            yield narrow

    def close(self) -> None:
        """Nothing to give back: the connections are Django's."""

    def _record(self, row: Sequence[Any]) -> Record | None:
        try:
            return sql.record_of(row)
        except ForeignRecord:
            note_foreign(self.name)
            return None

    def _insert(self, key: str, record: Record) -> bool:
        """Create where there is no conditional upsert: the rare duplicate costs a second statement."""
        try:
            return self._changed(self._sql.create, key, *record) == 1
        except Duplicate:
            return self._changed(self._sql.reuse, *assigned(record), record.created_at, key, now_ms()) == 1

    def _row(self, statement: str, *parameters: Any) -> Any:
        rows = self._ask(statement, parameters).rows
        return rows[0] if rows else None

    def _rows(self, statement: str, *parameters: Any) -> Any:
        return self._ask(statement, parameters).rows

    def _changed(self, statement: str, *parameters: Any) -> int:
        return self._ask(statement, parameters).changed

    def _ask(self, statement: str, parameters: tuple[Any, ...], timeout: float | None = None) -> Answer:
        """Execute one statement; the table is made first if this process has not seen it yet. ``timeout`` in seconds is
        that of the store, unless another is given."""
        timeout = timeout or self.timeout
        if not self._prepared:
            self._prepare_once()
        for _ in range(TRIES - 1):
            with suppress(GaveWay):
                return self._execute(statement, parameters, timeout)
            time.sleep(random.uniform(0, PAUSE))  # noqa: S311 - not for secrets
        return self._execute(statement, parameters, timeout)

    def _execute(self, statement: str, parameters: tuple[Any, ...], timeout: float) -> Answer:
        if (prepared := self._prepared_statements) and len(parameters) < MANY:
            connection = connection_to(self.alias)
            if prepared.is_possible(connection):
                with self._translated(connection):
                    if answer := prepared.execute(connection, statement, parameters, timeout):
                        return Answer(*answer)
        with self._connected(timeout) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return Answer(cursor.fetchall() if cursor.description else [], cursor.rowcount)

    @contextmanager
    def _connected(self, timeout: float) -> Iterator[BaseDatabaseWrapper]:
        """This thread's connection, with a deadline and with errors translated."""
        connection = connection_to(self.alias)
        with self._translated(connection), answers_within(timeout, connection):
            yield connection

    @contextmanager
    def _translated(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        try:
            yield
        except transaction.TransactionManagementError:
            raise  # the caller's own broken transaction, not the database's fault
        except Error as error:
            if connection.in_atomic_block and code_of(error) == FAILED_TRANSACTION:
                raise
            if not isinstance(error, IntegrityError) and code_of(error) not in GAVE_WAY:
                self._prepared = False  # whatever it was, look again: the table may be gone
            broken = connection.connection is not None and is_broken(connection, error)
            if broken:
                with suppress(Error):
                    connection.close()
            cause = harmless(error, str(connection.settings_dict["PASSWORD"]))
            raise _explain(error, connection, broken=broken) from cause
        except ImproperlyConfigured as error:
            raise StoreMisconfigured(
                f"The database “{self.alias}” is not completely configured.", "database"
            ) from error

    def _prepare_once(self) -> None:
        """Whoever chose this database may not have migrated it; and no migration makes the id of the place.

        In a transaction of the caller it would be taken back with that, or a failure would break it: so not there,
        but SQLite would wait for itself.
        """
        if may_see_the_past(self.alias) and connection_to(self.alias).vendor != "sqlite":
            outside(self._prepare_if_needed)
        else:
            self._prepare_if_needed()
        self._prepared = True

    def _prepare_if_needed(self) -> None:
        if self.missing():
            self.prepare()
        elif self.place() is None:
            with suppress(StoreUnavailable):  # a standby can be read without
                self._mark()

    def _mark(self) -> None:
        """Give the place its id, unless it has one."""
        with suppress(Duplicate):
            self._execute(self._sql.mark, sql.a_place(), self.timeout)

    def _check_connection(self) -> str:
        with self._connected(self.timeout) as connection:
            connection.ensure_connection()
            return f"{connection.display_name} {'.'.join(map(str, connection.get_database_version()))}"

    def _check_editable(self) -> None:
        with self._connected(self.timeout) as connection:
            reason = tables.read_only_reason(connection)
        if reason:
            raise StoreUnavailable(f"The database “{self.alias}” is read-only: {reason}.", "database")


def prepared_statements() -> Any:
    """Return the module that executes prepared statements; None where PostgreSQL's driver is psycopg 2."""
    try:
        from sessionpersist.stores import prepared
    except ImportError:
        return None
    return prepared


def connection_to(alias: str) -> BaseDatabaseWrapper:
    """Return this thread's connection to one of the project's databases. Raises StoreMisconfigured."""
    if alias not in connections:
        raise StoreMisconfigured(f"The project has no database “{alias}” in DATABASES.", "database")
    try:
        return connections[alias]
    except ImproperlyConfigured as error:
        raise StoreMisconfigured(
            f"The driver of the database “{alias}” is not installed ({connections.settings[alias]['ENGINE']}). "
            "Install psycopg for PostgreSQL, or mysqlclient or PyMySQL for MySQL and MariaDB.",
            "database",
        ) from error


def assigned(record: Record) -> tuple[Any, ...]:
    """The values that an update assigns, in the order of the statement."""
    return record.payload, record.version, record.expires_at, record.user_id


def is_broken(connection: BaseDatabaseWrapper, error: Error) -> bool:
    """Return whether an open connection is of no more use, or not to be trusted: a late answer may still come. A server
    that has become read-only is no longer the primary, perhaps, and a new connection may lead to the one that is."""
    if code_of(error) in READ_ONLY and not connection.in_atomic_block:
        return True
    # psycopg knows; MySQL's drivers tell by code.
    closed = getattr(connection.connection, "closed", False) is True
    return closed or code_of(error) in LOST


def code_of(error: BaseException) -> Any:
    """The SQLSTATE of PostgreSQL's error, the number of MySQL's, or the text of another's."""
    code = error.args[0] if error.args else None
    if isinstance(code, int):
        return code  # PyMySQL, too, tells the SQLSTATE by now, which is less exact
    return getattr(error.__cause__, "sqlstate", None) or code


def _explain(error: Error, connection: BaseDatabaseWrapper, *, broken: bool) -> Exception:
    name, text, code = f"database “{connection.alias}”", str(error), code_of(error)
    if code == TOO_LARGE:
        return SessionTooLarge(f"The session is larger than the {name} accepts.")
    if isinstance(error, IntegrityError):
        return Duplicate(f"The {name} has such a row already.")
    if connection.connection is None and not broken:
        return _explain_connecting(text, code, name)
    if code in READ_ONLY or any(each in text for each in tables.READ_ONLY_ERRORS):
        return StoreUnavailable(f"The {name} is read-only.", "database", connection_lost=broken)
    if "timed out" in text:
        return StoreUnavailable(f"The {name} did not answer in time.")
    if broken:
        # A transaction is gone with its connection: its statements must not be repeated on another.
        lost = not connection.in_atomic_block
        return StoreUnavailable(f"The connection to the {name} was lost.", connection_lost=lost)
    if code in GAVE_WAY and connection.autocommit and not connection.in_atomic_block:
        return GaveWay(f"The {name} had other statements go before, {TRIES} times in a row.")
    return StoreUnavailable(f"The {name} failed ({type(error).__name__}).", "database")


def _explain_connecting(text: str, code: Any, name: str) -> StoreUnavailable:
    if code in (1044, 1045, 1698) or "authentication failed" in text:
        reason = "refused the user name or the password that DATABASES gives"
    elif code == 1049 or "does not exist" in text:
        reason = "does not exist on its server, or its user does not"
    elif "timed out" in text or "timeout expired" in text:
        reason = "did not answer in time"
    elif "resolve" in text or "Name or service" in text or "getaddrinfo" in text:
        reason = "has a host name that does not resolve"
    elif "refused" in text or code == 2002:
        reason = "can't be reached: nothing listens at its host and port"
    else:
        reason = "can't be opened"
    return StoreUnavailable(f"The {name} {reason}.", "database")


_inherited: list[Any] = []


def _let_go() -> None:
    """In a forked child: two processes on one connection would read each other's answers. The parent's are kept
    unclosed, as closing one would end it for the parent, too; and Django opens new ones."""
    for connection in connections.all(initialized_only=True):
        in_memory = isinstance(connection, SqliteWrapper) and connection.is_in_memory_db()
        if connection.connection is not None and not connection.in_atomic_block and not in_memory:
            _inherited.append(connection.connection)
            connection.connection = None
        pools = getattr(type(connection), "_connection_pools", None)
        if pools:  # psycopg's: its threads are gone, its connections are the parent's
            _inherited.append(dict(pools))
            pools.clear()


os.register_at_fork(after_in_child=_let_go)
