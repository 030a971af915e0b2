"""JDBC: a table in one of the project's relational databases, through Django's connection to it.

The statements are written out: for one row by primary key the ORM costs more than the query. No transaction is opened
around a single statement; inside a transaction of the caller they take part in it, as Django's own engine does.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from time import monotonic
from typing import Any, NamedTuple, Self, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, Error, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import DatabaseWrapper as SqliteWrapper

from sessionpersist import conf, forks
from sessionpersist.exceptions import ForeignRecord, SessionTooLarge, StoreMisconfigured, StoreUnavailable
from sessionpersist.stores import sql
from sessionpersist.stores.base import (
    ENDED,
    Check,
    Outcome,
    Probed,
    Record,
    Rotation,
    ended_record,
    note_foreign,
    now_ms,
)
from sessionpersist.stores.database import clearing, meanings, replication, sqlite, tables
from sessionpersist.stores.database.clearing import Position
from sessionpersist.stores.database.meanings import (
    Duplicate,
    GaveWay,
    Lost,
    NotAllowed,
    NoText,
    Refused,
    RefusedValue,
    failing,
)
from sessionpersist.stores.deadlines import answers_within, driver_of
from sessionpersist.stores.settings import DatabaseSettings
from sessionpersist.stores.transactions import may_see_the_past, outside

T = TypeVar("T")

MANY = 20  # parameters: statements for several records come in as many forms as there are numbers of records
PATIENCE = 30.0  # seconds, where no request waits: to make the table (an index takes its time), or to count
TRIES = 6  # of a statement that has to give way: one of those that meet gets through each time
PAUSE = 0.05  # seconds at most before another try, at random, so that they don't meet again
MARGIN = 4096  # bytes of a statement beside the payload
LARGE = 100_000  # bytes: where a server hangs up on so many, it may be for their number


class Answer(NamedTuple):
    """What a statement gave: its rows, and how many rows it changed."""

    rows: Sequence[Sequence[Any]]
    changed: int


class DatabaseStore(Probed):
    name = "JDBC"

    def __init__(self, settings: DatabaseSettings, timeout: float, *, migrated: bool = False) -> None:
        """``timeout`` in seconds holds for a verb, from connecting to the last byte. ``migrated``: the table is there
        if it is one that migrations make in this database, so that nobody needs to look, as in tests.

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
        self._dialect = connection.vendor
        self._mysql = connection.vendor == "mysql"
        self._straight = way_without_detours(connection.vendor)
        self._table = connection.ops.quote_name(tables.stored_session()._meta.db_table)
        self._sql = sql.statements(self._table, "%s", connection.vendor)
        self._first = b"" if connection.vendor == "sqlite" else ""  # before every key, as a page takes it
        self._prepared = migrated and router.allow_migrate_model(self.alias, tables.stored_session())
        self._rehearsing = False
        self._before = ""  # what each statement begins with; known once the servers have been looked at

    @classmethod
    def of(cls, settings: DatabaseSettings) -> Self:
        return cls(settings, conf.timeout_seconds(), migrated=conf.tests_are_quiet())

    def get(self, key: str) -> Record | None:
        try:
            rows = self._ask(self._sql.get, (key, now_ms()), self._until(), NoText).rows
            return sql.record_of_row(rows[0]) if rows else None
        except (ForeignRecord, NoText):
            note_foreign(self.name)
            return None

    def create(self, key: str, record: Record) -> bool:
        with failing():
            return self._written(self._create, key, record, self._until())

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        with failing():
            return self._written(self._replace, key, record, self._until(), expected)

    def touch(self, key: str, expires_at: int) -> bool:
        until = int(expires_at)
        return self._changed(self._sql.touch, until, until, key, now_ms()) == 1

    def delete(self, key: str, version: int | None = None) -> bool:
        return self._deleted(key, version, self._until())

    def end(self, key: str, expires_at: int, reason: int = 0) -> None:
        self._changed(self._sql.end, key, *sql.values_of(ended_record(expires_at, reason)))

    def rotate(self, old_key: str, version: int | None, new_key: str, record: Record) -> Rotation:
        """See Store.rotate(). The row is given the new key; where there is no such row, one after the other."""
        until = self._until()
        with failing():
            if self._written(self._move, new_key, record, until, old_key, version):
                return Rotation.DONE
            if not self._written(self._create, new_key, record, until):
                return Rotation.TAKEN
        return Rotation.DONE if self._deleted(old_key, version, until) else Rotation.LEFT

    def end_and_replace(
        self, ended: Mapping[str, int], until: int, key: str, record: Record, expected: int
    ) -> Outcome:
        if self._dialect != "postgresql" or expected == ENDED or not ended:
            return super().end_and_replace(ended, until, key, record, expected)
        with failing():
            return self._written(self._replace_after, key, record, self._until(), expected, ended, until)

    def clearing(self) -> Iterator[int]:
        if self._mysql:
            yield from clearing.by_key(self._expired_after, self._delete_expired)
            return
        while cleared := self._changed(self._sql.clear, now_ms()):
            yield cleared

    def scan(self) -> Iterator[tuple[str, Record | None]]:
        last = self._first
        while rows := self._rows(self._sql.page, last, now_ms()):
            yield from sql.page_of(rows, lambda key: self._rows(self._sql.one, key, now_ms()))
            last = rows[-1][0]

    def count(self, at_most: int | None = None, *, rosters: bool = False) -> int:
        """See Drainable.count(). Ended records can be told apart only by reading each row, which MariaDB does at random
        and may take seconds for; so they count where it is only asked whether there are that many."""
        now = now_ms()
        if (
            at_most is not None
            and int(self._row(self._sql.count_unexpired, now, int(rosters), at_most)[0]) >= at_most
        ):
            return at_most
        limit = sql.EVERY if at_most is None else at_most
        return int(self._ask(self._sql.count, (now, int(rosters), limit), monotonic() + PATIENCE).rows[0][0])

    def get_many(self, keys: Collection[str]) -> dict[str, Record]:
        if not keys:
            return {}  # SQL knows no empty list
        rows = self._rows(sql.get_many(self._table, len(keys), self._dialect), now_ms(), *keys)
        return {key: record for key, record in sql.records_of(rows) if record is not None}

    def create_many(self, records: Mapping[str, Record]) -> set[str]:
        """See Drainable.create_many(). In the order of their keys: two drains must not lock each other out."""
        if not records:
            return set()
        keys, until = sorted(records), self._until()
        values = [value for key in keys for value in (key, *sql.values_of(records[key]))]
        statement = sql.insert_many(self._table, len(keys), self._dialect)
        try:
            created = self._ask(statement, tuple(values), until, Duplicate, RefusedValue).changed
        except (Duplicate, RefusedValue, SessionTooLarge):
            return {key for key in keys if self._is_created(key, records[key])}
        if created == len(keys):
            return set(keys)
        held = self._ask(sql.versions_of(self._table, len(keys)), tuple(keys), until).rows
        return {key for key, version in held if version == records[key].version}

    def delete_many(self, versions: Mapping[str, int]) -> set[str]:
        if not versions:
            return set()
        keys, until = sorted(versions), self._until()
        pairs = tuple(value for key in keys for value in (key, versions[key]))
        if self._ask(sql.delete_many(self._table, len(keys)), pairs, until).changed == len(keys):
            return set()
        return {key for key, _ in self._ask(sql.versions_of(self._table, len(keys)), tuple(keys), until).rows}

    def prepare(self) -> None:
        """Create the table, or only its index where a failure left the table without it, and the id of the place.

        It may take PATIENCE: no request waits for it.
        """
        self._outside_transactions(lambda: self._prepare(monotonic() + PATIENCE))

    def place(self) -> str | None:
        return self._place(self._until())

    def connection_checks(self) -> Iterable[Check]:
        yield "Connect", self._check_connection
        yield "Permission to write", self._check_editable

    def missing(self) -> str | None:
        """See Probed.missing(). Raises StoreUnavailable where there is no right to create it."""
        with self._connected(self._until()) as connection:
            parts = tables.missing_parts(connection)
            if not parts:
                return None
            if not tables.may_create(connection, parts):
                raise NotAllowed(self._may_not_create(connection, parts), "database", answered=True)
        return f"{_what_is_missing(parts)} is missing; it is created when you save."

    @contextmanager
    def rehearsal(self) -> Iterator[bool]:
        """See Probed.rehearsal(). The table is made in a transaction that is taken back; in MySQL, which can't do that,
        it is one that only this connection sees."""
        connection = connection_to(self.alias)
        if self._missing_parts(self._until()) != ["table"]:  # without its index all verbs work
            yield True
            return
        transactional = connection.features.can_rollback_ddl
        stage = _taken_back(self) if transactional else _for_this_connection(self)
        with ExitStack() as stack:
            try:
                stack.enter_context(stage)
            except StoreUnavailable:  # what is missing, and why it can't be made, is told by missing()
                yield False
                return
            self._rehearsing = True
            stack.callback(setattr, self, "_rehearsing", False)
            yield True

    def warnings(self) -> Iterable[str]:
        if connection_to(self.alias).vendor == "sqlite":
            yield "SQLite is a file on one machine: it is not shared by several nodes."
        with self._connected(self._until()) as connection:
            narrow = tables.narrowness(connection)
            told = list(replication.warnings(connection, self.timeout))
        if narrow:
            yield narrow
        yield from told

    def close(self) -> None:
        """Nothing to give back: the connections are Django's."""

    def _create(self, key: str, record: Record, until: float) -> bool:
        values = sql.values_of(record)
        if not self._mysql:
            return self._ask(self._sql.create, (key, *values, now_ms()), until, RefusedValue).changed == 1
        try:
            return self._ask(self._sql.create, (key, *values), until, Duplicate, RefusedValue).changed == 1
        except Duplicate:  # there is no conditional upsert: the rare duplicate costs a second statement
            return self._ask(self._sql.reuse, (*values, key, now_ms()), until, RefusedValue).changed == 1

    def _replace(self, key: str, record: Record, until: float, expected: int) -> Outcome:
        if expected != ENDED:
            new = (*sql.values_of(record), key, now_ms(), expected)
            if self._ask(self._sql.replace, new, until, RefusedValue).changed:
                return Outcome.SAVED
        return self._not_replaced(key, until, expected)

    def _replace_after(
        self,
        key: str,
        record: Record,
        until: float,
        expected: int,
        ended: Mapping[str, int],
        ended_until: int,
    ) -> Outcome:
        ends = ((each, ended_record(ended_until, reason)) for each, reason in sorted(ended.items()))
        values = [value for each, end in ends for value in (each, *sql.values_of(end))]
        new = (*values, *sql.values_of(record), key, now_ms(), expected)
        if self._ask(sql.end_and_replace(self._table, len(ended)), new, until, RefusedValue).changed:
            return Outcome.SAVED
        return self._not_replaced(key, until, expected)

    def _deleted(self, key: str, version: int | None, until: float) -> bool:
        if version is None:
            return self._ask(self._sql.delete, (key, now_ms()), until).changed == 1
        exact = (key, now_ms(), version)
        return version != ENDED and self._ask(self._sql.delete_version, exact, until).changed == 1

    def _not_replaced(self, key: str, until: float, expected: int) -> Outcome:
        held = self._ask(self._sql.held, (key, now_ms()), until).rows
        if held and held[0][0] == expected:
            raise StoreUnavailable(
                "This transaction sees the session as it was before another saved it.", answered=True
            )
        return Outcome.CONFLICT if held else Outcome.MISSING

    def _move(self, key: str, record: Record, until: float, old_key: str, version: int | None) -> bool:
        """Write a record over the row of another key; False where that has another version, or this key is taken."""
        if version in (None, ENDED) or key == old_key:
            return False
        free = () if self._mysql else (key,)
        new = (key, *sql.values_of(record), old_key, now_ms(), version, *free)
        try:
            return self._ask(self._sql.rotate, new, until, Duplicate, RefusedValue).changed == 1
        except Duplicate:
            return False

    def _expired_after(self, position: Position) -> Sequence[Position]:
        at, key = position
        rows: Sequence[Position] = self._rows(self._sql.clear, at, now_ms(), at, key, clearing.FOUND)
        return rows

    def _delete_expired(self, keys: list[str]) -> int:
        return self._changed(sql.delete_expired(self._table, len(keys)), *keys, now_ms())

    def _written(self, write: Callable[..., T], key: str, record: Record, *arguments: Any) -> T:
        """Write a record; where the database has no room for the letters of its user's id, with those that it has.

        Raises RefusedValue where that is not enough.
        """
        try:
            return write(key, record, *arguments)
        except RefusedValue:
            if record.user_id.isascii():
                raise
            return write(key, record._replace(user_id=sql.in_ascii(record.user_id)), *arguments)

    def _is_created(self, key: str, record: Record) -> bool:
        """Create one of several. What can't be kept here stays where it is, and must not keep the others there."""
        try:
            return self._written(self._create, key, record, self._until())
        except (RefusedValue, SessionTooLarge):
            return False

    def _until(self) -> float:
        """The deadline of what begins now."""
        return monotonic() + self.timeout

    def _row(self, statement: str, *parameters: Any) -> Any:
        rows = self._ask(statement, parameters, self._until()).rows
        return rows[0] if rows else None

    def _rows(self, statement: str, *parameters: Any) -> Any:
        return self._ask(statement, parameters, self._until()).rows

    def _changed(self, statement: str, *parameters: Any) -> int:
        return self._ask(statement, parameters, self._until()).changed

    def _ask(
        self, statement: str, parameters: tuple[Any, ...], until: float, *expected: type[Refused]
    ) -> Answer:
        """Execute one statement; the table is made first if this process has not seen it yet. All of it has one
        deadline, ``until``, as a request waits for it.

        Raises Refused of the kinds that are expected, and StoreUnavailable for others.
        """
        if not (self._prepared or self._rehearsing):
            self._prepare_once(until)
        try:
            return self._execute_in_turn(statement, parameters, until)
        except Refused as refused:
            if isinstance(refused, expected):
                raise
            raise refused.failure from refused.__cause__

    def _execute_in_turn(self, statement: str, parameters: tuple[Any, ...], until: float) -> Answer:
        """Execute a statement, again where it has to give way to others."""
        for _ in range(TRIES - 1):
            try:
                return self._execute(statement, parameters, until)
            except GaveWay:
                time.sleep(random.uniform(0, PAUSE))  # noqa: S311 - not for secrets
            except Lost as error:
                if self._mysql:
                    self._check_packet(parameters, until, error)
                raise
        return self._execute(statement, parameters, until)

    def _execute(self, statement: str, parameters: tuple[Any, ...], until: float) -> Answer:
        if (straight := self._straight) and len(parameters) < MANY:
            connection = connection_to(self.alias)
            try:
                if straight.is_possible(connection) and (
                    answer := straight.execute(connection, statement, parameters, until)
                ):
                    return Answer(*answer)
            except BaseException as error:
                self._translate(error, connection)
                raise
        with self._reached(until) as connection, connection.cursor() as cursor:
            cursor.execute(self._before + statement, parameters)
            return Answer(cursor.fetchall() if cursor.description else [], cursor.rowcount)

    @contextmanager
    def _connected(self, until: float) -> Iterator[BaseDatabaseWrapper]:
        """This thread's connection, with a deadline and with errors translated: what is refused has failed."""
        with failing(), self._reached(until) as connection:
            yield connection

    @contextmanager
    def _reached(self, until: float) -> Iterator[BaseDatabaseWrapper]:
        """The same, but Refused is raised as it is."""
        connection = connection_to(self.alias)
        with self._translated(connection), answers_within(until - monotonic(), connection):
            yield connection

    @contextmanager
    def _translated(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._translate(error, connection)
            raise

    def _translate(self, error: BaseException, connection: BaseDatabaseWrapper) -> None:
        """Raise what is to be raised instead of an error; return where that is the error itself."""
        if isinstance(error, transaction.TransactionManagementError):
            return  # the caller's own broken transaction, not the database's fault
        if isinstance(error, StoreUnavailable | Refused | SessionTooLarge | ForeignRecord):
            return
        if isinstance(error, ImproperlyConfigured):
            raise StoreMisconfigured(
                f"The database “{self.alias}” is not completely configured.", "database"
            ) from error
        if not isinstance(error, meanings.FAULTS):
            # Interrupted, as by a signal: the answer is still to come, and must not be taken for the next one's.
            _close(connection)
            return
        if meanings.is_forbidden(error):
            return
        failed = connection.in_atomic_block and meanings.code_of(error) == meanings.FAILED_TRANSACTION
        if failed and not self._rehearsing:
            return
        raise self._told(error, connection) from meanings.cause_of(error, connection)

    def _told(self, error: Exception, connection: BaseDatabaseWrapper) -> Exception:
        """Return what to raise instead of a driver's error, after leaving a connection that is of no more use."""
        if not meanings.says_nothing_of_the_table(error):
            self._prepared = False  # look again: the table may be gone
        broken = meanings.is_broken(connection, error)
        if broken:
            _close(connection)
        return meanings.explain(error, connection, broken=broken)

    def _check_packet(self, parameters: tuple[Any, ...], until: float, error: StoreUnavailable) -> None:
        """Raise SessionTooLarge where a server of MySQL has hung up on more than it takes at a time."""
        values = [each for each in parameters if isinstance(each, bytes)]
        if sum(map(len, values)) < LARGE:
            return

        def is_too_much() -> bool:
            with self._connected(until) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT @@max_allowed_packet")
                # PyMySQL writes bytes in hexadecimal, mysqlclient escapes a few of them.
                length = 2 if driver_of(connection) == "pymysql" else 1
                return bool(length * sum(map(len, values)) + MARGIN > cursor.fetchone()[0])

        try:
            too_much = outside(is_too_much)
        except StoreUnavailable:
            return  # it does not even answer this: the error stands
        if too_much:
            raise SessionTooLarge(
                f"The session is larger than the database “{self.alias}” accepts (max_allowed_packet)."
            ) from error

    def _prepare_once(self, until: float) -> None:
        """Whoever chose this database may not have migrated it; and no migration makes the id of the place."""
        self._outside_transactions(lambda: self._prepare_if_needed(until))
        self._prepared = True

    def _prepare_if_needed(self, until: float) -> None:
        """Make the table, or its mark. An index is left to prepare(): all verbs work without, and on many rows it takes
        longer than a request may."""
        if self._mysql:
            with self._connected(until) as connection:
                self._before = replication.before_statements(connection)
        missing = self._missing_parts(until)
        if "table" in missing:
            self._prepare(until)
        elif not missing and self._place(until) is None:
            with suppress(StoreUnavailable):  # a standby can be read without
                self._mark(until)

    def _prepare(self, until: float) -> None:
        try:
            with self._connected(until) as connection:
                tables.create_missing(connection)
        except StoreUnavailable as error:
            if monotonic() >= until:  # there is no time to look why
                raise
            if parts := self._missing_parts(until):  # else another process has made it at the same moment
                raise self._not_created(parts, error, until) from error
        self._mark(until)

    def _place(self, until: float) -> str | None:
        with self._connected(until) as connection:
            return tables.place_in(connection, self._sql.place)

    def _outside_transactions(self, action: Callable[[], None]) -> None:
        """In a transaction of the caller what is made would be taken back with that, a failure would break it, and in
        MySQL it would be committed. SQLite would wait for itself, and takes part in it."""
        commits = self._mysql and connection_to(self.alias).in_atomic_block
        if commits or (self._dialect != "sqlite" and may_see_the_past(self.alias)):
            outside(action)
        else:
            action()

    def _missing_parts(self, until: float) -> list[str]:
        with self._connected(until) as connection:
            return tables.missing_parts(connection)

    def _not_created(self, parts: list[str], error: StoreUnavailable, until: float) -> StoreMisconfigured:
        if not isinstance(error, NotAllowed):
            return StoreMisconfigured(f"{error} {_what_is_missing(parts)} could not be created.", "database")
        with self._connected(until) as connection:
            return StoreMisconfigured(self._may_not_create(connection, parts), "database")

    def _may_not_create(self, connection: BaseDatabaseWrapper, parts: list[str]) -> str:
        statements = tables.sql_for_others(connection, parts)
        return (
            f"{_what_is_missing(parts)} is missing, and the user of the database “{self.alias}” has no right to "
            f"create it. Someone who has can execute: {statements}"
        )

    def _mark(self, until: float) -> None:
        """Give the place its id, unless it has one."""
        with (
            failing(),
            suppress(Duplicate),
            self._reached(until) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(self._sql.mark, sql.a_place())

    def _check_connection(self) -> str:
        with self._connected(self._until()) as connection:
            connection.ensure_connection()
            return f"{connection.display_name} {'.'.join(map(str, connection.get_database_version()))}"

    def _check_editable(self) -> None:
        with self._connected(self._until()) as connection:
            reason = tables.read_only_reason(connection)
        if reason:
            raise StoreUnavailable(
                f"The database “{self.alias}” is read-only: {reason}.", "database", answered=True
            )


def _what_is_missing(parts: list[str]) -> str:
    table = tables.stored_session()._meta.db_table
    return f"The table “{table}”" if parts == ["table"] else f"The index of the table “{table}”"


@contextmanager
def _taken_back(store: DatabaseStore) -> Iterator[None]:
    """Have a table in a transaction that is rolled back at the end."""
    block = transaction.atomic(using=store.alias)
    with store._connected(monotonic() + PATIENCE) as connection:
        block.__enter__()
        try:
            tables.create_missing(connection)
        except BaseException as error:
            block.__exit__(type(error), error, error.__traceback__)
            raise
    try:
        yield
    finally:
        with store._connected(store._until()):
            transaction.set_rollback(True, using=store.alias)
            block.__exit__(None, None, None)


@contextmanager
def _for_this_connection(store: DatabaseStore) -> Iterator[None]:
    with store._connected(store._until()) as connection:
        tables.create_for_this_connection(connection)
    try:
        yield
    finally:
        with store._connected(store._until()) as connection:
            tables.drop_for_this_connection(connection)


def _close(connection: BaseDatabaseWrapper) -> None:
    """Close a connection that is of no more use. An SQLite database has no server, and may live in its connection."""
    if connection.vendor != "sqlite":
        with suppress(Error):
            connection.close()


def way_without_detours(vendor: str) -> Any:
    """Return the module that executes statements past Django's cursor; None where there is none, or PostgreSQL's driver
    is psycopg 2."""
    if vendor == "sqlite":
        return sqlite
    if vendor != "postgresql":
        return None
    try:
        from sessionpersist.stores.database import prepared
    except ImportError:
        return None
    return prepared


# Which package is the driver of an engine of Django's, by the end of its name.
PACKAGES = {
    "postgresql": "psycopg[binary]",
    "postgis": "psycopg[binary]",
    "mysql": "mysqlclient",
    "oracle": "oracledb",
}


def connection_to(alias: str) -> BaseDatabaseWrapper:
    """Return this thread's connection to one of the project's databases. Raises StoreMisconfigured."""
    if alias not in connections.settings:
        raise StoreMisconfigured(f"The project has no database “{alias}” in DATABASES.", "database")
    try:
        return connections[alias]
    except ImproperlyConfigured as error:
        raise StoreMisconfigured(
            f"The driver of the database “{alias}” can't be loaded on this node. "
            f"{_what_to_install(connections.settings[alias]['ENGINE'])}",
            "database",
        ) from error


def _what_to_install(engine: str) -> str:
    package = PACKAGES.get(engine.rpartition(".")[2])
    if package is None:
        return f"Install psycopg for PostgreSQL, mysqlclient for MySQL and MariaDB, or what {engine} needs."
    return f"Install {package.partition('[')[0]}: pip install '{package}'"


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


forks.in_child(forks.Layer.CONNECTIONS, _let_go)
