"""What goes wrong is told in one kind of exception, on the field that is wrong, and without a secret."""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import sys
import traceback
import types
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from pprint import pformat
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connections, transaction
from pytest_django import DjangoDbBlocker

from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores import build_store, probe
from sessionpersist.stores.base import Outcome, Probed, now_ms
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.mongodb.store import MongoStore
from sessionpersist.stores.redis.store import RedisStore
from sessionpersist.stores.secret import Secret
from sessionpersist.stores.settings import DatabaseSettings, MongoSettings, RedisSettings, StoreSettings
from sessionpersist.stores.texts import harmless
from tests.servers import MariaDB, MongoDB, Postgres, Redis, Server, Valkey, require, shared
from tests.servers.places import free_port
from tests.stores.contract import a_key, a_record
from tests.stores.databases import added_database
from tests.stores.fake import commands, mongo_that_answers, redis_that_answers, serving
from tests.stores.places import mongo_store, redis_store

SECRET = "s3cret-that-no-text-may-show@:/%"
NOTHING_FOUND = {"ok": 1.0, "cursor": {"id": 0, "ns": "db.c", "firstBatch": []}}
NO_SUCH_HOST = "no-such-host.invalid"  # RFC 6761: never resolves


@pytest.fixture(autouse=True)
def unblocked(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


def failed(store: Probed, *secret: str) -> str | None:
    """The field that the probe blames. A read must fail as well, and no text may hold a secret."""
    with pytest.raises(StoreUnavailable) as raised:
        store.get(a_key())
    step = next(step for step in probe.run(store) if not step.ok)
    store.close()
    shown = "".join(traceback.format_exception(raised.value))
    shown += f"{raised.value!r} {raised.value.args} {raised.value.__cause__!r} {step}"
    for each in (SECRET, *secret):
        assert each not in shown
    return step.field


def port_of(server: type[Server]) -> int:
    require(server)
    return shared(server).port


class TestRedis:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"host": NO_SUCH_HOST}, "host"),
            ({"password": SECRET}, "password"),
            ({"password": ""}, "password"),
            ({"username": "nobody", "password": SECRET}, "password"),
            ({"database": 99}, "database"),
            ({"database": -1}, "database"),
            ({"tls": True}, "tls"),
        ],
        ids=str,
    )
    def test_the_wrong_field_is_named(self, changes: dict[str, Any], field: str) -> None:
        store = redis_store(Valkey)
        changed = {**changes}
        password = changed.pop("password", store._credentials.now().password)
        wrong = (
            redis_store(Valkey, password=password, **changed) if "tls" not in changed else _with_tls(store)
        )
        assert failed(wrong, store._credentials.now().password) == field

    def test_a_password_that_is_missing_is_not_called_wrong(self) -> None:
        with pytest.raises(StoreUnavailable, match="REDIS wants a password"):
            redis_store(Valkey, password="").get(a_key())

    def test_a_closed_port_is_named(self) -> None:
        assert failed(redis_store(Valkey, port=free_port())) == "port"

    @pytest.mark.parametrize("other", [Postgres, MongoDB, MariaDB])
    def test_the_port_of_another_service_is_named(self, other: type[Server]) -> None:
        assert failed(redis_store(Valkey, port=port_of(other), timeout=0.5)) == "port"

    def test_a_server_that_wants_tls_is_named(self) -> None:
        require(Redis, tls=True)
        server = shared(Redis, tls=True)
        settings = RedisSettings(host=server.host, port=server.port)
        assert failed(type(redis_store(Valkey))(settings, server.password, 0.5, "tests")) == "tls"

    def test_a_certificate_that_is_not_trusted_is_named(self) -> None:
        right = redis_store(Redis, tls=True)
        wrong = type(right)(right.settings, right._credentials.now().password, 1, "tests")
        assert failed(wrong) == "tls"

    def test_tls_works(self) -> None:
        store = redis_store(Redis, tls=True)
        assert [step for step in probe.run(store) if not step.ok] == []
        store.close()

    @pytest.mark.parametrize("server", [Valkey, Redis])
    @pytest.mark.parametrize(
        ("rights", "said"),
        [
            ("+ping +client", "the command"),
            ("~* +@all -getrange -evalsha", "the command (GETRANGE|EVALSHA)"),
            ("~elsewhere:* +@all", "the keys"),
        ],
    )
    def test_what_a_user_may_not_do_is_told(self, server: type[Redis], rights: str, said: str) -> None:
        require(server)
        name = f"guest-{a_key()[:8]}"
        with shared(server).connect() as client:
            client.execute_command("ACL", "SETUSER", name, "on", f">{SECRET}", *rights.split())
        store = redis_store(server, username=name, password=SECRET)
        for verb in (lambda: store.get(a_key()), lambda: store.touch(a_key(), now_ms())):
            with pytest.raises(StoreUnavailable, match=said) as raised:
                verb()
            assert raised.value.answered
        assert failed(store) == "username"

    @pytest.mark.parametrize("server", [Valkey, Redis])
    @pytest.mark.parametrize(("right", "said"), [("-getrange", "command"), ("-strlen", "command")])
    def test_what_a_user_may_not_do_inside_a_script_is_told(
        self, server: type[Redis], right: str, said: str
    ) -> None:
        require(server)
        name = f"guest-{a_key()[:8]}"
        with shared(server).connect() as client:
            client.execute_command("ACL", "SETUSER", name, "on", f">{SECRET}", "~*", "+@all", right)
        store, key = redis_store(server, username=name, password=SECRET), a_key()
        store.create(key, a_record(bytes(5_000)))  # of a short one STRLEN tells nothing new
        with pytest.raises(StoreUnavailable, match=said) as raised:
            store.touch(key, now_ms())
        assert (raised.value.field, raised.value.answered) == ("username", True)
        store.close()


class TestRepliesOfRedis:
    """What a server says becomes a sentence, on a field, and it is told apart whether it refuses one request or all."""

    @pytest.fixture(params=[Valkey, Redis])
    def server(self, request: pytest.FixtureRequest) -> Iterator[Redis]:
        require(request.param)
        with request.param() as server:
            yield server

    @staticmethod
    def told(store: Probed, verb: str = "create") -> tuple[str, str | None, bool]:
        with pytest.raises(StoreUnavailable) as raised:
            store.create(a_key(), a_record()) if verb == "create" else store.get(a_key())
        store.close()
        assert raised.value.__context__ is None or raised.value.__suppress_context__
        return str(raised.value), raised.value.field, raised.value.answered

    @pytest.mark.parametrize(
        ("setting", "value", "said"),
        [("maxmemory", "1mb", "memory .* is full"), ("min-replicas-to-write", "1", "too few replicas")],
    )
    def test_a_server_that_takes_no_more_data_still_answers(
        self, server: Redis, setting: str, value: str, said: str
    ) -> None:
        store = on(server)
        store.create(held := a_key(), record := a_record())
        with server.connect() as client:
            client.config_set(setting, value)
            for verb in (
                lambda: store.create(a_key(), a_record()),
                lambda: store.replace(held, a_record(), record.version),
            ):
                with pytest.raises(StoreUnavailable, match=said) as raised:
                    verb()
                assert raised.value.answered
            assert store.get(held) == record
            client.config_set(setting, "0")
        assert store.replace(held, a_record(), record.version) is Outcome.SAVED
        store.close()

    def test_a_server_with_too_many_clients_is_told(self, server: Redis) -> None:
        with server.connect() as client:
            client.config_set("maxclients", "1")
            assert self.told(on(server)) == (
                "This REDIS server has as many clients as it allows.",
                None,
                True,
            )

    def test_a_replica_that_has_lost_its_primary_is_told(self, server: Redis) -> None:
        with server.connect() as client:
            client.replicaof("127.0.0.1", 1)
            client.config_set("replica-serve-stale-data", "no")
            said, field, answered = self.told(on(server), "get")
        assert "lost its primary" in said
        assert (field, answered) == ("host", False)

    @pytest.mark.parametrize("kind", [Valkey, Redis])
    def test_a_node_of_a_cluster_is_told_on_every_press(self, kind: type[Redis]) -> None:
        require(kind)

        class Node(kind):  # type: ignore[misc, valid-type] # a class that a parameter gives
            def _command(self) -> list[str]:
                return [*super()._command(), "--cluster-enabled", "yes", "--cluster-port", str(free_port())]

        with Node() as server, server.connect() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16000)
            store = on(server)
            step = next(step for step in probe.run(store) if not step.ok)
            assert "one node of a Cluster" in step.message
            assert (step.name, step.field) == ("Kind of server", "host")
            store.close()

    def test_a_sentinel_is_told(self) -> None:
        require(Redis)

        class Sentinel(Redis):
            def _command(self) -> list[str]:
                text = f'port {self.port}\nbind 127.0.0.1\nrequirepass "{self.password}"\n'
                return [
                    str(self.find_program()),
                    str(self._write_private("sentinel.conf", text)),
                    "--sentinel",
                ]

        with Sentinel() as server:
            said, field, answered = self.told(on(server))
            assert "does not know the command SET" in said
            assert "Sentinel" in said
            assert (field, answered) == ("port", True)
            store = on(server)
            step = next(step for step in probe.run(store) if not step.ok)
            assert "This is a Sentinel" in step.message
            assert (step.name, step.field) == ("Kind of server", "port")
            store.close()

    def test_a_command_that_was_turned_off_is_told(self) -> None:
        require(Redis)

        class Crippled(Redis):
            def _command(self) -> list[str]:
                return [*super()._command(), "--rename-command", "EVALSHA", ""]

        with Crippled() as server:
            store = on(server)
            with pytest.raises(StoreUnavailable, match=r"command EVALSHA.* turned off") as raised:
                store.touch(key := a_key(), now_ms())
            assert key not in f"{raised.value} {raised.value.__cause__}"
            store.close()

    @pytest.mark.parametrize(
        ("reply", "said", "field", "answered"),
        [
            ("LOADING Redis is loading the dataset in memory", "still reading its data", None, False),
            ("BUSY Redis is busy running a script.", "busy with a script", None, False),
            ("MISCONF Redis is configured to save RDB snapshots, but", "can't write to its disk", None, True),
            ("CLUSTERDOWN Hash slot not served", "Cluster .* is down", "host", False),
            ("MOVED 3999 127.0.0.1:6381", "one node of a Cluster", "host", True),
            ("ASK 3999 127.0.0.1:6381", "one node of a Cluster", "host", True),
            ("CROSSSLOT Keys in request don't hash to the same slot", "one node of a Cluster", "host", True),
            ("TRYAGAIN Multiple keys request during rehashing", "one node of a Cluster", "host", True),
            ("DENIED Redis is running in protected mode", "protected mode", "host", True),
            ("READONLY You can't write against a read only replica.", "replica", "host", False),
            (
                "ERR Error running script (call to f_1): @user_script:8: -OOM command not allowed when used memory",
                "is full",
                None,
                True,
            ),
            ("ERR something \x1b[31mnew", "refused: “something \\[31mnew”", None, True),
            (f"NEW because of {SECRET} and more", "NEW because of … and more", None, True),
            ("", "refused", None, True),
        ],
    )
    def test_other_replies_are_told(self, reply: str, said: str, field: str | None, answered: bool) -> None:
        with serving(redis_that_answers(f"-{reply}\r\n".encode())) as port:
            store = RedisStore(RedisSettings(host="127.0.0.1", port=port), SECRET, 10, "tests")
            with pytest.raises(StoreUnavailable, match=said) as raised:
                store.create(a_key(), a_record())
            store.close()
        assert (raised.value.field, raised.value.answered) == (field, answered)
        assert SECRET not in "".join(traceback.format_exception(raised.value))

    def test_a_password_that_the_server_does_not_want_is_told(self) -> None:
        said = b"-ERR AUTH <password> called without any password configured for the default user.\r\n"

        def talk(caller: socket.socket) -> None:
            for _ in commands(caller):
                caller.sendall(said)

        with serving(talk) as port:
            store = RedisStore(RedisSettings(host="127.0.0.1", port=port), SECRET, 2, "tests")
            assert self.told(store)[:2] == (
                "This REDIS server has no password: leave the field empty.",
                "password",
            )

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"host": "a" * 64 + ".example"}, "host"),
            ({"host": "no..such"}, "host"),
            ({"host": "nul\0byte"}, "host"),
            ({"host": "[half"}, "host"),
            ({"password": "lone \udc80"}, "password"),
            ({"username": "ünï\N{PILE OF POO}", "password": SECRET}, "password"),
        ],
        ids=ascii,
    )
    def test_whatever_the_driver_raises_is_translated(
        self, changes: dict[str, Any], field: str | None
    ) -> None:
        assert failed(redis_store(Valkey, timeout=1, **changes)) == field


def on(server: Redis) -> RedisStore:
    settings = RedisSettings(host=server.host, port=server.port, username=server.username)
    return RedisStore(settings, server.password, 2, "tests")


class TestMongo:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"host": NO_SUCH_HOST}, "host"),
            ({"password": SECRET}, "password"),
            ({"username": "nobody", "password": SECRET}, "password"),
            ({"username": ""}, "username"),
            ({"database": "not_ours"}, "database"),
            ({"database": "no good name"}, "database"),
            ({"database": ""}, "database"),
        ],
        ids=str,
    )
    def test_the_wrong_field_is_named(self, changes: dict[str, Any], field: str) -> None:
        assert failed(mongo_store(timeout=0.5, **changes)) == field

    def test_where_the_user_was_looked_for_is_told(self) -> None:
        store = mongo_store(timeout=0.5, auth_source="elsewhere")
        with pytest.raises(StoreUnavailable, match="user in the database “elsewhere”"):
            store.get(a_key())
        store.close()

    def test_a_closed_port_is_named(self) -> None:
        assert failed(mongo_store(port=free_port(), timeout=0.5)) == "port"

    @pytest.mark.parametrize("other", [Postgres, Valkey, MariaDB])
    def test_the_port_of_another_service_is_named(self, other: type[Server]) -> None:
        assert failed(mongo_store(port=port_of(other), timeout=0.5)) == "port"

    def test_tls_against_a_plain_server_is_named(self) -> None:
        store = mongo_store()
        settings = {**vars(store.settings), "tls": True}
        password = shared(MongoDB).password
        assert failed(type(store)(MongoSettings(**settings), password, 0.5, "tests")) == "tls"

    @pytest.mark.xdist_group("tls")
    def test_a_server_that_wants_tls_is_named(self) -> None:
        store = mongo_store(tls=True)
        settings = {**vars(store.settings), "tls": False}
        password = shared(MongoDB, tls=True).password
        assert failed(type(store)(MongoSettings(**settings), password, 0.5, "tests")) == "tls"

    @pytest.mark.xdist_group("tls")
    def test_tls_works(self) -> None:
        store = mongo_store(tls=True)
        assert [step for step in probe.run(store, prepare=True) if not step.ok] == []
        store.close()

    @pytest.mark.parametrize(
        "password",
        [
            "emoji \N{PILE OF POO}",
            "a\ttab",
            "soft\N{SOFT HYPHEN}hyphen",
            "nul\0",
            "lone \udc80",
            "א1",
            "\N{SOFT HYPHEN}",
        ],
        ids=ascii,
    )
    def test_a_password_of_any_characters_is_refused_on_its_field(self, password: str) -> None:
        assert failed(mongo_store(timeout=0.5, password=password), password) == "password"

    @pytest.mark.parametrize("name", ["ünï\N{PILE OF POO}", "a,b=c", "lone \udc80"], ids=ascii)
    def test_a_user_name_of_any_characters_is_refused_on_the_login(self, name: str) -> None:
        assert failed(mongo_store(timeout=0.5, username=name, password=SECRET)) == "password"

    @pytest.mark.parametrize("host", ["::1", "fe80::1", "a" * 64 + ".example", "no..such", "[half", "x.sock"])
    def test_whatever_the_driver_says_of_a_host_is_translated(self, host: str) -> None:
        store = mongo_store(timeout=0.5, host=host)
        with pytest.raises(StoreUnavailable) as raised:
            store.get(a_key())
        assert raised.value.field in {"host", "port"}
        store.close()

    def test_ipv6_leads_to_the_server(self) -> None:
        with serving(mongo_that_answers(lambda number, command: NOTHING_FOUND), "::1") as port:
            store = MongoStore(MongoSettings(database="db", host="::1", port=port), "", 2, "tests")
            assert store.get(a_key()) is None
            store.close()

    def test_a_database_whose_name_differs_in_its_case_is_told(self) -> None:
        server = shared(MongoDB)
        right = mongo_store()
        right.prepare()
        right.close()
        admin = {"username": server.admin_username, "password": server.admin_password, "auth_source": "admin"}
        changes: dict[str, Any] = {**admin, "database": server.database.upper()}
        store = mongo_store(**changes)
        with pytest.raises(StoreUnavailable, match=r"differs from .* in capital letters only") as raised:
            store.create(a_key(), a_record())
        assert (raised.value.field, raised.value.answered) == ("database", True)
        store.close()

    @pytest.mark.parametrize("prefix", ["$shop", "../shop", "a\0b"])
    def test_a_prefix_that_begins_no_name_of_a_collection_is_told(self, prefix: str) -> None:
        store = mongo_store(prefix=prefix)
        for ask in (lambda: store.get(a_key()), lambda: store.create(a_key(), a_record())):
            with pytest.raises(StoreMisconfigured, match="KEY_PREFIX must not contain"):
                ask()
        store.close()

    def test_a_user_without_rights_is_refused_and_no_outage(self) -> None:
        store = mongo_store(database="not_ours")
        with pytest.raises(StoreUnavailable) as raised:
            store.get(a_key())
        assert (raised.value.field, raised.value.answered) == ("database", True)
        store.close()

    @pytest.mark.parametrize(
        ("reply", "said", "answered"),
        [
            ({"ok": 1, "n": 1, "writeConcernError": {"code": 64, "errmsg": "waiting"}}, "could not confirm", True),
            ({"ok": 0, "code": 14031, "errmsg": "no space"}, "disk .* is full", True),
            ({"ok": 0, "code": 91, "errmsg": "shutting down"}, "shutting down|not the primary|lost", False),
            ({"ok": 0, "code": 10107, "errmsg": "not primary"}, "not the primary", False),
            ({"ok": 0, "code": 50, "errmsg": "exceeded time limit"}, "in time", False),
            ({"ok": 0, "code": 4711, "errmsg": "odd\x1b \nthing"}, "refused: “odd thing”", True),
            ({"ok": 0, "code": 4711, "errmsg": f"not with {SECRET}"}, "refused: “not with …”", True),
            ({"ok": 0}, "no MONGODB server gives", False),
            ({"n": 0, "ok": 1, "writeErrors": [{"index": 0, "code": 8000, "errmsg": "you are over your quota"}]},
             "refused: “you are over your quota”", True),
        ],
    )  # fmt: skip
    def test_replies_are_told(self, reply: dict[str, Any], said: str, answered: bool) -> None:
        with serving(mongo_that_answers(lambda number, command: reply)) as port:
            store = MongoStore(MongoSettings(database="db", host="127.0.0.1", port=port), SECRET, 1, "tests")
            store._prepared = True
            with pytest.raises(StoreUnavailable, match=said) as raised:
                store.create(a_key(), a_record())
            store.close()
        assert raised.value.answered is answered
        assert SECRET not in "".join(traceback.format_exception(raised.value))


class TestFrames:
    """What a report about a crash shows: every variable of every frame."""

    @pytest.mark.parametrize(
        ("store", "settings"),
        [
            (RedisStore, RedisSettings(host="user:pass@host")),
            (RedisStore, RedisSettings(host=NO_SUCH_HOST)),
            (MongoStore, MongoSettings(database="db", host="user:pass@host")),
            (MongoStore, MongoSettings(database="db", host=NO_SUCH_HOST, username="app")),
            (MongoStore, MongoSettings(database="no good name", host="127.0.0.1")),
        ],
    )
    def test_no_frame_shows_the_password(self, store: Any, settings: Any) -> None:
        with (
            pytest.raises(StoreUnavailable) as raised,
            closing(store(settings, Secret(SECRET), 0.5, "t")) as made,
        ):
            made.get(a_key())
        assert SECRET not in self.shown(raised.value)

    @pytest.mark.parametrize("server", [Valkey, MongoDB])
    def test_nor_does_one_of_a_login_that_is_refused(self, server: type[Server]) -> None:
        require(server)
        password = Secret(SECRET)
        wrong: Probed = (
            mongo_store(password=password) if server is MongoDB else redis_store(Valkey, password=password)
        )
        with pytest.raises(StoreUnavailable) as raised:
            wrong.get(a_key())
        wrong.close()
        assert SECRET not in self.shown(raised.value)

    def test_a_secret_is_sent_as_it_is(self) -> None:
        require(Valkey)
        store = redis_store(Valkey, password=Secret(shared(Valkey).password))
        assert store.get(a_key()) is None
        assert SECRET not in f"{Secret(SECRET)!r} {[Secret(SECRET)]}"
        store.close()

    @staticmethod
    def shown(error: BaseException) -> str:
        """As Django's page about an error: what a cause has been told for, and not what was passed over for it."""
        shown, link = "", error
        while True:
            frames = [frame for frame, _ in traceback.walk_tb(link.__traceback__)]
            ours = [frame for frame in frames if frame.f_code.co_filename != __file__]
            shown += "".join(pformat(frame.f_locals) for frame in ours) + repr(link.args)
            following = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
            if following is None:
                return shown
            link = following


class TestDatabase:
    @pytest.mark.parametrize("server", [Postgres, MariaDB])
    @pytest.mark.parametrize(
        "changes",
        [
            {"HOST": NO_SUCH_HOST},
            {"PASSWORD": SECRET},
            {"USER": "nobody"},
            {"NAME": "no_such_database"},
            {"PORT": "closed"},
            {"PORT": "other"},
        ],
        ids=str,
    )
    def test_the_database_is_named(self, server: type[Server], changes: dict[str, str]) -> None:
        require(server)
        if "PORT" in changes:
            changes = {"PORT": str(free_port() if changes["PORT"] == "closed" else port_of(Valkey))}
        with added_database("wrong", shared(server).url, **changes) as alias:
            assert failed(jdbc(alias, timeout=0.5), shared(server).password) == "database"

    @pytest.mark.parametrize("server", [Postgres, MariaDB])
    def test_a_login_that_is_refused_is_told_as_that(self, server: type[Server]) -> None:
        require(server)
        refused = pytest.raises(StoreUnavailable, match="refused the user name or the password")
        with added_database("wrong", shared(server).url, PASSWORD=SECRET) as alias, refused:
            jdbc(alias).get(a_key())

    def test_an_unknown_alias_is_named(self) -> None:
        with pytest.raises(StoreMisconfigured, match="no_such_alias") as raised:
            build_store(DatabaseSettings(database="no_such_alias"))
        assert raised.value.field == "database"

    def test_an_alias_that_is_gone_is_an_outage(self, tmp_path: Path) -> None:
        with added_database("gone", f"sqlite:///{tmp_path}/gone.sqlite3") as alias:
            store = jdbc(alias)
        with pytest.raises(StoreMisconfigured, match="gone"):
            store.get(a_key())

    def test_a_driver_that_is_missing_is_named_with_what_to_install(self) -> None:
        connections.settings["odd"] = {**connections.settings["default"], "ENGINE": "no.such.backend"}
        try:
            with pytest.raises(StoreMisconfigured, match="Install psycopg"):
                jdbc("odd")
        finally:
            del connections.settings["odd"]

    def test_a_missing_psycopg_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Django would name psycopg2, too, which nobody should install any more."""
        monkeypatch.delitem(sys.modules, "django.db.backends.postgresql.base", raising=False)
        monkeypatch.setitem(sys.modules, "psycopg", None)
        monkeypatch.setitem(sys.modules, "psycopg2", None)
        config = {**connections.settings["default"], "ENGINE": "django.db.backends.postgresql"}
        monkeypatch.setitem(connections.settings, "undriven", config)
        with pytest.raises(StoreMisconfigured) as raised:
            jdbc("undriven")
        assert str(raised.value) == (
            "The driver of the database “undriven” can't be loaded on this node. "
            "Install psycopg: pip install 'psycopg[binary]'"
        )

    def test_a_read_only_sqlite_file_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "read_only.sqlite3"
        sqlite3.connect(path).close()
        with added_database("read_only", f"sqlite:///{path}?mode=ro") as alias:
            self._is_read_only(alias)

    def test_a_read_only_postgresql_is_told(self) -> None:
        require(Postgres)
        options = {"OPTIONS": {"options": "-c default_transaction_read_only=on"}}
        with added_database("read_only", shared(Postgres).url, **options) as alias:
            self._is_read_only(alias)

    def test_a_read_only_mariadb_is_told(self) -> None:
        require(MariaDB)
        server = shared(MariaDB)
        with added_database("read_only", server.url) as alias:
            server._execute_as_admin("SET GLOBAL read_only = 1")
            try:
                self._is_read_only(alias)
            finally:
                server._execute_as_admin("SET GLOBAL read_only = 0")

    def test_a_busy_sqlite_file_is_not_called_read_only(self, tmp_path: Path) -> None:
        path = tmp_path / "busy.sqlite3"
        with added_database("busy", f"sqlite:///{path}", OPTIONS={"timeout": 0.1}) as alias:
            store = jdbc(alias)
            store.prepare()
            writer = sqlite3.connect(path, isolation_level=None)
            writer.execute("BEGIN IMMEDIATE")
            try:
                step = next(step for step in probe.run(store) if not step.ok)
            finally:
                writer.close()
            assert "read-only" not in step.message
            assert all(step.ok for step in probe.run(store))

    def _is_read_only(self, alias: str) -> None:
        store = jdbc(alias)
        step = next(step for step in probe.run(store, prepare=True) if not step.ok)
        assert (step.name, step.field) == ("Permission to write", "database")
        assert "read-only" in step.message
        with pytest.raises(StoreUnavailable) as raised:
            store.create(a_key(), a_record())
        assert raised.value.field == "database"
        assert "read-only" in str(raised.value)


class TestSettings:
    @pytest.mark.parametrize("settings", [RedisSettings, MongoSettings])
    @pytest.mark.parametrize(
        ("wrong", "field"),
        [
            ({"host": ""}, "host"),
            ({"host": f"redis://user:{SECRET}@host"}, "host"),
            ({"host": f"user:{SECRET}@host"}, "host"),
            ({"host": "host", "port": 0}, "port"),
            ({"host": "host", "port": 70_000}, "port"),
        ],
        ids=["none", "url", "login", "port 0", "port 70000"],
    )
    def test_an_address_that_cannot_be_one_is_refused(
        self, settings: Any, wrong: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(StoreMisconfigured) as raised:
            build_store(settings(**wrong))
        assert raised.value.field == field
        assert SECRET not in str(raised.value)

    def test_a_mongodb_user_without_a_password_is_refused(self) -> None:
        with pytest.raises(StoreMisconfigured) as raised:
            build_store(MongoSettings(host="host", username="app"))
        assert raised.value.field == "password"


class TestTables:
    """What JDBC makes in a database."""

    @pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
    def alias(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
        name = f"tables_{secrets.token_hex(4)}"
        servers: dict[str, type[Postgres | MariaDB]] = {"postgresql": Postgres, "mariadb": MariaDB}
        if request.param in servers:
            require(servers[request.param])
            url = shared(servers[request.param]).create_database(name)
        else:
            url = f"sqlite:///{tmp_path}/tables.sqlite3"
        with added_database("tables", url) as alias:
            yield alias

    def test_a_missing_table_is_told_by_a_probe_and_made_by_saving(self, alias: str) -> None:
        store = jdbc(alias)
        steps = probe.run(store)
        assert all(step.ok for step in steps)
        assert "missing" in next(step.message for step in steps if step.name == "Works")
        assert "Delete many" in {step.name for step in steps}  # tried beforehand, without leaving anything
        assert store.missing() is not None
        assert [step for step in probe.run(store, prepare=True) if not step.ok] == []
        assert store.missing() is None

    def test_the_first_session_makes_the_table(self, alias: str) -> None:
        assert jdbc(alias).create(a_key(), a_record()) is True

    def test_a_table_without_its_index_gets_it(self, alias: str) -> None:
        """As MySQL leaves it when a failure comes between the two."""
        store = jdbc(alias)
        store.prepare()
        index = "sessionpersist_expires_at"
        on = " ON sessionpersist_storedsession" if connections[alias].vendor == "mysql" else ""
        with connections[alias].cursor() as cursor:
            cursor.execute(f"DROP INDEX {index}{on}")
        assert store.missing() is not None
        store.prepare()
        assert store.missing() is None

    def test_a_table_that_is_dropped_is_made_again(self, alias: str) -> None:
        store = jdbc(alias)
        store.create(a_key(), a_record())
        with connections[alias].cursor() as cursor:
            cursor.execute("DROP TABLE sessionpersist_storedsession")
        with pytest.raises(StoreUnavailable):
            store.get(a_key())
        assert store.get(a_key()) is None

    def test_a_password_that_is_part_of_every_text_is_no_hindrance(self, alias: str) -> None:
        """Causes with the password in their text are dropped; nothing may depend on them."""
        store, key = jdbc(alias), a_key()
        assert store.create(key, a_record(life=-1))
        connections[alias].settings_dict["PASSWORD"] = "e"
        assert store.create(key, a_record()) is True
        assert store.create(key, a_record()) is False

    def test_a_transaction_that_is_rolled_back_takes_its_sessions_with_it(self, alias: str) -> None:
        store, key = jdbc(alias), a_key()
        store.prepare()
        with transaction.atomic(using=alias):
            assert store.create(key, a_record())
            assert store.create(key, a_record()) is False
            assert store.get(key) is not None
            transaction.set_rollback(True, using=alias)
        assert store.get(key) is None

    def test_nothing_is_left_behind_on_the_connection(self, alias: str) -> None:
        store = jdbc(alias)
        store.prepare()
        before = _patience(connections[alias].connection)
        store.get(a_key())
        assert _patience(connections[alias].connection) == before


class TestSecrets:
    def test_a_variable_that_is_not_set_is_told_on_the_password(self) -> None:
        assert "NO_SUCH_VARIABLE" not in os.environ
        for settings in (RedisSettings, MongoSettings):
            with pytest.raises(StoreMisconfigured, match="NO_SUCH_VARIABLE") as raised:
                build_store(settings(host="localhost", password="env:NO_SUCH_VARIABLE"))
            assert raised.value.field == "password"

    def test_settings_do_not_show_their_password(self) -> None:
        for settings in (RedisSettings, MongoSettings):
            shown = settings(host="localhost", password=SECRET)
            assert SECRET not in f"{shown!r} {shown.describe()} {shown.public()}"

    def test_of_a_cause_with_a_secret_in_it_the_rest_is_kept(self) -> None:
        error = OSError(f"no connection to redis://:{SECRET}@host, or it was lost")
        kept = harmless(error, SECRET)
        assert SECRET not in f"{kept!r} {kept.args}"
        assert type(kept).__name__ == "OSError"
        assert "or it was lost" in str(kept)
        assert harmless(error, "another") is error
        assert harmless(error, "") is error

    def test_a_cause_that_was_led_to_by_one_with_a_secret_stands_alone(self) -> None:
        for link in ("__cause__", "__context__"):
            error = OSError("no connection")
            setattr(error, link, ValueError(f"what is {SECRET!r}"))
            kept = harmless(error, SECRET)
            assert str(kept) == "no connection"
            assert kept.__cause__ is kept.__context__ is None

    def test_secrets_are_found_however_they_are_written(self) -> None:
        secret = "a'b\\c@d"
        for text in (secret, repr(secret), quote(secret, safe="")):
            assert "b" not in str(harmless(OSError(f"no {text}"), secret))

    def test_a_cause_has_no_frames_whose_variables_a_report_would_show(self) -> None:
        def connect(password: str) -> None:
            raise OSError("no connection")

        with pytest.raises(OSError, match="no connection") as raised:
            connect(SECRET)
        assert harmless(raised.value, SECRET).__traceback__ is None

    def test_stored_keys_and_what_a_server_quotes_of_a_command_are_left_out(self) -> None:
        key = a_key()
        for said in (f"unknown command 'SET', with args beginning with: 'x:{key}' 'abc'", f"dup key {key}"):
            kept = harmless(OSError(said))
            assert key not in str(kept)
            assert "abc" not in str(kept)

    @pytest.mark.parametrize(
        ("settings", "module", "missing", "package"),
        [
            (RedisSettings(host="h"), "redis.store", "redis", "redis"),
            (RedisSettings(host="h"), "redis.wire", "django_redis.pool", "django-redis"),
            (MongoSettings(host="h"), "mongodb.store", "pymongo", "pymongo"),
            (MongoSettings(host="h"), "mongodb.store", "bson.int64", "pymongo"),
        ],
    )
    def test_a_driver_that_is_missing_is_named_by_its_package(
        self,
        settings: StoreSettings,
        module: str,
        missing: str,
        package: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.delitem(sys.modules, settings.store.rpartition(".")[0])
        monkeypatch.delitem(sys.modules, f"sessionpersist.stores.{module}", raising=False)
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(StoreMisconfigured) as raised:
            build_store(settings)
        assert str(raised.value) == (
            f"{settings.label} needs the package {package}, which is not installed on this node. "
            f"Install it with: pip install 'sessionpersist[{settings.extra}]'"
        )

    def test_another_package_of_the_same_name_is_no_crash(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """There is a package named bson, which is not PyMongo's."""
        settings = MongoSettings(host="h")
        monkeypatch.delitem(sys.modules, settings.store.rpartition(".")[0])
        monkeypatch.setitem(sys.modules, "bson.int64", types.ModuleType("bson.int64"))
        with pytest.raises(StoreMisconfigured, match=r"needs the package pymongo, which can't be loaded"):
            build_store(settings)


def jdbc(alias: str, timeout: float = 5) -> DatabaseStore:
    return DatabaseStore(DatabaseSettings(database=alias), timeout)


def _patience(raw: Any) -> dict[str, Any]:
    """The attributes by which the drivers are made impatient."""
    names = {"wait", "query", "_read_timeout", "_write_timeout"}
    return {name: value for name, value in getattr(raw, "__dict__", {}).items() if name in names}


def _with_tls(store: Any) -> Probed:
    settings = RedisSettings(host=store.settings.host, port=store.settings.port, tls=True)
    wrong: Probed = type(store)(settings, store._credentials.now().password, 0.5, "tests")
    return wrong
