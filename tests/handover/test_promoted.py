"""A store that was promoted is the same place: nobody is logged out, and nothing drains."""

from __future__ import annotations

from time import sleep
from typing import Any

import pytest

from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.engine import SessionStore
from sessionpersist.models import LoginConfiguration, Revision
from tests.handover.test_stores import new_session
from tests.load.stores import fields
from tests.servers import Cluster, Valkey, Watched, require
from tests.servers.sentinel import Replica

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("switches_at_once"),
    pytest.mark.xdist_group("sentinel"),
]


def save(**fields: Any) -> None:
    """As the page does, with its probe."""
    data = {**LoginConfigurationForm.data_of(LoginConfiguration.get_solo()), **fields}
    form = LoginConfigurationForm(data)
    assert form.is_valid(), form.errors
    form.save()


def logged_in() -> str:
    return str(new_session(user="ada").session_key)


def test_the_new_primary_named_by_hand() -> None:
    require(Valkey)
    with Valkey() as server, Replica(server) as replica:
        save(**fields(server))
        revision = Revision.objects.latest("pk").pk
        key = logged_in()
        with server.connect() as client, replica.connect() as follower:
            while follower.dbsize() != client.dbsize():
                sleep(0.05)
        server.kill()
        with replica.connect() as client:
            client.replicaof("NO", "ONE")
        save(**fields(replica))
        assert Revision.objects.latest("pk").pk == revision
        assert SessionStore(key)["user"] == "ada"


def test_sentinels_put_beside_a_server_and_taken_away_again() -> None:
    require(Watched)
    with Watched(replicas=1) as watched:
        save(**fields(watched))
        revision = Revision.objects.latest("pk").pk
        key = logged_in()
        save(**fields(watched))
        assert SessionStore(key)["user"] == "ada"
        old = watched.primary()
        watched.fail_over(coordinated=True)
        new = watched.wait_for_primary(old)
        watched.wait_until(lambda: SessionStore(key).get("user") == "ada")
        save(**fields(new))
        assert SessionStore(key)["user"] == "ada"
        assert Revision.objects.latest("pk").pk == revision


def test_another_node_of_the_same_cluster() -> None:
    require(Cluster)
    with Cluster() as cluster:
        fields = {"persistence_type": "REDIS", "redis_mode": "CLUSTER", "redis_password": cluster.password}
        save(**fields, redis_nodes=cluster.address)
        revision = Revision.objects.latest("pk").pk
        key = logged_in()
        save(**fields, redis_nodes="\n".join(each.address for each in cluster.others))
        assert SessionStore(key)["user"] == "ada"
        assert Revision.objects.latest("pk").pk == revision
