"""Sessions inside the project's own transactions on PostgreSQL and MariaDB."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import suppress

import pytest
from django.db import InternalError, connections, transaction
from pytest_django import DjangoDbBlocker

from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import snapshot
from sessionpersist.models import LoginConfiguration
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.settings import DatabaseSettings
from sessionpersist.testing import override_login_configuration
from tests.servers import MariaDB, Postgres, Server, require, shared
from tests.stores.contract import a_key, a_record
from tests.stores.databases import added_database
from tests.stores.parallel import in_threads


@pytest.fixture(params=[Postgres, MariaDB], ids=lambda cls: cls.title)
def server(request: pytest.FixtureRequest) -> type[Server]:
    require(request.param)
    cls: type[Server] = request.param
    return cls


@pytest.fixture
def alias(server: type[Postgres | MariaDB], django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A database whose transactions see it as it was when they began; of another name in each test, as open stores are
    kept by that."""
    alias = f"transactions_{secrets.token_hex(4)}"
    level = 3 if server is Postgres else "repeatable read"  # psycopg's number of it
    url = shared(server).create_database(alias)
    with django_db_blocker.unblock(), added_database(alias, url, OPTIONS={"isolation_level": level}):
        DatabaseStore(DatabaseSettings(database=alias), timeout=5).prepare()
        yield alias


@pytest.fixture
def kept_there(alias: str) -> Iterator[str]:
    with override_login_configuration(persistence_type="JDBC", jdbc_database=alias):
        yield alias


def new_session(**data: object) -> str:
    session = SessionStore()
    session.update(data)
    session.save()
    return str(session.session_key)


class Undone(Exception):
    """What a view raises to have its savepoint rolled back."""


def test_what_was_saved_in_a_savepoint_that_is_rolled_back_can_be_saved_again(kept_there: str) -> None:
    session = SessionStore(new_session(visits=1))
    with transaction.atomic(using=kept_there), suppress(Undone), transaction.atomic(using=kept_there):
        session["basket"] = "full"
        session.save()
        raise Undone
    session["seen"] = True
    session.save()
    expected = {"visits": 1, "basket": "full", "seen": True}
    assert dict(session.items()) == expected
    assert dict(SessionStore(session.session_key).items()) == expected


def test_a_conflict_that_the_transaction_can_never_see_the_end_of_is_told_at_once(kept_there: str) -> None:
    key = new_session(visits=1)

    def other() -> None:
        session = SessionStore(key)
        session["theirs"] = True
        session.save()

    with transaction.atomic(using=kept_there):
        session = SessionStore(key)
        session["ours"] = True
        in_threads([other])
        with pytest.raises(StoreUnavailable):
            session.save()
        transaction.set_rollback(True, using=kept_there)
    assert dict(SessionStore(key).items()) == {"visits": 1, "theirs": True}


@pytest.mark.parametrize("server", [Postgres], indirect=True)
def test_a_transaction_that_the_caller_broke_says_nothing_against_the_store(alias: str) -> None:
    store = GuardedStore(DatabaseStore(DatabaseSettings(database=alias), timeout=5), "the store")
    key, record = a_key(), a_record()
    assert store.create(key, record)
    for _ in range(5):
        with suppress(InternalError), transaction.atomic(using=alias):
            with suppress(Exception), connections[alias].cursor() as cursor:
                cursor.execute("SELECT no_such_column")
            store.get(key)
    assert store.get(key) == record


def test_who_was_read_only_is_left_for_a_new_connection(alias: str) -> None:
    """As when a server is no longer the primary, and its name leads to the one that is."""
    store = GuardedStore(DatabaseStore(DatabaseSettings(database=alias), timeout=5), "the store")
    assert store.create(a_key(), a_record())
    with connections[alias].cursor() as cursor:
        on_postgresql = connections[alias].vendor == "postgresql"
        characteristics = "CHARACTERISTICS AS " if on_postgresql else ""
        cursor.execute(f"SET SESSION {characteristics}TRANSACTION READ ONLY")
    assert store.create(a_key(), a_record())


def test_a_table_that_a_transaction_finds_missing_outlives_it(alias: str) -> None:
    """It was taken back with the transaction, and the process went on in the belief that it was there."""
    drop_table(alias)
    store, key = DatabaseStore(DatabaseSettings(database=alias), timeout=5), a_key()
    with transaction.atomic(using=alias):
        assert store.create(key, a_record())
        transaction.set_rollback(True, using=alias)
    assert store.get(key) is None
    assert store.place() is not None


def drop_table(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("DROP TABLE sessionpersist_storedsession")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("switches_at_once")
class TestDuringAHandover:
    def test_a_session_that_another_has_moved_meanwhile_is_found(self, alias: str) -> None:
        configuration = LoginConfiguration.get_solo()
        configuration.save()  # the test before may have emptied the tables
        key = new_session(visits=1)
        configuration.persistence_type, configuration.jdbc_database = "JDBC", alias
        configuration.save()
        SessionStore(new_session())  # makes the table, and waits until the switch is over
        with transaction.atomic(using=alias):
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT COUNT(*) FROM sessionpersist_storedsession")
            in_threads([lambda: SessionStore(key).load()])
            assert SessionStore(key)["visits"] == 1

    def test_the_configuration_is_not_read_in_a_transaction(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It would be as old as that, and hold for the whole process."""
        read, inside = snapshot._read, list[bool]()

        def noting() -> snapshot.Snapshot:
            inside.append(connections["default"].in_atomic_block)
            return read()

        monkeypatch.setattr(snapshot, "_read", noting)
        for _ in range(2):
            snapshot.reset()
            snapshot.current()
            with transaction.atomic():
                snapshot.reset()
                snapshot.current()
        assert inside == [False] * 4
