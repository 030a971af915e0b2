"""The probe on real servers: what the site or a drain would trip over fails here first."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from sessionpersist.configuration import probing
from sessionpersist.stores import build_store, probe
from sessionpersist.stores.base import PLACE, Record, new_version, now_ms
from sessionpersist.stores.settings import DatabaseSettings, RedisSettings
from tests.servers import MariaDB, Postgres, Valkey, require, shared
from tests.servers.base import Server
from tests.servers.places import free_port
from tests.stores.databases import added_database
from tests.stores.places import mongo_store, redis_store

PASSWORD = "a-password-of-a-guest"
PROBES = 20
TABLE = "sessionpersist_storedsession"


@pytest.fixture(autouse=True)
def unblocked(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


def rows(alias: str) -> int:
    """How many records lie in the table of a database beside the id of the place, expired ones too."""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {TABLE} WHERE stored_key <> %s", [PLACE])  # noqa: S608 - a constant
        return int(cursor.fetchone()[0])


def failures(settings: RedisSettings | DatabaseSettings, **options: Any) -> list[str]:
    """The names of the steps that failed."""
    return [step.name for step in probing.probe(settings, **options) if not step.ok]


def on(server: Valkey, **changes: Any) -> RedisSettings:
    return replace(
        RedisSettings(host=server.host, port=server.port, username=server.username, password=server.password),
        **changes,
    )


class TestRightsOfARedisUser:
    # Whatever the store asks of a server on its way from a login to the end of a drain.
    COMMANDS = ("get", "set", "scan", "eval", "evalsha", "del", "setrange", "getrange", "strlen", "pexpire")

    @pytest.mark.parametrize("command", COMMANDS)
    def test_one_command_that_is_denied_fails(self, command: str) -> None:
        require(Valkey)
        server = shared(Valkey)
        with server.connect() as client:
            client.execute_command(
                "ACL", "SETUSER", "guest", "reset", "on", f">{PASSWORD}", "~*", "&*", "+@all"
            )
            client.execute_command("SCRIPT", "FLUSH")
            guest = on(server, username="guest", password=PASSWORD)
            assert failures(guest) == []
            client.execute_command("ACL", "SETUSER", "guest", f"-{command}")
            before = set(client.keys("*"))
            (step,) = [step for step in probing.probe(guest) if not step.ok]
            assert step.detail or step.message
            assert PASSWORD not in repr(step)
            if command in {"get", "scan", "eval", "evalsha", "set"}:
                assert set(client.keys("*")) <= before


class ClusterNode(Valkey):
    """One of two nodes that share the keys between them; ``bus`` is the port on which they talk to each other."""

    bus = 0

    def _command(self) -> list[str]:
        program, settings = super()._command()
        path = Path(settings)
        self.bus = free_port()
        cluster = f"cluster-enabled yes\ncluster-node-timeout 2000\ncluster-port {self.bus}\n"
        path.write_text(path.read_text() + cluster)
        return [program, settings]


@pytest.fixture(scope="module")
def half_of_a_cluster() -> Iterator[Valkey]:
    require(Valkey)
    with ClusterNode() as one, ClusterNode() as other:
        with one.connect() as first, other.connect() as second:
            first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
            second.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
            first.execute_command("CLUSTER", "MEET", other.host, other.port, other.bus)
            give_up = time.monotonic() + 20
            while b"cluster_state:ok" not in bytes(first.execute_command("CLUSTER", "INFO")):
                assert time.monotonic() < give_up
                time.sleep(0.05)
        yield one


def test_one_node_of_a_redis_cluster_fails_every_time(half_of_a_cluster: Valkey) -> None:
    settings = on(half_of_a_cluster)
    for _ in range(PROBES):
        (step,) = [step for step in probing.probe(settings) if not step.ok]
        assert "one node of a Cluster" in step.message


def test_a_store_with_very_many_sessions_is_probed_quickly() -> None:
    prefix, server = f"many-{secrets.token_hex(4)}", shared_valkey()
    store = redis_store(Valkey, prefix=prefix)
    kept = Record(b"payload", new_version(), now_ms(), now_ms() + 60_000)
    records = {secrets.token_hex(32): kept for _ in range(20_000)}
    store.create_many(records)
    with server.connect() as client:
        client.config_resetstat()
        assert [step.name for step in probe.run(store) if not step.ok] == []
        stats: dict[str, Any] = client.info("commandstats")
        assert stats["cmdstat_scan"]["calls"] <= 4
        assert stats["cmdstat_getrange"]["calls"] < len(records) / 10
    assert store.count() == len(records)
    store.delete_many(dict.fromkeys(records, kept.version))
    store.close()


def shared_valkey() -> Valkey:
    require(Valkey)
    return shared(Valkey)


@pytest.mark.parametrize(
    ("server", "statement"),
    [
        (MariaDB, "ALTER TABLE {table} MODIFY payload BLOB NOT NULL"),  # takes 65,535 bytes
        (Postgres, "ALTER TABLE {table} ADD CHECK (octet_length(payload) < 60000)"),
    ],
)
def test_a_table_that_takes_no_large_sessions_fails(server: type[Server], statement: str) -> None:
    require(server)
    name = f"probing_{secrets.token_hex(4)}"
    with added_database("narrow", shared(server).create_database(name)) as alias:  # type: ignore[attr-defined]
        settings = DatabaseSettings(database=alias)
        assert failures(settings, prepare=True) == []
        with connections[alias].cursor() as cursor:
            cursor.execute(statement.format(table=TABLE))
        assert failures(settings) == ["Write"]
        assert rows(alias) == 0


def test_a_mariadb_that_takes_only_small_statements_is_warned_of() -> None:
    require(MariaDB)
    server = shared(MariaDB)
    (usual,) = asked(server, "SELECT @@global.max_allowed_packet")

    def warnings() -> list[str]:
        name = f"packets_{secrets.token_hex(4)}"
        with added_database("packets", server.create_database(name)) as alias:
            steps = probing.probe(DatabaseSettings(database=alias), prepare=True)
        return [step.message for step in steps if step.warning]

    assert warnings() == []
    server._execute_as_admin("SET GLOBAL max_allowed_packet = 1048576")
    try:
        (warning,) = warnings()
    finally:
        server._execute_as_admin(f"SET GLOBAL max_allowed_packet = {usual}")
    assert "1,048,576" in warning
    assert "max_allowed_packet" in warning


def asked(server: MariaDB, statement: str) -> Any:
    connection = server.connect()
    with connection.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone()
    connection.close()
    return row


@pytest.mark.parametrize("verb", ["SELECT", "INSERT", "UPDATE", "DELETE"])
def test_a_postgresql_user_who_lacks_one_right_fails(verb: str) -> None:
    require(Postgres)
    server = shared(Postgres)
    name = f"rights_{secrets.token_hex(4)}"
    with added_database("owner", url := server.create_database(name)) as owner:
        build_store(DatabaseSettings(database=owner)).prepare()
        admin = server._connect_as_admin()
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        admin.close()
        with connections[owner].cursor() as cursor:
            cursor.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}")
            with added_database("guest", url, USER=name, PASSWORD=PASSWORD) as guest:
                assert failures(DatabaseSettings(database=guest)) == []
                cursor.execute(f"REVOKE {verb} ON {TABLE} FROM {name}")
                assert len(failures(DatabaseSettings(database=guest))) == 1
        assert rows(owner) == 0


def test_mongodb_is_left_without_a_trial_record() -> None:
    store = mongo_store(prefix=f"probing{secrets.token_hex(4)}")
    assert [step for step in probe.run(store, prepare=True) if not step.ok] == []
    assert store._sessions.count_documents({"_id": {"$regex": "^[0-9a-f]{64}$"}}) == 0
    store._sessions.drop()
    store.close()
