"""MONGODB as a replica set of three: the contract, what is written to a majority, what is said of its members."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, ClassVar

import pytest
from pymongo import monitoring
from pymongo.errors import PyMongoError

from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores import probe
from sessionpersist.stores.base import Outcome, Record, Saving, now_ms
from sessionpersist.stores.mongodb.store import MongoStore
from sessionpersist.stores.settings import MongoSettings
from tests.servers import ReplicaSet, require, shared
from tests.servers.places import free_port
from tests.stores.contract import BESIDE_ANOTHER, a_key, a_record
from tests.stores.places import mongo_store
from tests.stores.test_mongodb import ReadsOfADrain
from tests.stores.test_mongodb import TestMongoStore as OneServer

pytestmark = pytest.mark.xdist_group("replica_set")

WRITES = ("insert", "update", "delete")


class Commands(monitoring.CommandListener):
    """Keeps the commands that are sent by the thread that asks for them."""

    def __init__(self) -> None:
        self.by_thread: dict[int, list[tuple[str, Any]]] = {}

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        found = self.by_thread.get(threading.get_ident())
        if found is not None:
            found.append((event.command_name, event.command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass

    def of(self, action: Callable[[], object]) -> list[tuple[str, Any]]:
        """Return the commands of one action."""
        self.by_thread[threading.get_ident()] = []
        action()
        return self.by_thread.pop(threading.get_ident())


COMMANDS = Commands()
monitoring.register(COMMANDS)


class TestReplicaSet(OneServer):
    """The whole contract; by ``mongo_store`` of this class, whatever a test makes is on the replica set."""

    rotates_at_once = False  # the new record is confirmed before the old one goes
    several: ClassVar = {"rotate": 2}
    long_parts = (*BESIDE_ANOTHER, ReadsOfADrain)

    @pytest.fixture(autouse=True)
    def on_the_replica_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def store(**options: Any) -> MongoStore:
            return mongo_store(server=ReplicaSet, **options)

        monkeypatch.setattr("tests.stores.test_mongodb.mongo_store", store)

    def make_store(self) -> MongoStore:
        return mongo_store(server=ReplicaSet, prefix="contract")


@pytest.fixture
def store() -> Iterator[MongoStore]:
    with closing(mongo_store(server=ReplicaSet, prefix=f"set{secrets.token_hex(4)}")) as store:
        store.prepare()
        yield store


@pytest.fixture
def whole() -> Iterator[ReplicaSet]:
    """The replica set, which is whole again afterwards."""
    require(ReplicaSet)
    server = shared(ReplicaSet)
    yield server
    server.heal()


def test_every_write_waits_for_a_majority_a_logout_too(store: MongoStore) -> None:
    key, moved, record, other = a_key(), a_key(), a_record(), a_record()
    verbs: dict[str, Callable[[], object]] = {
        "create": lambda: store.create(key, record),
        "replace": lambda: store.replace(key, other, record.version),
        "touch": lambda: store.touch(key, other.expires_at + 5),
        "rotate": lambda: store.rotate(key, other.version, moved, record),
        "end_and_replace": lambda: store.end_and_replace(
            {a_key(): 1}, now_ms() + 60_000, moved, other, record.version
        ),
        "save_both": lambda: store.save_both(
            Saving(moved, record, other.version), Saving(a_key(), record, record.version)
        ),
        "delete": lambda: store.delete(moved),
        "end": lambda: store.end(key, now_ms() + 60_000),
        "create_many": lambda: store.create_many({a_key(): a_record()}),
        "delete_many": lambda: store.delete_many({key: record.version}),
    }
    for verb, action in verbs.items():
        written = [command for name, command in COMMANDS.of(action) if name in WRITES]
        assert written, verb
        assert [command["writeConcern"] for command in written] == [{"w": "majority"}] * len(written), verb


def test_a_hit_is_one_plain_read_and_a_miss_is_vouched_for_by_a_majority(store: MongoStore) -> None:
    store.create(key := a_key(), record := a_record())
    [(name, command)] = COMMANDS.of(lambda: store.get(key))
    assert (name, "readConcern" in command) == ("find", False)
    verbs: dict[str, Callable[[], object]] = {
        "get": lambda: store.get(a_key()),
        "replace": lambda: store.replace(a_key(), record, record.version),
        "touch": lambda: store.touch(a_key(), now_ms() + 60_000),
        "delete": lambda: store.delete(a_key()),
    }
    for verb, action in verbs.items():
        sure = [command.get("readConcern") for name, command in COMMANDS.of(action) if name == "find"]
        assert sure[-1:] == [{"level": "linearizable"}], verb


@pytest.mark.parametrize("verb", ["delete", "replace", "end", "rotate", "get"])
def test_what_no_majority_confirms_in_time_is_an_outage(whole: ReplicaSet, verb: str) -> None:
    """A logout among them, and that there is no session."""
    with closing(mongo_store(server=ReplicaSet, timeout=1.0)) as store:
        store.create(key := a_key(), record := a_record())
        verbs: dict[str, Callable[[], object]] = {
            "delete": lambda: store.delete(key),
            "replace": lambda: store.replace(key, a_record(), record.version),
            "end": lambda: store.end(key, now_ms() + 60_000),
            "rotate": lambda: store.rotate(key, record.version, a_key(), a_record()),
            "get": lambda: store.get(a_key()),
        }
        primary = whole.primary()
        for member in whole.members:
            if member is not primary:
                member.pause()
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"enough of its members|did not answer in time"):
            verbs[verb]()
        assert time.monotonic() - begun < 1.0 + 0.5


def test_while_the_first_host_is_down_a_new_worker_finds_the_others(whole: ReplicaSet) -> None:
    whole.kill()
    whole.wait_for_primary()
    with closing(mongo_store(server=ReplicaSet)) as store:
        assert store.create(key := a_key(), record := a_record())
        assert store.get(key) == record


def test_a_member_that_was_promoted_is_the_same_place_and_has_what_was_acknowledged(
    store: MongoStore, whole: ReplicaSet
) -> None:
    """Named by hand as the only host, too."""
    records = {a_key(): a_record() for _ in range(20)}
    for key, record in records.items():
        store.create(key, record)
    store.delete(gone := a_key())
    ended = next(iter(records))
    store.delete(ended)
    place = store.place()
    former = whole.primary()
    assert former is not None
    former.kill()
    promoted = whole.wait_for_primary(other_than=[former])
    with closing(
        mongo_store(server=ReplicaSet, prefix=store.prefix, host=promoted.host, port=promoted.port, nodes="")
    ) as named:
        assert named.place() == place
        assert dict(named.scan()) == {key: each for key, each in records.items() if key != ended}
        assert (named.get(ended), named.get(gone)) == (None, None)


def test_the_old_primary_has_no_say_when_it_comes_back(store: MongoStore, whole: ReplicaSet) -> None:
    """It went on for a moment as if nothing had happened: what it alone knows is no session."""
    store.create(key := a_key(), first := a_record())
    former = whole.primary()
    assert former is not None
    former.pause()
    whole.wait_for_primary(other_than=[former])
    with closing(mongo_store(server=ReplicaSet, prefix=store.prefix)) as other:
        second = a_record()

        def saved() -> Record | None:
            other.replace(
                key, second, first.version
            )  # CONFLICT, where a first try was written and confirmed too late
            return other.get(key)

        # No majority confirms a write while the other member still waits for the one that hangs.
        assert eventually(saved) == second
        assert other.create(new := a_key(), record := a_record())
    former.resume()
    assert eventually(lambda: store.get(new)) == record
    assert store.get(key) == second
    assert store.replace(key, a_record(), first.version) is Outcome.CONFLICT


def eventually(action: Callable[[], Any]) -> Any:
    """What it returns as soon as it is no outage; a client needs a moment to follow its replica set."""
    for _ in range(10):
        try:
            return action()
        except StoreUnavailable:
            continue
    return action()


class TestProbe:
    def test_it_shows_each_member_with_its_role_and_time(self, store: MongoStore) -> None:
        steps = {step.name: step for step in probe.run(store)}
        assert all(step.ok for step in steps.values())
        shown = steps["See the members"].message
        for address in shared(ReplicaSet).nodes:
            assert address in shown
        assert (shown.count("primary"), shown.count("secondary"), shown.count(" ms")) == (1, 2, 3)
        assert not [step for step in steps.values() if step.warning]

    def test_one_host_that_does_not_answer_is_a_warning(self, whole: ReplicaSet) -> None:
        member = next(each for each in whole.members if each is not whole.primary())
        member.kill()
        store = mongo_store(server=ReplicaSet)
        steps = probe.run(store, prepare=True)
        store.close()
        assert all(step.ok for step in steps)
        assert [f"do not answer: {member.address}." in step.message for step in steps if step.warning] == [
            True
        ]

    def test_all_hosts_that_do_not_answer_are_an_error(self) -> None:
        nodes = f"127.0.0.1:{free_port()}"
        step = self.last_step(port=free_port(), nodes=nodes)
        assert (step.ok, step.name, step.field) == (False, "Connect", "host")
        assert nodes in step.message

    def test_a_single_host_of_a_replica_set_is_a_warning_that_names_the_others(self) -> None:
        with closing(mongo_store(server=ReplicaSet, nodes="", replica_set="")) as store:
            [warning] = store.warnings()
        assert "Only one host" in warning
        assert all(address in warning for address in shared(ReplicaSet).nodes)

    def test_a_member_that_has_not_been_asked_yet_is_not_said_to_be_silent(self) -> None:
        """As those are that a client has just heard of from the first one."""
        for _ in range(10):
            with closing(mongo_store(server=ReplicaSet)) as store:
                assert list(store.warnings()) == []

    def test_another_name_of_the_replica_set_is_named(self) -> None:
        step = self.last_step(replica_set="other")
        assert (step.ok, step.field) == (False, "replica_set")
        assert "“other”" in step.message

    @staticmethod
    def last_step(**changes: Any) -> probe.Step:
        """The last step of a probe with these wrong settings, in a second."""
        with closing(mongo_store(server=ReplicaSet, timeout=1, **changes)) as store:
            return probe.run(store)[-1]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"nodes": "127.0.0.1"}, "nodes"),
        ({"nodes": "127.0.0.1:0"}, "nodes"),
        ({"nodes": "127.0.0.1:27017\n127.0.0.1:27017"}, "nodes"),
        ({"nodes": "127.0.0.1:27018", "srv": True}, "nodes"),
        ({"host": ""}, "host"),
        ({"mechanism": "MONGODB-X509", "tls": False}, "tls"),
        ({"mechanism": "MONGODB-X509", "tls": True}, "client_certificate"),
        ({"client_certificate": "/some.pem"}, "tls"),
        ({"mechanism": "SCRAM-SHA-256", "username": "", "password": ""}, "username"),
        ({"alias": "nowhere"}, "alias"),
        ({"alias": "default"}, "alias"),  # which is SQLite
    ],
)
def test_settings_that_cannot_be_right_are_refused_before_anything_is_asked(
    changes: dict[str, Any], field: str
) -> None:
    settings = {"host": "127.0.0.1", "username": "app", "password": "hush"} | changes
    with pytest.raises(StoreMisconfigured) as caught:
        MongoStore(MongoSettings(database="app", **settings), settings["password"], 1, "tests")
    assert caught.value.field == field


def test_an_error_of_several_hosts_names_them_and_no_secret() -> None:
    store = mongo_store(server=ReplicaSet, password="hush-hush")
    with closing(store), pytest.raises(StoreUnavailable) as caught:
        store.get(a_key())
    assert caught.value.field == "password"
    assert isinstance(caught.value.__cause__, PyMongoError)
    assert "hush" not in f"{caught.value} {caught.value.__cause__!r}"
