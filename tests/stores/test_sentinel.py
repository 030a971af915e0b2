"""REDIS by Sentinel: the contract through real Sentinels, and what only they do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from time import monotonic, sleep
from typing import Any

import pytest

from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores.base import Probed
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.probe import run
from sessionpersist.stores.redis.several import SentinelStore
from sessionpersist.stores.settings import RedisSettings
from tests.servers import Watched, require, shared
from tests.servers.places import free_port
from tests.servers.sentinel import NAME
from tests.stores.contract import BESIDE_ANOTHER, a_key, a_record
from tests.stores.parallel import in_threads
from tests.stores.test_cluster import asked, fault
from tests.stores.test_redis import TestRedisStoreOnValkey as OnValkey

pytestmark = pytest.mark.xdist_group("sentinel")


def sentinel_store(
    watched: Watched | None = None, *, timeout: float = 5, prefix: str = "tests", **changes: Any
) -> SentinelStore:
    """A store by Sentinels, by default the shared ones; ``changes`` are settings that differ from the right ones."""
    if watched is None:
        require(Watched)
        watched = shared(Watched)
    password = changes.pop("password", watched.password)
    settings = RedisSettings(
        mode="SENTINEL",
        nodes=watched.nodes,
        sentinel_name=NAME,
        sentinel_password=watched.sentinel_password,
    )
    return SentinelStore(replace(settings, **changes), password, timeout, prefix)


class TestSentinelStore(OnValkey):
    server = Watched
    long_parts = BESIDE_ANOTHER

    def make_store(self) -> Probed:
        return sentinel_store(prefix="[contract]*")

    def make_store_of_a_new_place(self) -> Probed:
        return sentinel_store(prefix=f"place-{a_key()[:8]}")

    def commands(self, store: Probed, action: Callable[[], object]) -> int:
        with ExitStack() as stack:
            caller, watcher = (stack.enter_context(shared(self.server).connect()) for _ in range(2))
            return sum(asked([caller], [watcher], action))


class TestBadInput:
    """Each its sentence, on its field."""

    @pytest.mark.parametrize(
        ("changes", "field", "sentence"),
        [
            ({"nodes": ""}, "nodes", "Enter at least one server"),
            ({"nodes": "a"}, "nodes", "no port"),
            ({"nodes": "a:0"}, "nodes", "The port of line 1"),
            ({"nodes": "a:1\na:1"}, "nodes", "each server once"),
            ({"sentinel_name": ""}, "sentinel_name", "Enter the name"),
        ],
        ids=str,
    )
    def test_what_cannot_be_is_refused_before_anything_is_connected(
        self, changes: dict[str, Any], field: str, sentence: str
    ) -> None:
        with pytest.raises(StoreMisconfigured, match=sentence) as caught:
            sentinel_store(**changes)
        assert caught.value.field == field

    def test_a_name_that_no_sentinel_knows_is_told(self) -> None:
        field, sentence = fault(sentinel_store(sentinel_name="other"))
        assert (field, sentence) == ("sentinel_name", "It watches nothing that is called “other”.")
        with pytest.raises(StoreUnavailable, match="No Sentinel names") as caught:
            sentinel_store(sentinel_name="other").get(a_key())
        assert caught.value.field == "sentinel_name"

    @pytest.mark.parametrize("password", ["", "wrong"])
    def test_a_wrong_password_of_the_sentinels_is_told_apart(self, password: str) -> None:
        assert fault(sentinel_store(sentinel_password=password))[0] == "sentinel_password"
        assert fault(sentinel_store(password=password))[0] == "password"

    def test_a_redis_server_that_is_no_sentinel_is_told(self) -> None:
        watched = shared(Watched)
        store = sentinel_store(nodes=f"{watched.host}:{watched.port}", sentinel_password=watched.password)
        assert fault(store)[1] == "This is a REDIS server, and no Sentinel."

    def test_one_sentinel_that_does_not_answer_is_a_warning_and_all_of_them_an_error(self) -> None:
        dead = f"127.0.0.1:{free_port()}"
        store = sentinel_store(nodes=f"{dead}\n{shared(Watched).nodes}")
        steps = run(store)
        assert [step for step in steps if not step.ok] == []
        assert any(step.warning and f"The Sentinel at {dead} can't tell" in step.message for step in steps)
        store.close()
        assert fault(sentinel_store(nodes=dead))[0] == "nodes"


def test_the_probe_shows_each_server_and_what_a_fail_over_can_lose() -> None:
    store = sentinel_store()
    steps = run(store)
    watched = shared(Watched)
    shown = {step.name: step.message for step in steps}
    assert shown[f"Server 127.0.0.1:{watched.primary().port}"] == "primary, 2 replicas"
    for each in watched.servers:
        if each is not watched.primary():
            assert shown[f"Server 127.0.0.1:{each.port}"] == "replica"
    assert any(
        step.warning and "2 replicas, asynchronous: a fail-over can lose the last writes" in step.message
        for step in steps
    )
    store.close()
    waiting = sentinel_store(wait_replicas=1)
    assert not any("asynchronous" in step.message for step in run(waiting))
    waiting.close()


class TestWaiting:
    """A write counts once a replica has it."""

    def test_each_write_is_still_one_exchange_and_confirmed(self) -> None:
        store, key, first, second = sentinel_store(wait_replicas=2), a_key(), a_record(), a_record()
        assert store.create(key, first)
        assert store.replace(key, second, first.version).name == "SAVED"
        assert store.touch(key, second.expires_at + 1000)
        for each in shared(Watched).replicas:
            with each.connect() as client:
                assert client.exists(f"tests:{key}")
        assert store.delete(key)
        for each in shared(Watched).replicas:
            with each.connect() as client:
                assert not client.exists(f"tests:{key}")
        store.close()

    def test_without_confirmation_it_is_unavailable_and_says_so(self) -> None:
        store, keys, record = (
            sentinel_store(wait_replicas=3, timeout=2),
            [a_key(), a_key(), a_key()],
            a_record(),
        )
        plain = sentinel_store()
        for key in keys:
            plain.create(key, record)
        writes: list[Callable[[], object]] = [
            lambda: store.create(a_key(), record),
            lambda: store.replace(keys[0], record, record.version),
            lambda: store.touch(keys[1], record.expires_at + 1000),
            lambda: store.end(a_key(), record.expires_at),
            lambda: store.delete(keys[2]),
            lambda: store.create_many({a_key(): record}),
        ]

        def fails(write: Callable[[], object]) -> None:
            begun = monotonic()
            with pytest.raises(
                StoreUnavailable, match=r"too few replicas \(2 of 3\) have confirmed"
            ) as caught:
                write()
            assert monotonic() - begun < 2
            assert (caught.value.answered, caught.value.field) == (True, "wait_replicas")

        in_threads([partial(fails, write) for write in writes])
        key = keys[2]
        assert store.get(key) is None
        with pytest.raises(StoreUnavailable, match="too few replicas"):
            store.delete(
                a_key()
            )  # nothing is there, and that may be due to a logout that nobody has confirmed
        for each in (store, plain):
            each.close()


class TestFailOver:
    """On servers of its own."""

    def test_another_primary_that_is_announced_is_used_without_a_failure(self) -> None:
        """A planned fail-over, in which no write is lost: COORDINATED."""
        require(Watched)
        with Watched(replicas=1) as watched:
            store = GuardedStore(sentinel_store(watched, timeout=2), "main")
            key, record = a_key(), a_record()
            assert store.create(key, record)
            assert isinstance(store.store, SentinelStore)
            place = store.store
            place.prepare()
            before = place.place()
            assert place._wire._idle
            old = watched.primary()
            watched.fail_over(coordinated=True)
            new = watched.wait_for_primary(old)
            give_up = monotonic() + 10
            while place._wire._idle and monotonic() < give_up:  # nobody asks meanwhile
                sleep(0.05)
            assert place._wire._idle == [], "connections to the last primary are given up"
            assert store.get(key) == record
            assert store.replace(key, record, record.version).name == "SAVED"
            assert place._wire.address.port == new.port
            assert place.place() == before, "a promoted replica is the same place"
            store.close()

    def test_a_dead_primary_is_replaced_and_nothing_listens_after_close(self) -> None:
        require(Watched)
        before = listeners()
        with Watched() as watched:
            store = GuardedStore(sentinel_store(watched, timeout=1, wait_replicas=1), "main")
            key, record = a_key(), a_record()
            assert store.create(key, record)
            old = watched.primary()
            old.kill()
            begun = monotonic()
            found = None
            while found is None:
                assert monotonic() - begun < 10
                try:
                    found = store.get(key)
                except StoreUnavailable:
                    sleep(0.1)
            assert found == record
            store.close()
            give_up = monotonic() + 2
            while listeners() - before and monotonic() < give_up:
                sleep(0.05)
            assert listeners() - before == set()


def listeners() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "sessionpersist-sentinel"}
