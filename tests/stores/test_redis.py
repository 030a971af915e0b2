"""REDIS: the contract, on Valkey and on Redis."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.base import Store, now_ms
from sessionpersist.stores.redis import IDLE_SECONDS, RedisStore, pack
from sessionpersist.stores.settings import RedisSettings
from tests.servers import Redis, Valkey, require, shared
from tests.stores.contract import RoundTrips, StoreContract, a_key, a_record
from tests.stores.parallel import in_threads
from tests.stores.places import redis_store


class TestRedisStoreOnValkey(StoreContract, RoundTrips):
    server: ClassVar[type[Redis]] = Valkey

    def make_store(self) -> Store:
        require(self.server)
        server = shared(self.server)
        settings = RedisSettings(host=server.host, port=server.port, username=server.username)
        return RedisStore(settings, server.password, timeout=5, prefix="[contract]*")

    def commands(self, store: Store, action: Callable[[], object]) -> int:
        """What the server says it was asked, without what its scripts ask for themselves."""
        end = secrets.token_hex(8)
        server = shared(self.server)
        with server.connect() as caller, server.connect() as watcher, watcher.monitor() as monitor:
            caller.ping()  # connects, which takes commands of its own
            action()
            caller.echo(end)
            asked = list(itertools.takewhile(lambda each: end not in each["command"], monitor.listen()))
        ours = [each for each in asked if each["client_type"] != "lua"]
        return len(ours[[each["command"] for each in ours].index("PING") + 1 :])

    def test_every_key_has_a_time_to_live(self, store: Store) -> None:
        key = a_key()
        with shared(self.server).connect() as client:
            store.create(key, a_record(life=60_000))
            assert 50_000 < client.pttl(f"[contract]*:{key}") <= 60_000
            store.touch(key, now_ms() + 90_000)
            assert 80_000 < client.pttl(f"[contract]*:{key}") <= 90_000
            store.end(key, now_ms() + 30_000)
            assert 20_000 < client.pttl(f"[contract]*:{key}") <= 30_000

    def test_an_expired_record_that_the_server_still_keeps_is_absent(self, store: Store) -> None:
        """As when the clocks of two nodes differ."""
        keys = [a_key() for _ in range(4)]
        old = a_record(life=-1)
        with shared(self.server).connect() as client:
            for key in keys:
                client.set(f"[contract]*:{key}", pack(old), px=60_000)
        assert store.get(keys[0]) is None
        assert store.replace(keys[0], a_record(), old.version).name == "MISSING"
        assert store.touch(keys[1], now_ms() + 60_000) is False
        assert store.delete(keys[2]) is False
        assert store.create(keys[3], new := a_record()) is True
        assert dict(store.scan()) == {keys[3]: new}
        assert store.count() == 1

    def test_the_keys_of_another_site_are_left_alone(self, store: Store) -> None:
        with shared(self.server).connect() as client:
            client.set("c*:other", b"not ours", px=60_000)
            client.set("[contract]:other", b"not ours", px=60_000)
        assert list(store.scan()) == []
        assert store.count() == 0

    @pytest.mark.parametrize("prefix", ["shop", "größe"])
    def test_a_site_whose_prefix_begins_with_this_one_is_left_alone(self, prefix: str) -> None:
        """A drain of the one deleted the sessions of the other."""
        ours = redis_store(self.server, prefix=prefix)
        theirs = redis_store(self.server, prefix=f"{prefix}:staging")
        key, record = a_key(), a_record()
        ours.create(key, record)
        theirs.create(a_key(), a_record())
        assert dict(ours.scan()) == {key: record}
        assert (ours.count(), theirs.count()) == (1, 1)
        for store in (ours, theirs):
            store.delete_many({each: found.version for each, found in store.scan()})
            store.close()

    def test_a_closed_store_may_be_used_again_and_again(self, store: Store) -> None:
        key, record = a_key(), a_record()
        store.create(key, record)
        for _ in range(150):  # more than the connections of the driver's own pool
            store.close()
            assert store.get(key) == record

    def test_many_threads_have_a_connection_each(self, store: Store) -> None:
        key, record = a_key(), a_record()
        store.create(key, record)
        found = in_threads([lambda: [store.get(key) for _ in range(20)]] * 120)
        assert found == [[record] * 20] * 120

    def test_a_connection_that_was_idle_for_long_is_not_used_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A firewall may have dropped it, and the request would wait for the whole time-out."""
        store = redis_store(self.server)
        old = store._command("CLIENT", "ID")
        assert store._command("CLIENT", "ID") == old
        later = time.monotonic() + IDLE_SECONDS + 1
        monkeypatch.setattr(time, "monotonic", lambda: later)
        new = store._command("CLIENT", "ID")
        assert new != old
        assert store._command("CLIENT", "ID") == new
        with shared(self.server).connect() as client:
            alive = {int(each["id"]) for each in client.client_list()}
        assert alive & {old, new} == {new}
        store.close()

    def test_scripts_that_the_server_forgot_are_sent_again(self, store: Store) -> None:
        key = a_key()
        store.create(key, a_record())
        with shared(self.server).connect() as client:
            before = connections(client)
            client.script_flush()
            assert store.touch(key, now_ms() + 90_000) is True
            assert connections(client) <= before  # what the server answers with an error costs no connection

    def test_a_connection_to_what_is_no_longer_the_primary_is_given_up(self) -> None:
        """Behind the same address there may be another server by now."""
        require(self.server)
        with self.server() as server, server.connect() as client:
            client.ping()
            before = connections(client)
            settings = RedisSettings(host=server.host, port=server.port, username=server.username)
            store = RedisStore(settings, server.password, timeout=5, prefix="failover")
            assert store.create(a_key(), a_record())
            [old] = connections(client) - before
            client.replicaof("127.0.0.1", 1)
            with pytest.raises(StoreUnavailable, match="replica"):
                store.create(a_key(), a_record())
            client.replicaof("NO", "ONE")
            assert store.create(a_key(), a_record())
            assert old not in connections(client)
            store.close()


def connections(client: Any) -> set[str]:
    """The connections that the server has, by its numbers."""
    return {each["id"] for each in client.client_list()}


class TestRedisStoreOnRedis(TestRedisStoreOnValkey):
    server = Redis
