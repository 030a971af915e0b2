"""REDIS: the contract, on Valkey and on Redis."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import pytest

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.base import MAX_PAYLOAD_BYTES, Outcome, Probed, Record, now_ms
from sessionpersist.stores.redis import wire as redis_wire
from sessionpersist.stores.redis.store import HEADER, RedisStore, pack
from sessionpersist.stores.redis.wire import Wire
from sessionpersist.stores.settings import RedisSettings
from tests.servers import Redis, Valkey, require, shared
from tests.stores.contract import (
    BESIDE_ANOTHER,
    ForeignRecords,
    GetsAPlace,
    HasAPlace,
    RoundTrips,
    StoreContract,
    a_key,
    a_record,
)
from tests.stores.parallel import in_threads
from tests.stores.places import redis_store


def foreign_values() -> dict[str, bytes]:
    """Values that are no sessions, by what is wrong with each."""
    whole = pack(a_record(b"payload", user_id="größe"))
    user = whole.index("größe".encode())
    return {
        "too short": b"x",
        "a header that is too short": whole[: HEADER.size - 1],
        "another layout": b'{"_auth_user_id": "7", "and": "more than a header"}',
        "a version out of range": b"\xff" + whole[1:],
        "a beginning out of range": whole[:8] + b"\xff" + whole[9:],
        "an expiry out of range": whole[:16] + b"\xff" + whole[17:],
        "a length that points past the end": whole[:24] + b"\x03\xff" + whole[26:],
        "a user id that is too long": pack(a_record(user_id="ü" * 256)),
        "a user id that is no text": whole[:user] + b"\xff\xfe" + whole[user + 2 :],
        "a user id with half a character": whole[:user] + b"gr\xc3xxxx" + whole[user + 7 :],
        "a user id with parts around a character": whole[:user] + b"\xc3\xc3\xa9\xa9xxx" + whole[user + 7 :],
        "a payload that is too large": pack(a_record(bytes(MAX_PAYLOAD_BYTES + 1))),
    }


class TestRedisStoreOnValkey(StoreContract, RoundTrips, HasAPlace, GetsAPlace, ForeignRecords):
    saves_both: ClassVar = True

    server: ClassVar[type[Redis]] = Valkey

    def make_store(self) -> Probed:
        require(self.server)
        server = shared(self.server)
        settings = RedisSettings(host=server.host, port=server.port, username=server.username)
        return RedisStore(settings, server.password, timeout=5, prefix="[contract]*")

    def make_store_of_a_new_place(self) -> Probed:
        return redis_store(self.server, prefix=f"place-{a_key()[:8]}")

    def foreign(self, store: Any) -> dict[str, Callable[[str], object]]:
        return {
            **{what: partial(self._write, "SET", value) for what, value in foreign_values().items()},
            "a list": partial(self._write, "RPUSH", b"x"),
            "a set": partial(self._write, "SADD", b"x"),
        }

    def _write(self, command: str, value: bytes, key: str) -> None:
        with shared(self.server).connect() as client:
            client.execute_command(command, f"[contract]*:{key}", value)
            client.pexpire(f"[contract]*:{key}", 60_000)

    def commands(self, store: Probed, action: Callable[[], object]) -> int:
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

    def test_whom_a_login_ends_goes_along_with_the_list_in_one_exchange(
        self, store: Probed, live: tuple[str, Record], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        exchanges: list[int] = []
        ask = Wire.ask

        def counted(wire: Wire, commands: Sequence[Any], *rest: Any) -> list[Any]:
            exchanges.append(len(commands))
            return ask(wire, commands, *rest)

        self._warm_up(store)
        monkeypatch.setattr(Wire, "ask", counted)
        other = self.make_store()
        ended = {a_key(): 1, a_key(): 2}
        outcome = other.end_and_replace(ended, now_ms() + 60_000, live[0], a_record(), live[1].version)
        assert (outcome, exchanges) == (Outcome.SAVED, [1])
        other.close()

    def test_every_key_has_a_time_to_live(self, store: Probed) -> None:
        key = a_key()
        with shared(self.server).connect() as client:
            store.create(key, a_record(life=60_000))
            assert 50_000 < client.pttl(f"[contract]*:{key}") <= 60_000
            store.touch(key, now_ms() + 90_000)
            assert 80_000 < client.pttl(f"[contract]*:{key}") <= 90_000
            store.end(key, now_ms() + 30_000)
            assert 20_000 < client.pttl(f"[contract]*:{key}") <= 30_000

    def test_an_expired_record_that_the_server_still_keeps_is_absent(self, store: Probed) -> None:
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

    def test_the_keys_of_another_site_are_left_alone(self, store: Probed) -> None:
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
            store.delete_many({each: found.version for each, found in store.scan() if found})
            store.close()

    def test_a_closed_store_may_be_used_again_and_again(self, store: Probed) -> None:
        key, record = a_key(), a_record()
        store.create(key, record)
        for _ in range(150):  # more than the connections of the driver's own pool
            store.close()
            assert store.get(key) == record

    def test_many_threads_have_a_connection_each(self, store: Probed) -> None:
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
        with monkeypatch.context() as patch:
            patch.setattr(redis_wire, "IDLE_SECONDS", -1)
            new = store._command("CLIENT", "ID")
        assert new != old
        assert store._command("CLIENT", "ID") == new
        with shared(self.server).connect() as client:
            alive = {int(each["id"]) for each in client.client_list()}
        assert alive & {old, new} == {new}
        store.close()

    def test_scripts_that_the_server_forgot_are_sent_again(self, store: Probed) -> None:
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
    long_parts = BESIDE_ANOTHER
