"""REDIS as a Cluster: the contract on a real Cluster of three primaries, and what only a Cluster does."""

from __future__ import annotations

import itertools
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from time import monotonic, sleep
from typing import Any, ClassVar

import pytest
from pytest_django import Settings
from redis.crc import key_slot

from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores.base import Probed
from sessionpersist.stores.guarded import PartedStore
from sessionpersist.stores.probe import run
from sessionpersist.stores.redis.several import ClusterStore
from sessionpersist.stores.redis.store import RedisStore
from sessionpersist.stores.settings import RedisSettings
from tests.servers import Cluster, Redis, Valkey, require, shared
from tests.servers.cluster import Node
from tests.servers.places import free_port
from tests.stores.contract import (
    AnyContent,
    ForeignRecords,
    GetsAPlace,
    HasAPlace,
    RoundTrips,
    StoreContract,
    a_key,
    a_record,
)
from tests.stores.fake import serving
from tests.stores.test_redis import foreign_values

pytestmark = pytest.mark.xdist_group("cluster")


def cluster_store(
    cluster: Cluster | None = None, *, timeout: float = 5, prefix: str = "tests", **changes: Any
) -> ClusterStore:
    """A store on a Cluster, by default on the shared one; ``changes`` are settings that differ from the right ones."""
    if cluster is None:
        require(Cluster)
        cluster = shared(Cluster)
    given: dict[str, Any] = {"mode": "CLUSTER", "nodes": cluster.nodes, **changes}
    password = given.pop("password", cluster.password)
    return ClusterStore(RedisSettings(**given), password, timeout, prefix)


class TestClusterStore(StoreContract, RoundTrips, HasAPlace, GetsAPlace, ForeignRecords):
    # Records are written down and read as those of one server are.
    long_parts: ClassVar[tuple[type, ...]] = (ForeignRecords, AnyContent)
    rotates_at_once = False
    several: ClassVar = {
        "rotate": 2,
        "end_and_replace": 2,
    }  # no script takes keys of two slots

    def make_store(self) -> Probed:
        return cluster_store(prefix="[contract]*")

    def make_store_of_a_new_place(self) -> Probed:
        return cluster_store(prefix=f"place-{a_key()[:8]}")

    def foreign(self, store: Any) -> dict[str, Callable[[str], object]]:
        return {
            **{what: partial(self._write, "SET", value) for what, value in foreign_values().items()},
            "a list": partial(self._write, "RPUSH", b"x"),
            "a set": partial(self._write, "SADD", b"x"),
        }

    def _write(self, command: str, value: bytes, key: str) -> None:
        name = f"[contract]*:{key}"
        node = node_of(name)
        node.ask(command, name, value)
        node.ask("PEXPIRE", name, 60_000)

    def _warm_up(self, store: Probed) -> None:
        for _ in range(40):  # keys, which reach every node
            super()._warm_up(store)

    def commands(self, store: Probed, action: Callable[[], object]) -> int:
        """What all nodes say they were asked, without what their scripts ask for themselves."""
        with ExitStack() as stack:
            members = shared(Cluster).members
            callers = [stack.enter_context(each.connect()) for each in members]
            watchers = [stack.enter_context(each.connect()) for each in members]
            return sum(asked(callers, watchers, action))


def asked(callers: Sequence[Any], watchers: Sequence[Any], action: Callable[[], object]) -> Iterator[int]:
    """How many commands each of several servers was asked while something was done."""
    begin, end = secrets.token_hex(8), secrets.token_hex(8)
    with ExitStack() as stack:
        monitors = [stack.enter_context(each.monitor()) for each in watchers]
        for each in callers:
            each.echo(begin)
        action()
        for each in callers:
            each.echo(end)
        for monitor in monitors:
            rest = itertools.dropwhile(lambda each: begin not in each["command"], monitor.listen())
            found = list(itertools.takewhile(lambda each: end not in each["command"], rest))[1:]
            yield sum(
                1 for each in found if each["client_type"] != "lua" and not is_internal(each["command"])
            )


def is_internal(command: str) -> bool:
    """Whether replicas and Sentinels ask this."""
    return command.split(" ")[0] in ("PING", "INFO", "PUBLISH", "REPLCONF")


def node_of(name: str) -> Node:
    return shared(Cluster).primary_of(key_slot(name.encode()))


class TestBadInput:
    """Each its sentence, on its field."""

    @pytest.mark.parametrize(
        ("changes", "field", "sentence"),
        [
            ({"nodes": ""}, "nodes", "Enter at least one server"),
            ({"nodes": "a"}, "nodes", "no port"),
            ({"nodes": "a:0"}, "nodes", "The port of line 1"),
            ({"nodes": "a:1\na:1"}, "nodes", "each server once"),
            ({"database": 1}, "database", "has the database 0 only"),
            ({"prefix": "a{b}"}, None, "KEY_PREFIX must not contain braces"),
            ({"ca_file": "/ca.pem"}, "tls", "TLS only"),
        ],
        ids=str,
    )
    def test_what_cannot_be_is_refused_before_anything_is_connected(
        self, changes: dict[str, Any], field: str | None, sentence: str
    ) -> None:
        with pytest.raises(StoreMisconfigured, match=sentence) as caught:
            cluster_store(**changes)
        assert caught.value.field == field

    def test_one_node_that_does_not_answer_is_a_warning(self) -> None:
        store = cluster_store(nodes=f"127.0.0.1:{free_port()}\n{shared(Cluster).address}")
        steps = run(store)
        assert [step for step in steps if not step.ok] == []
        assert any(step.warning and "can't tell" in step.message for step in steps)
        store.close()

    @pytest.mark.parametrize("count", [1, 2])
    def test_where_no_node_answers_it_is_an_error(self, count: int) -> None:
        require(Cluster)
        store = cluster_store(nodes="\n".join(f"127.0.0.1:{free_port()}" for _ in range(count)))
        assert fault(store)[0] == "nodes"
        with pytest.raises(StoreUnavailable) as caught:
            store.get(a_key())
        assert caught.value.field == "nodes"

    def test_a_server_that_is_no_node_of_a_cluster_is_told(self) -> None:
        require(Valkey)
        single = shared(Valkey)
        store = cluster_store(nodes=f"{single.host}:{single.port}", password=single.password)
        assert fault(store) == ("mode", "This REDIS server is no node of a Cluster.")
        with pytest.raises(StoreUnavailable, match="is no node of a Cluster"):
            store.get(a_key())

    def test_a_cluster_without_slots_is_told(self) -> None:
        require(Cluster)
        with Node() as alone:
            store = cluster_store(nodes=alone.address, password=alone.password)
            assert fault(store)[0] == "nodes"
            with pytest.raises(StoreUnavailable, match="No server of this REDIS Cluster has the slot"):
                store.get(a_key())

    def test_a_node_that_wants_tls_is_told_as_that(self) -> None:
        require(Redis, tls=True)
        server = shared(Redis, tls=True)
        nodes = f"{server.host}:{server.port}"
        field, sentence = fault(cluster_store(nodes=nodes, password=server.password))
        assert (field, sentence) == ("tls", f"The server on port {server.port} of {server.host} wants TLS.")

    def test_a_certificate_that_is_not_trusted_is_told_as_that(self) -> None:
        """To a request, too, which begins with the topology."""
        require(Redis, tls=True)
        server = shared(Redis, tls=True)
        wrong = partial(
            cluster_store, nodes=f"{server.host}:{server.port}", password=server.password, tls=True
        )
        assert fault(wrong())[0] == "tls"
        with pytest.raises(StoreUnavailable, match="TLS handshake") as caught:
            wrong().get(a_key())
        assert caught.value.field == "tls"

    def test_a_node_that_hangs_up_is_told_with_its_address(self) -> None:
        with serving(lambda caller: None) as port:
            store = cluster_of(port)
            with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}"):
                store.get(a_key())
            store.close()

    def test_a_wrong_password_is_told(self) -> None:
        assert fault(cluster_store(password="wrong"))[0] == "password"

    def test_a_node_of_a_cluster_as_one_server_says_what_to_choose(self) -> None:
        require(Cluster)
        cluster = shared(Cluster)
        settings = RedisSettings(host=cluster.host, port=cluster.port)
        field, sentence = fault(RedisStore(settings, cluster.password, 5, "tests"))
        assert field == "host"
        assert "Choose Cluster" in sentence


def fault(store: Probed) -> tuple[str | None, str]:
    """The field and the sentence of the step that fails."""
    failed = [step for step in run(store) if not step.ok]
    store.close()
    return failed[0].field, failed[0].message


def test_the_probe_shows_each_node_with_its_role_and_time() -> None:
    store = cluster_store()
    steps = {step.name: step for step in run(store)}
    for each in shared(Cluster).members:
        step = steps[f"Node {each.address}"]
        assert (step.message, step.milliseconds > 0) == ("primary, no replica", True)
    store.close()


def warnings_of(store: Probed) -> list[str]:
    found = [step.message for step in run(store) if step.warning]
    store.close()
    return found


def test_the_probe_warns_of_a_primary_without_a_replica() -> None:
    said = warnings_of(cluster_store())
    for each in shared(Cluster).members:
        assert any(f"{each.address} has no replica" in text for text in said)


def test_the_probe_warns_of_a_node_that_refuses_all_once_one_shard_is_lost() -> None:
    """As servers do by default. Where the user may not ask for the setting, nothing is said."""
    require(Cluster)
    node, setting = shared(Cluster).others[0], "cluster-require-full-coverage"
    assert not any(setting in text for text in warnings_of(cluster_store()))
    node.ask("CONFIG", "SET", setting, "yes")
    try:
        said = [text for text in warnings_of(cluster_store()) if setting in text]
        assert len(said) == 1
        assert node.address in said[0]
        for each in shared(Cluster).members:
            each.ask("ACL", "SETUSER", "limited", "on", ">pw", "~*", "+@all", "-config")
        assert warnings_of(cluster_store(username="limited", password="pw")) != []
    finally:
        node.ask("CONFIG", "SET", setting, "no")
        for each in shared(Cluster).members:
            each.ask("ACL", "DELUSER", "limited")


def test_a_key_is_read_while_its_slot_moves_and_after_it() -> None:
    """The store is told MOVED and ASK, and nobody notices."""
    require(Cluster)
    cluster, store = shared(Cluster), cluster_store()
    keys = [a_key() for _ in range(20)]
    for key in keys:
        assert store.create(key, a_record())
    slot = key_slot(f"tests:{keys[0]}".encode())
    source = cluster.primary_of(slot)
    target = next(each for each in cluster.members if each is not source)

    def half_way() -> None:
        new = a_key_in(slot)
        assert store.create(new, a_record())  # which is where the slot moves to
        keys.append(new)
        assert all(store.get(key) for key in keys)
        assert store.count() >= len(keys)

    cluster.move_slot(slot, target, half_way)
    assert all(store.get(key) for key in keys)
    assert set(store.get_many(keys)) == set(keys)
    cluster.move_slot(slot, source)
    found = store.get_many(keys)
    assert store.delete_many({key: record.version for key, record in found.items()}) == set()
    store.close()


def a_key_in(slot: int) -> str:
    """A stored key of that slot."""
    return next(key for key in iter(a_key, "") if key_slot(f"tests:{key}".encode()) == slot)


def test_a_count_does_not_say_none_while_a_slot_moves() -> None:
    """Else a drain could end, and with it sessions."""
    require(Cluster)
    cluster, store = shared(Cluster), cluster_store(prefix=f"none-{a_key()[:8]}")
    assert store.count() == 0
    source = cluster.primary_of(7)
    target = next(each for each in cluster.members if each is not source)

    def half_way() -> None:
        with pytest.raises(StoreUnavailable, match="being moved") as caught:
            store.count()
        assert caught.value.answered

    cluster.move_slot(7, target, half_way)
    assert store.count() == 0
    cluster.move_slot(7, source)
    store.close()


def test_each_primary_has_a_breaker_of_its_own() -> None:
    """With one of three dead, the users of the others see nothing of it."""
    require(Cluster)
    with Cluster() as cluster:
        store = PartedStore(cluster_store(cluster, timeout=0.5), "the Cluster")
        keys = [a_key() for _ in range(60)]
        for key in keys:
            assert store.create(key, a_record())
        dead = {
            key for key in keys if cluster.primary_of(key_slot(f"tests:{key}".encode())) is cluster.others[1]
        }
        cluster.others[1].kill()
        for _ in range(3):
            for key in sorted(
                keys, key=lambda each: each not in dead
            ):  # the dead first: three faults in a row
                if key in dead:
                    with pytest.raises(StoreUnavailable):
                        store.get(key)
                else:
                    assert store.get(key) is not None
        begun = monotonic()
        for key in dead:
            with pytest.raises(StoreUnavailable):
                store.get(key)
        assert monotonic() - begun < 0.5 * 3, "the breaker of the dead one is open"
        store.close()


def talking(answers: dict[bytes, Callable[[], bytes]]) -> Callable[[socket.socket], None]:
    """A node that answers what has such a word in it, and OK to all else."""

    def talk(caller: socket.socket) -> None:
        while asked := caller.recv(4096):
            answer = next((each() for word, each in answers.items() if word in asked), b"+OK\r\n")
            caller.sendall(answer)

    return talk


def slots_at(host: str, port: int) -> bytes:
    """All slots are at one node, as CLUSTER SLOTS tells it."""
    return b"*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$%d\r\n%s\r\n:%d\r\n$40\r\n%s\r\n" % (
        len(host),
        host.encode(),
        port,
        b"0" * 40,
    )


class TestHostileNodes:
    def test_a_node_that_sends_a_request_round_and_round_is_given_up(self) -> None:
        at: list[int] = []
        moved = lambda: b"-MOVED 0 127.0.0.1:%d\r\n" % at[0]  # noqa: E731
        answers = {b"SLOTS": lambda: slots_at("127.0.0.1", at[0]), b"GETRANGE": moved}
        with serving(talking(answers)) as port:
            at.append(port)
            store = cluster_of(port)
            with pytest.raises(StoreUnavailable, match="do not agree"):
                store.get(a_key())
            store.close()

    @pytest.mark.parametrize("answer", [b"-MOVED somewhere\r\n", b"-ASK 1\r\n", b"-MOVED 1 :\r\n"])
    def test_a_redirection_to_nowhere_is_told(self, answer: bytes) -> None:
        at: list[int] = []
        answers = {b"SLOTS": lambda: slots_at("127.0.0.1", at[0]), b"GETRANGE": lambda: answer}
        with serving(talking(answers)) as port:
            at.append(port)
            store = cluster_of(port)
            with pytest.raises(StoreUnavailable):
                store.get(a_key())
            store.close()

    def test_a_node_that_is_announced_has_to_be_allowed(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": ["127.0.0.1"]}
        with serving(talking({b"SLOTS": lambda: slots_at("127.0.0.2", 6379)})) as port:
            store = cluster_of(port)
            with pytest.raises(StoreMisconfigured, match="ALLOWED_STORE_HOSTS") as caught:
                store.get(a_key())
            assert caught.value.field == "nodes"
            store.close()

    def test_nor_may_a_redirection_lead_elsewhere(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": ["127.0.0.1"]}
        at: list[int] = []
        answers = {
            b"SLOTS": lambda: slots_at("127.0.0.1", at[0]),
            b"GETRANGE": lambda: b"-MOVED 0 127.0.0.2:6379\r\n",
        }
        with serving(talking(answers)) as port:
            at.append(port)
            store = cluster_of(port)
            with pytest.raises(StoreMisconfigured, match="ALLOWED_STORE_HOSTS"):
                store.get(a_key())
            store.close()

    def test_a_node_that_is_silent_holds_nobody_longer_than_the_time_out(self) -> None:
        with serving(lambda caller: sleep(3)) as port:
            store = cluster_of(port)
            begun = monotonic()
            with pytest.raises(StoreUnavailable):
                store.get(a_key())
            assert monotonic() - begun < 1.5
            store.close()

    @pytest.mark.parametrize(
        "answer", [b"*0\r\n", b":1\r\n", b"*1\r\n:1\r\n", b"$-1\r\n", b"*1\r\n*1\r\n:0\r\n"]
    )
    def test_a_topology_that_is_none_is_told(self, answer: bytes) -> None:
        with serving(talking({b"SLOTS": lambda: answer})) as port:
            store = cluster_of(port)
            with pytest.raises(StoreUnavailable):
                store.get(a_key())
            store.close()


class TestElsewhere:
    """A server outside ALLOWED_STORE_HOSTS hears nothing, whoever names it: no connection is made to it."""

    @pytest.fixture(autouse=True)
    def allowed(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": ["127.0.0.1"]}

    @pytest.mark.parametrize("answer", ["MOVED", "ASK"])
    def test_a_node_that_a_redirection_names(self, answer: str) -> None:
        heard: list[object] = []
        at: list[int] = []
        with serving(heard.append, host="127.0.0.2") as elsewhere:
            answers = {
                b"SLOTS": lambda: slots_at("127.0.0.1", at[0]),
                b"GETRANGE": lambda: f"-{answer} 0 127.0.0.2:{elsewhere}\r\n".encode(),
            }
            with serving(talking(answers)) as port:
                at.append(port)
                refused_as_elsewhere(cluster_of(port))
        assert heard == []

    def test_a_node_that_the_topology_names(self) -> None:
        heard: list[object] = []
        with (
            serving(heard.append, host="127.0.0.2") as elsewhere,
            serving(talking({b"SLOTS": lambda: slots_at("127.0.0.2", elsewhere)})) as port,
        ):
            refused_as_elsewhere(cluster_of(port))
        assert heard == []


def refused_as_elsewhere(store: RedisStore) -> None:
    with pytest.raises(StoreMisconfigured, match="ALLOWED_STORE_HOSTS"):
        store.get(a_key())
    store.close()


def cluster_of(port: int) -> ClusterStore:
    settings = RedisSettings(mode="CLUSTER", nodes=f"127.0.0.1:{port}")
    return ClusterStore(settings, "", 1, "tests")
