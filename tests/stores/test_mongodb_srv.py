"""MONGODB found by its SRV name: a real name server says which hosts there are, and for which set."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from pytest_django import Settings

from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores import probe
from sessionpersist.stores.allowed_hosts import NOT_ALLOWED
from sessionpersist.stores.mongodb.store import MongoStore
from tests.admin.support import typed
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


class TestAllowed:
    """ALLOWED_STORE_HOSTS is about the hosts that the name leads to."""

    @staticmethod
    def form_for(server: ReplicaSet, name: str = NAME, *, probe: bool = True) -> LoginConfigurationForm:
        login = {"mongodb_username": server.username, "mongodb_password": server.password}
        place = {"mongodb_host": name, "mongodb_srv": "on", "mongodb_database": server.database}
        form = LoginConfigurationForm(typed(persistence_type="MONGODB", **place, **login), probe=probe)
        form.is_valid()
        return form

    @pytest.fixture(autouse=True)
    def no_address(self, named: ReplicaSet, monkeypatch: pytest.MonkeyPatch) -> None:
        """The name itself leads to no address, as is usual."""
        look_up = socket.getaddrinfo

        def getaddrinfo(host: str, *arguments: Any, **options: Any) -> Any:
            if host == NAME:
                raise socket.gaierror(socket.EAI_NONAME, "no address")
            return look_up(host, *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    @pytest.mark.django_db
    @pytest.mark.parametrize("entries", [["127.0.0.0/8"], [f"m{n}.test.example" for n in range(3)]])
    def test_it_is_used_where_all_of_its_hosts_are_allowed(
        self, named: ReplicaSet, settings: Settings, entries: list[str]
    ) -> None:
        members = [node.rpartition(":")[0] for node in named.nodes]
        settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": [*entries, *members]}
        form = self.form_for(named)
        assert form.errors == {}
        assert [step.name for step in form.steps if not step.ok] == []

    @pytest.mark.django_db
    @pytest.mark.parametrize("name", [NAME, "nowhere.test.example", "no"])
    def test_it_is_refused_where_one_is_not_or_nobody_can_tell(
        self, named: ReplicaSet, settings: Settings, name: str
    ) -> None:
        settings.SESSIONPERSIST = {
            "ALLOWED_STORE_HOSTS": ["10.0.0.0/8", "m0.test.example", "m1.test.example"]
        }
        assert self.form_for(named, name).errors == {"mongodb_host": [NOT_ALLOWED]}

    def test_a_saved_one_connects_to_none_that_is_not(self, named: ReplicaSet, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": ["10.0.0.0/8"]}
        with closing(srv_store(timeout=1)) as store, pytest.raises(StoreUnavailable, match="do not allow"):
            store.get(a_key())
