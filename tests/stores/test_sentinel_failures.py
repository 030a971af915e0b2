"""REDIS by Sentinel: what is wrong with the Sentinels is told as that, to a request and to staff."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from pytest_django import Settings

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.probe import run
from sessionpersist.stores.redis.several import SentinelStore
from sessionpersist.stores.settings import RedisSettings
from sessionpersist.stores.texts import driver_words
from tests.servers import Watched, require, shared
from tests.servers.places import free_port
from tests.stores.contract import a_key
from tests.stores.fake import serving
from tests.stores.test_cluster import fault, refused_as_elsewhere, talking, warnings_of
from tests.stores.test_sentinel import sentinel_store

pytestmark = pytest.mark.xdist_group("sentinel")


@contextmanager
def a_user(*rules: str) -> Iterator[tuple[str, str]]:
    """A user of the Sentinels who may do that; its name and its password."""
    require(Watched)
    name, password = f"user-{secrets.token_hex(4)}", secrets.token_hex(8)
    for each in shared(Watched).sentinels:
        with each.connect() as client:
            client.execute_command("ACL", "SETUSER", name, "on", f">{password}", "&*", *rules)
    try:
        yield name, password
    finally:
        for each in shared(Watched).sentinels:
            with each.connect() as client:
                client.execute_command("ACL", "DELUSER", name)


class TestARequest:
    @pytest.mark.parametrize("password", ["", "wrong"])
    def test_is_told_that_the_sentinels_refuse_the_password(self, password: str) -> None:
        """Seen: told as a name that no Sentinel knows, with 300 characters of the driver's own objects."""
        store = sentinel_store(sentinel_password=password)
        with pytest.raises(StoreUnavailable, match=r"Sentinel (wants|refused)") as caught:
            store.get(a_key())
        assert caught.value.field == "sentinel_password"
        assert "<" not in driver_words(caught.value)
        store.close()

    def test_is_told_so_beside_a_sentinel_that_is_dead(self) -> None:
        nodes = f"127.0.0.1:{free_port()}\n{shared(Watched).nodes}"
        store = sentinel_store(nodes=nodes, sentinel_password="wrong")
        with pytest.raises(StoreUnavailable) as caught:
            store.get(a_key())
        assert caught.value.field == "sentinel_password"
        store.close()

    def test_is_told_that_no_sentinel_answers(self) -> None:
        require(Watched)
        port = free_port()
        store = sentinel_store(nodes=f"127.0.0.1:{port}")
        with pytest.raises(StoreUnavailable, match=f"Nothing listens on port {port}") as caught:
            store.get(a_key())
        assert caught.value.field == "nodes"
        store.close()

    def test_is_told_what_the_user_of_the_sentinels_may_not(self) -> None:
        with a_user("+auth", "+client", "+ping") as (username, password):
            store = sentinel_store(sentinel_username=username, sentinel_password=password)
            with pytest.raises(StoreUnavailable, match="The Sentinel user may not run the command") as caught:
                store.get(a_key())
            assert caught.value.field == "sentinel_username"
            store.close()

    def test_goes_on_where_one_sentinel_refuses_what_another_allows(self) -> None:
        with a_user("+@all") as (username, password):
            first = shared(Watched).sentinels[0]
            with first.connect() as client:
                client.execute_command("ACL", "SETUSER", username, "-sentinel")
            store = sentinel_store(sentinel_username=username, sentinel_password=password)
            assert store.get(a_key()) is None
            store.close()


def test_replicas_that_the_user_may_not_ask_for_are_told_as_that() -> None:
    """Seen: "1 replica", and none shown, without a word why."""
    rules = ("+@all", "-sentinel", "+sentinel|masters", "+sentinel|get-master-addr-by-name")
    with a_user(*rules) as (username, password):
        store = sentinel_store(sentinel_username=username, sentinel_password=password)
        steps = run(store)
        store.close()
    assert [step for step in steps if not step.ok] == []
    assert any(step.warning and "do not tell which replicas" in step.message for step in steps)


def test_a_request_is_told_what_the_probe_says() -> None:
    wrong = partial(sentinel_store, sentinel_password="wrong")
    with pytest.raises(StoreUnavailable) as caught:
        wrong().get(a_key())
    assert fault(wrong()) == (caught.value.field, str(caught.value))


@pytest.mark.parametrize(("waited", "warned"), [(1, False), (2, True)])
def test_the_probe_warns_where_each_replica_is_waited_for(waited: int, warned: bool) -> None:
    """The loss of any of them makes each write a 503."""
    said = warnings_of(sentinel_store(wait_replicas=waited))
    assert any("has 2 replicas, and each write waits for 2" in text for text in said) is warned


def test_the_probe_warns_of_a_single_sentinel() -> None:
    sentence = "Only one Sentinel is entered"
    assert any(
        sentence in text for text in warnings_of(sentinel_store(nodes=shared(Watched).nodes.split()[0]))
    )
    assert not any(sentence in text for text in warnings_of(sentinel_store()))


def test_a_primary_that_a_sentinel_names_outside_the_allowed_hosts_hears_nothing(settings: Settings) -> None:
    """No connection is made to it."""
    settings.SESSIONPERSIST = {"ALLOWED_STORE_HOSTS": ["127.0.0.1"]}
    heard: list[object] = []
    with serving(heard.append, host="127.0.0.2") as elsewhere:
        words = ("name", "main", "ip", "127.0.0.2", "port", str(elsewhere), "flags", "master")
        answers = {
            b"MASTERS": lambda: b"*1\r\n" + listed(*words, "num-other-sentinels", "0"),
            b"GET-MASTER-ADDR-BY-NAME": lambda: listed("127.0.0.2", str(elsewhere)),
        }
        with serving(talking(answers)) as port:
            given = RedisSettings(mode="SENTINEL", nodes=f"127.0.0.1:{port}", sentinel_name="main")
            refused_as_elsewhere(SentinelStore(given, "", 1, "tests"))
    assert heard == []


def listed(*words: str) -> bytes:
    """Words as a server sends a list of them."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
