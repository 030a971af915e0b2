"""Where the table is missing: who may make it, trying the verbs beforehand, and failing without leaving a trace."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction
from pytest_django import DjangoDbBlocker

from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores import probe
from sessionpersist.stores.base import Probed
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.settings import DatabaseSettings
from tests.servers import MariaDB, Postgres, require, shared
from tests.stores.contract import a_key, a_record
from tests.stores.databases import added_database

TABLE = "sessionpersist_storedsession"
SERVERS: dict[str, type[Postgres | MariaDB]] = {"PostgreSQL": Postgres, "MariaDB": MariaDB}
RIGHTS = "SELECT, INSERT, UPDATE, DELETE"


@pytest.fixture(autouse=True)
def unblocked(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture(params=["SQLite", "PostgreSQL", "MariaDB"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, tmp_path: Path) -> str:
    if kind == "SQLite":
        return f"sqlite:///{tmp_path}/missing.sqlite3"
    require(SERVERS[kind])
    return shared(SERVERS[kind]).create_database(f"missing_{secrets.token_hex(4)}")


@pytest.fixture
def alias(url: str) -> Iterator[str]:
    with added_database("missing", url) as alias:
        yield alias


@pytest.fixture
def guest(kind: str, url: str) -> Iterator[str]:
    """The same database for a user who may do anything with its tables but make them."""
    with added_database("owner", url), as_guest(kind, url) as alias:
        yield alias


@contextmanager
def as_guest(kind: str, url: str) -> Iterator[str]:
    name, password = f"guest_{secrets.token_hex(4)}", "a-guest"
    server: Any = shared(SERVERS[kind])
    if kind == "PostgreSQL":
        with server._connect_as_admin() as admin:
            admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    else:
        database = url.rpartition("/")[2]
        server._execute_as_admin(f"CREATE USER {name}@'%' IDENTIFIED BY '{password}'")
        server._execute_as_admin(f"GRANT {RIGHTS} ON `{database}`.* TO {name}@'%'")
    with added_database("guest", url, USER=name, PASSWORD=password) as alias:
        yield alias


def store_of(alias: str) -> DatabaseStore:
    return DatabaseStore(DatabaseSettings(database=alias), timeout=5)


def execute(alias: str, *statements: str) -> None:
    with connections[alias].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def step(store: Probed, name: str, *, prepare: bool = False) -> Any:
    return next(each for each in probe.run(store, prepare=prepare) if each.name == name)


def statements_in(message: str) -> list[str]:
    """What somebody with more rights is asked to execute."""
    found = re.search(r"can execute: (.*;)", message)
    assert found is not None, message
    return found[1].split(";")[:-1]


# No right to make it


@pytest.mark.parametrize("kind", ["PostgreSQL", "MariaDB"], indirect=True)
class TestNoRight:
    def test_a_probe_says_so_before_saving_with_what_others_can_execute(self, guest: str) -> None:
        for_others = []
        for prepare in (False, True):
            found = step(store_of(guest), "Works", prepare=prepare)
            assert (found.ok, found.field) == (False, "database")
            assert "no right to create it" in found.message
            for_others = statements_in(found.message)
        execute("owner", *for_others)
        assert [each.message for each in probe.run(store_of(guest), prepare=True) if not each.ok] == []

    def test_a_request_says_so_too_and_works_once_it_was_executed(self, guest: str) -> None:
        store = store_of(guest)
        with pytest.raises(StoreMisconfigured) as raised:
            store.get(a_key())
        execute("owner", *statements_in(str(raised.value)))
        assert store.create(key := a_key(), record := a_record())
        assert store.get(key) == record

    def test_a_missing_index_is_told_in_the_same_way(self, guest: str, kind: str) -> None:
        store_of("owner").prepare()
        on = f" ON {TABLE}" if kind == "MariaDB" else ""
        execute("owner", f"DROP INDEX sessionpersist_expires_at{on}")
        if kind == "PostgreSQL":
            user = connections[guest].settings_dict["USER"]
            execute("owner", f"GRANT {RIGHTS} ON {TABLE} TO {user}")
        found = step(store_of(guest), "Works")
        assert not found.ok
        assert "The index of the table" in found.message
        execute("owner", *statements_in(found.message))
        assert store_of(guest).missing() is None

    def test_a_table_that_a_user_may_not_write_to_is_told(self, guest: str, kind: str) -> None:
        store_of("owner").prepare()
        user = connections[guest].settings_dict["USER"]
        if kind == "PostgreSQL":
            execute("owner", f"GRANT SELECT ON {TABLE} TO {user}")
        else:
            database = connections[guest].settings_dict["NAME"]
            shared(MariaDB)._execute_as_admin(f"REVOKE INSERT, UPDATE ON `{database}`.* FROM {user}@'%'")
        store = GuardedStore(store_of(guest), "the store")
        assert store.get(a_key()) is None
        for _ in range(5):
            with pytest.raises(StoreUnavailable, match="does not allow this") as raised:
                store.create(a_key(), a_record())
            assert raised.value.answered
        assert store.get(a_key()) is None


@pytest.mark.parametrize("kind", ["PostgreSQL", "MariaDB"], indirect=True)
def test_who_may_make_it_is_told_that_it_will_be_made(alias: str) -> None:
    assert "created when you save" in (store_of(alias).missing() or "")
    assert tables(alias) == []


def tables(alias: str) -> list[str]:
    return connections[alias].introspection.table_names()


# Trying the verbs beforehand


class TestRehearsal:
    def test_the_verbs_work_inside_and_nothing_is_left(self, alias: str) -> None:
        store = store_of(alias)
        with store.rehearsal() as possible:
            assert possible
            assert store.create(key := a_key(), record := a_record())
            assert store.create(key, a_record()) is False
            assert store.get(key) == record
            assert dict(store.scan()) == {key: record}
        assert tables(alias) == []
        assert store.missing() is not None
        assert not connections[alias].in_atomic_block
        assert store.create(key, a_record()), "and afterwards the first session makes the table as ever"

    def test_it_can_take_place_in_a_transaction_of_the_caller(self, alias: str) -> None:
        execute(alias, "CREATE TABLE ours (number integer)")
        with transaction.atomic(using=alias):
            execute(alias, "INSERT INTO ours VALUES (1)")
            with store_of(alias).rehearsal() as possible:
                assert possible
            execute(alias, "INSERT INTO ours VALUES (2)")
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM ours")
            assert cursor.fetchone() == (2,)
        assert tables(alias) == ["ours"]

    def test_a_verb_that_fails_inside_leaves_nothing_either(self, alias: str, kind: str) -> None:
        store = store_of(alias)
        with pytest.raises(StoreUnavailable), store.rehearsal():
            store.create(a_key(), a_record()._replace(version=2**70))
        assert tables(alias) == []
        assert store.get(a_key()) is None

    def test_after_a_failed_verb_the_others_say_so_in_our_own_exception(self, alias: str, kind: str) -> None:
        store = store_of(alias)
        with store.rehearsal():
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    store.create(a_key(), a_record()._replace(version=2**70))

    def test_a_table_that_is_there_is_used_as_it_is(self, alias: str) -> None:
        store = store_of(alias)
        store.prepare()
        with store.rehearsal() as possible:
            assert possible
            store.create(key := a_key(), record := a_record())
        assert store.get(key) == record

    @pytest.mark.parametrize("kind", ["MariaDB"], indirect=True)
    def test_without_the_right_to_temporary_tables_mariadb_can_not_be_tried(self, guest: str) -> None:
        with store_of(guest).rehearsal() as possible:
            assert possible is False

    def test_a_probe_tries_every_verb_before_the_table_is_made(self, alias: str) -> None:
        tried = {each.name for each in probe.run(store_of(alias)) if each.ok}
        assert {"Works", "Write", "Compare and set", "List", "Delete many"} <= tried
        assert tables(alias) == []


# Failing


def test_a_table_that_can_not_be_made_leaves_the_connection_as_it_was(alias: str, kind: str) -> None:
    """Its table was renamed and the name of its index was taken; PostgreSQL's connection was then in a transaction for
    ever, and every request a 503."""
    store = store_of(alias)
    store.create(key := a_key(), record := a_record())
    execute(alias, f"ALTER TABLE {TABLE} RENAME TO kept")
    for _ in range(3):
        answer_or_failure(store)
        connection = connections[alias]
        assert not connection.in_atomic_block
        assert connection.get_autocommit()
    if TABLE in tables(alias):  # MariaDB counts the names of indexes by the table
        execute(alias, f"DROP TABLE {TABLE}")
    execute(alias, f"ALTER TABLE kept RENAME TO {TABLE}")
    assert store.get(key) == record
    assert store.create(a_key(), a_record())


def answer_or_failure(store: Probed) -> None:
    try:
        store.get(a_key())
    except StoreUnavailable as error:
        assert "could not be created" in str(error) or "failed" in str(error)  # noqa: PT017 - either is right


def test_a_table_is_made_in_a_transaction_of_the_caller_on_sqlite(tmp_path: Path) -> None:
    """Django's schema editor refuses to begin there, which was a 503 for every request with ATOMIC_REQUESTS."""
    with added_database("missing", f"sqlite:///{tmp_path}/atomic.sqlite3") as alias:
        with transaction.atomic(using=alias):
            assert store_of(alias).create(key := a_key(), record := a_record())
        assert store_of(alias).get(key) == record


def test_a_database_with_a_broken_foreign_key_elsewhere_gets_its_table(tmp_path: Path) -> None:
    """Django's schema editor checks all of them on SQLite."""
    with added_database("missing", f"sqlite:///{tmp_path}/broken.sqlite3") as alias:
        execute(
            alias,
            "PRAGMA foreign_keys = OFF",
            "CREATE TABLE parent (id integer PRIMARY KEY)",
            "CREATE TABLE child (parent integer REFERENCES parent (id))",
            "INSERT INTO child VALUES (4711)",
            "PRAGMA foreign_keys = ON",
        )
        assert store_of(alias).create(a_key(), a_record())


@pytest.mark.parametrize("kind", ["PostgreSQL", "MariaDB"], indirect=True)
def test_what_a_transaction_of_the_caller_finds_missing_is_made_beside_it(alias: str) -> None:
    execute(alias, "CREATE TABLE ours (number integer)")
    store = store_of(alias)
    with transaction.atomic(using=alias):
        execute(alias, "INSERT INTO ours VALUES (1)")
        assert store.create(a_key(), a_record())
        transaction.set_rollback(True, using=alias)
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM ours")
        assert cursor.fetchone() == (0,), "MariaDB commits where a table is made"
    assert TABLE in tables(alias)
