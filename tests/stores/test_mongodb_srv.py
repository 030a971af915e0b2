"""MONGODB found by its SRV name: a real name server says which hosts there are, and for which set."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores import probe
from sessionpersist.stores.mongodb.store import MongoStore
from tests.servers import ReplicaSet, require, shared
from tests.servers.names import name_server
from tests.stores.contract import a_key, a_record
from tests.stores.places import mongo_store

pytestmark = pytest.mark.xdist_group("replica_set")

NAME = "sessions.test.example"


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplicaSet]:
    """The replica set under that name. Its hosts are looked up by the system, which is told of them here."""
    require(ReplicaSet)
    server = shared(ReplicaSet)
    look_up = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **options: Any) -> Any:
        return look_up("127.0.0.1" if host.endswith(".test.example") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    hosts = [f"0 0 {node.rpartition(':')[2]} m{n}.test.example." for n, node in enumerate(server.nodes)]
    text = f'"authSource={server.auth_source}&replicaSet={server.name}"'
    with name_server({(f"_mongodb._tcp.{NAME}", "SRV"): hosts, (NAME, "TXT"): [text]}):
        yield server


def srv_store(**changes: Any) -> MongoStore:
    known: dict[str, Any] = {"host": NAME, "srv": True, "nodes": "", "replica_set": "", "auth_source": ""}
    return mongo_store(server=ReplicaSet, **known | changes)


def test_the_name_server_says_where_it_is_and_where_its_users_are(named: ReplicaSet) -> None:
    with closing(srv_store()) as store:
        assert store.create(key := a_key(), record := a_record())
        assert store.get(key) == record
        assert store.get(a_key()) is None


def test_a_probe_shows_the_hosts_that_were_found(named: ReplicaSet) -> None:
    with closing(srv_store()) as store:
        steps = probe.run(store, prepare=True)
    assert [step for step in steps if not step.ok or step.warning] == []
    shown = {step.name: step.message for step in steps}
    assert "m1.test.example" in shown["Look up the hosts"]
    assert named.nodes[0] in shown["See the members"]


def test_a_name_without_hosts_is_told_on_the_host(named: ReplicaSet) -> None:
    with closing(srv_store(host="nowhere.test.example", timeout=1)) as store:
        step = probe.run(store)[-1]
        with pytest.raises(StoreUnavailable) as caught:
            store.get(a_key())
    assert (step.ok, step.name, step.field) == (False, "Look up the hosts", "host")
    assert caught.value.field == "host"
