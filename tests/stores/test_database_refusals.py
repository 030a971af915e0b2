"""What a relational database refuses: told with the reason, no outage, and never the end of a login or of a batch."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction
from pytest_django import DjangoDbBlocker

from sessionpersist.exceptions import SessionTooLarge, StoreUnavailable
from sessionpersist.handover import moving
from sessionpersist.handover.carrying import Place
from sessionpersist.handover.driving import drive
from sessionpersist.stores.base import Outcome, Record, new_version, now_ms
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.memory import MemoryStore, shared_map
from sessionpersist.stores.settings import DatabaseSettings
from tests.handover.test_contract import SureView
from tests.handover.world import united
from tests.servers import MariaDB, Postgres, require, shared
from tests.stores.contract import MINUTE, a_key, a_record
from tests.stores.databases import added_database

MEGABYTE = 1 << 20
TABLE = "sessionpersist_storedsession"
FOREIGN_LETTERS = "ünï-\N{SNOWMAN}-\N{PILE OF POO}"


@pytest.fixture(autouse=True)
def unblocked(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@contextmanager
def new_database(server: type[Postgres | MariaDB], **changes: Any) -> Iterator[str]:
    require(server)
    url = shared(server).create_database(f"refusals_{secrets.token_hex(4)}")
    with added_database("refusals", url, **changes) as alias:
        yield alias


@pytest.fixture(params=["SQLite", "PostgreSQL", "MariaDB"])
def alias(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    servers: dict[str, type[Postgres | MariaDB]] = {"PostgreSQL": Postgres, "MariaDB": MariaDB}
    with ExitStack() as stack:
        if server := servers.get(request.param):
            yield stack.enter_context(new_database(server))
        else:
            yield stack.enter_context(added_database("refusals", f"sqlite:///{tmp_path}/refusals.sqlite3"))


@pytest.fixture
def store(alias: str) -> DatabaseStore:
    return store_of(alias)


def store_of(alias: str) -> DatabaseStore:
    store = DatabaseStore(DatabaseSettings(database=alias), timeout=5)
    store.prepare()
    return store


def execute(alias: str, *statements: str) -> None:
    with connections[alias].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


# The id of a user, which is for information only


@pytest.mark.parametrize("user_id", ["u" * 300, "ü" * 300, "7\0", "\ud800", None])
def test_no_id_of_a_user_refuses_a_login(store: DatabaseStore, user_id: Any) -> None:
    can_be_kept(store, a_record(user_id=user_id))


@contextmanager
def without_some_letters(how: str) -> Iterator[str]:
    if how == "a table in latin1":
        with new_database(MariaDB) as alias:
            store_of(alias)
            execute(alias, f"ALTER TABLE {TABLE} MODIFY user_id varchar(255) CHARACTER SET latin1 NOT NULL")
            yield alias
    elif how == "a connection in latin1":
        with new_database(MariaDB, OPTIONS={"charset": "latin1"}) as alias:
            yield alias
    else:
        require(Postgres)
        name, server = f"latin_{secrets.token_hex(4)}", shared(Postgres)
        with server._connect_as_admin() as admin:
            admin.autocommit = True
            admin.execute(
                f"CREATE DATABASE {name} OWNER {server.username} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
            )
        with added_database("refusals", server.url_for(name)) as alias:
            yield alias


@pytest.mark.parametrize("how", ["a table in latin1", "a connection in latin1", "a database in LATIN1"])
def test_letters_that_a_database_lacks_refuse_no_login_and_block_no_batch(how: str) -> None:
    with without_some_letters(how) as alias:
        store = store_of(alias)
        can_be_kept(store, a_record(user_id=FOREIGN_LETTERS))
        batch = {a_key(): a_record(user_id=user_id) for user_id in ("7", FOREIGN_LETTERS, "8")}
        assert store.create_many(batch) == batch.keys()


def can_be_kept(store: DatabaseStore, record: Record) -> None:
    key, first = a_key(), a_record()
    assert store.create(key, record)
    assert store.create(key, record) is False
    assert (found := store.get(key)) is not None
    assert found.payload == record.payload
    assert store.create(other := a_key(), first)
    assert store.replace(other, record, first.version) is Outcome.SAVED
    assert store.get(other) is not None


# Numbers


@pytest.mark.parametrize("kind", [float, Decimal])
def test_times_of_any_kind_of_number_are_kept_in_whole_milliseconds(
    store: DatabaseStore, kind: Any, tmp_path: Path
) -> None:
    memory = MemoryStore(tmp_path, "site", timeout=5)
    for each in (store, memory):
        key, now = a_key(), now_ms()
        odd = a_record()._replace(created_at=kind(now), expires_at=kind(now + MINUTE) + kind("0.5"))
        assert each.create(key, odd)
        assert each.get(key) == odd._replace(created_at=now, expires_at=now + MINUTE)
        assert each.replace(key, odd, odd.version) is Outcome.SAVED
        assert each.touch(key, kind(now + 2 * MINUTE) + kind("0.5"))
        assert (found := each.get(key)) is not None
        assert found.expires_at == now + 2 * MINUTE
        each.end(key, kind(now + MINUTE) + kind("0.5"))
        assert each.create_many({key: odd}) == set()
    memory.close()


def test_a_number_that_no_column_takes_says_nothing_against_the_store(store: DatabaseStore) -> None:
    guarded = GuardedStore(store, "the store")
    for _ in range(5):
        with pytest.raises(StoreUnavailable) as raised:
            guarded.create(a_key(), a_record()._replace(version=2**70))
        assert raised.value.answered
    assert guarded.create(a_key(), a_record())


# Size


@pytest.fixture
def small_packets() -> Iterator[str]:
    """MariaDB, with new connections that take a megabyte at a time."""
    with new_database(MariaDB) as alias:
        server = shared(MariaDB)
        server._execute_as_admin("SET GLOBAL max_allowed_packet = 1048576")
        try:
            yield alias
        finally:
            server._execute_as_admin("SET GLOBAL max_allowed_packet = 16777216")


@pytest.mark.parametrize("atomic", [False, True], ids=["by itself", "in a transaction"])
def test_a_session_larger_than_a_packet_of_the_server_is_too_large(small_packets: str, atomic: bool) -> None:
    store = store_of(small_packets)
    store.create(key := a_key(), record := a_record())
    large = a_record(secrets.token_bytes(3 * MEGABYTE))
    for write in (
        lambda: store.create(a_key(), large),
        lambda: store.replace(key, large, record.version),
    ):
        with (
            pytest.raises(SessionTooLarge, match="larger than"),
            transaction.atomic(using=small_packets) if atomic else nullcontext(),
        ):
            write()
        assert store.get(key) == record


def test_a_session_larger_than_a_packet_keeps_no_other_from_moving(small_packets: str) -> None:
    store = store_of(small_packets)
    small = {a_key(): a_record() for _ in range(3)}
    large = {a_key(): a_record(secrets.token_bytes(3 * MEGABYTE))}
    assert store.create_many({**small, **large}) == small.keys()


def test_sessions_that_are_too_large_together_are_moved_one_by_one(small_packets: str) -> None:
    store = store_of(small_packets)
    records = {a_key(): a_record(secrets.token_bytes(MEGABYTE // 3)) for _ in range(4)}
    assert store.create_many(records) == records.keys()


def test_a_session_too_large_for_the_new_store_is_read_in_the_old_one_and_holds_up_no_drain(
    small_packets: str, tmp_path: Path
) -> None:
    memory = MemoryStore(tmp_path, "site", timeout=5)
    small = {a_key(): of_revision(1, b"small") for _ in range(3)}
    large = {a_key(): of_revision(1, secrets.token_bytes(3 * MEGABYTE))}
    memory.create_many({**small, **large})
    source = Place(memory, 1, 0)
    view = SureView(Place(store_of(small_packets), 2, 0), [source])
    assert drive(moving.move(view, source, {**small, **large}, united), lambda: view) == len(small)
    [(key, record)] = large.items()
    assert drive(view.get(key), lambda: view) == record
    assert dict(memory.scan()) == large
    memory.close()


def of_revision(number: int, payload: bytes) -> Record:
    return a_record(payload)._replace(version=new_version(number))


# What the server says


TRIGGERS = {
    "PostgreSQL": (
        "CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION '{text}' USING ERRCODE = '{code}';"
        " END $$ LANGUAGE plpgsql",
        f"CREATE TRIGGER refuse BEFORE UPDATE ON {TABLE} FOR EACH ROW EXECUTE FUNCTION refuse()",
    ),
    "MariaDB": (
        f"CREATE TRIGGER refuse BEFORE UPDATE ON {TABLE} FOR EACH ROW"
        " SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = '{text}'",
    ),
}
SAID = [
    ("PostgreSQL", "53100", "is full"),
    ("PostgreSQL", "53200", "out of memory"),
    ("PostgreSQL", "42501", "does not allow this to its user: so it is said"),
    ("PostgreSQL", "57014", "gave this up"),
    ("PostgreSQL", "55P03", "gave this up"),
    ("PostgreSQL", "22003", "takes no such value"),
    ("PostgreSQL", "P0001", "failed: so it is said"),
    ("MariaDB", "1021", "is full"),
    ("MariaDB", "1114", "is full"),
    ("MariaDB", "1041", "out of memory"),
    ("MariaDB", "1142", "does not allow this to its user: so it is said"),
    ("MariaDB", "1205", "gave this up"),
    ("MariaDB", "1264", "takes no such value"),
    ("MariaDB", "1644", "failed: so it is said"),
]


@pytest.mark.parametrize(("alias", "code", "sentence"), SAID, indirect=["alias"])
def test_what_the_server_refuses_is_told_and_is_no_outage(
    alias: str, code: str, sentence: str, request: pytest.FixtureRequest
) -> None:
    store = store_of(alias)
    refuse(alias, code, "so it is said")
    store.create(key := a_key(), record := a_record())
    guarded = GuardedStore(store, "the store")
    for _ in range(5):
        with pytest.raises(StoreUnavailable, match=sentence) as raised:
            guarded.replace(key, a_record(), record.version)
        assert raised.value.answered
        assert guarded.get(key) == record


@pytest.mark.parametrize("alias", ["PostgreSQL", "MariaDB"], indirect=True)
def test_what_the_server_says_is_one_line_without_secrets(
    alias: str, caplog: pytest.LogCaptureFixture
) -> None:
    store, key, record = store_of(alias), a_key(), a_record()
    password, code = connections[alias].settings_dict["PASSWORD"], "1644"
    if connections[alias].vendor == "postgresql":
        password, code = password.replace("%", "%%"), "P0001"
    refuse(alias, code, f"\x1b]0;title\x07 line\n{key[:32]} {password}")
    store.create(key, record)
    with caplog.at_level(logging.ERROR), pytest.raises(StoreUnavailable) as raised:
        GuardedStore(store, "the store").replace(key, a_record(), record.version)
    for text in (str(raised.value), caplog.text.rstrip("\n")):
        assert connections[alias].settings_dict["PASSWORD"] not in text
    assert str(raised.value).isprintable()
    assert "title" in str(raised.value)


def test_what_the_server_says_in_another_character_set_is_told() -> None:
    """mysqlclient leaves a hole in its error there, and who read it died of it."""
    with new_database(MariaDB, OPTIONS={"charset": "latin1"}) as alias:
        store, key, record = store_of(alias), a_key(), a_record()
        refuse(alias, "1644", "Größe")
        store.create(key, record)
        with pytest.raises(StoreUnavailable, match="failed"):
            store.replace(key, a_record(), record.version)


def test_a_stored_key_that_the_server_quotes_reaches_no_text_and_no_cause() -> None:
    with new_database(Postgres) as alias:
        store, key, record = store_of(alias), a_key(), a_record()
        refuse(alias, "P0001", key)
        store.create(key, record)
        with pytest.raises(StoreUnavailable) as raised:
            store.replace(key, a_record(), record.version)
        assert key not in f"{raised.value} {raised.value.__cause__}"


def refuse(alias: str, code: str, text: str) -> None:
    """Have the server refuse updates with this error."""
    title = {"postgresql": "PostgreSQL", "mysql": "MariaDB"}[connections[alias].vendor]
    statements = [each.format(code=code, text=text[:120]) for each in TRIGGERS[title]]
    with connections[alias].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def test_a_disk_that_is_full_is_told_and_reads_go_on(tmp_path: Path) -> None:
    with added_database("refusals", f"sqlite:///{tmp_path}/full.sqlite3") as alias:
        store = store_of(alias)
        store.create(key := a_key(), record := a_record())
        execute(alias, "PRAGMA max_page_count = 1")  # SQLite takes the present size for it
        guarded = GuardedStore(store, "the store")
        for _ in range(5):
            with pytest.raises(StoreUnavailable, match="is full") as raised:
                guarded.create(a_key(), a_record(bytes(MEGABYTE)))
            assert raised.value.answered
            assert guarded.get(key) == record


def test_a_memory_that_is_full_is_told_and_reads_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_map, "MAP_BYTES", shared_map.RESERVE + MEGABYTE)
    store = MemoryStore(tmp_path, "site", timeout=5)
    store.create(key := a_key(), record := a_record())
    guarded = GuardedStore(store, "the store")
    for _ in range(5):
        with pytest.raises(StoreUnavailable, match="is full") as raised:
            guarded.create(a_key(), a_record(bytes(MEGABYTE)))
        assert raised.value.answered
        assert guarded.get(key) == record
    store.close()


def test_a_locked_file_is_told_as_that(tmp_path: Path) -> None:
    path = tmp_path / "locked.sqlite3"
    with added_database("refusals", f"sqlite:///{path}", OPTIONS={"timeout": 0.1}) as alias:
        store = store_of(alias)
        store.get(a_key())
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            store.create(a_key(), a_record())
        other.close()


# Connections


@pytest.mark.parametrize("server", [Postgres, MariaDB])
def test_too_many_connections_are_a_refusal_and_no_outage(server: type[Postgres | MariaDB]) -> None:
    """As with PgBouncer's limit: six refusals became 354, for the breaker took them for an outage."""
    with new_database(server) as alias, limited(server, 1) as user:
        connections[alias].settings_dict.update(USER=user, PASSWORD="crowded")
        store = GuardedStore(DatabaseStore(DatabaseSettings(database=alias), timeout=5), "the store")
        connections[alias].ensure_connection()
        other = connections.create_connection(alias)
        connections[alias].connection, kept = None, connections[alias].connection
        for _ in range(6):
            with pytest.raises(StoreUnavailable, match="as many connections as it allows") as raised:
                store.get(a_key())
            assert raised.value.answered
        connections[alias].connection = kept
        other.close()
        assert store.breaker.healthy


@contextmanager
def limited(server: type[Postgres | MariaDB], connections_allowed: int) -> Iterator[str]:
    """A user of that many connections."""
    name, running = f"crowd_{secrets.token_hex(4)}", shared(server)
    if isinstance(running, Postgres):
        with running._connect_as_admin() as admin:
            admin.execute(
                f"CREATE ROLE {name} LOGIN PASSWORD 'crowded' CONNECTION LIMIT {connections_allowed}"
            )
    else:
        assert isinstance(running, MariaDB)
        running._execute_as_admin(
            f"CREATE USER {name}@'%' IDENTIFIED BY 'crowded' WITH MAX_USER_CONNECTIONS {connections_allowed}"
        )
        running._execute_as_admin(f"GRANT ALL ON *.* TO {name}@'%'")
    yield name


def test_a_server_that_is_shutting_down_is_told_as_that() -> None:
    require(Postgres)
    with Postgres() as server, added_database("refusals", server.url) as alias:
        lingering = server.connect()
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGTERM)  # it waits until the last one has left
        store = DatabaseStore(DatabaseSettings(database=alias), timeout=5)
        assert not eventually_refused(store).answered
        lingering.close()


def eventually_refused(store: DatabaseStore) -> StoreUnavailable:
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        connections[store.alias].close()
        try:
            store.get(a_key())
        except StoreUnavailable as error:
            assert "starting up, or shutting down" in str(error)  # noqa: PT017 - the first that comes
            return error
    pytest.fail("The server goes on.")
