"""REDIS with "Wait for replicas": what was told to a user holds after a fail-over. On a primary and a replica."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

import pytest

from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import logouts, snapshot
from sessionpersist.models import PendingLogout
from sessionpersist.session.sealing import stored_key
from sessionpersist.stores.base import ENDED, Outcome
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.redis.store import RedisStore
from sessionpersist.stores.settings import RedisSettings
from sessionpersist.testing import override_login_configuration
from tests.servers import Valkey, require
from tests.servers.places import free_port
from tests.servers.sentinel import Replica
from tests.stores.contract import a_key, a_record

pytestmark = pytest.mark.xdist_group("replicas")

TIMEOUT = 1.5  # seconds; an answer has what the replicas are not waited for, 30 %


class Pair:
    """A primary, and a replica that can be cut off from it."""

    def __init__(self, primary: Valkey, replica: Replica) -> None:
        self.primary, self.replica = primary, replica

    def follow(self, port: int) -> None:
        with self.replica.connect() as client:
            client.execute_command("REPLICAOF", self.primary.host, port)

    def cut(self) -> None:
        """Return once neither of the two knows of the other."""
        self.follow(free_port())
        self._wait_for(0)

    def join(self) -> None:
        self.follow(self.primary.port)
        self._wait_for(1)

    def _wait_for(self, replicas: int) -> None:
        give_up = monotonic() + 10
        with self.primary.connect() as client:
            while len([each for each in client.execute_command("ROLE")[2] if each[2] != b"0"]) != replicas:
                assert monotonic() < give_up
                sleep(0.05)

    def store(self, wait_replicas: int = 1) -> RedisStore:
        settings = RedisSettings(host=self.primary.host, port=self.primary.port, wait_replicas=wait_replicas)
        return RedisStore(settings, self.primary.password, TIMEOUT, "tests")

    def replica_has(self, name: str) -> bool:
        with self.replica.connect() as client:
            return bool(client.exists(name))


@pytest.fixture(scope="module")
def started() -> Iterator[Pair]:
    require(Valkey)
    with Valkey() as primary, Replica(primary) as replica:
        yield Pair(primary, replica)


@pytest.fixture
def pair(started: Pair) -> Pair:
    started.join()
    return started


def is_unconfirmed(call: Callable[[], object]) -> None:
    with pytest.raises(StoreUnavailable, match="too few replicas") as caught:
        call()
    assert (caught.value.answered, caught.value.field) == (True, "wait_replicas")


# By the verb: how to ask for it, and what it answers where nothing is left.
AFTERWARDS: dict[str, tuple[Callable[[RedisStore, str, Any], object], object]] = {
    "delete": (lambda store, key, record: store.delete(key), False),
    "delete a version": (lambda store, key, record: store.delete(key, record.version), False),
    "touch": (lambda store, key, record: store.touch(key, record.expires_at + 1), False),
    "replace": (lambda store, key, record: store.replace(key, record, record.version), Outcome.MISSING),
}


@pytest.mark.parametrize(
    ("how", "name"),
    [
        *(("deleted", name) for name in AFTERWARDS),
        ("ended", "replace"),
        *(pytest.param("ended", name, marks=pytest.mark.long) for name in AFTERWARDS if name != "replace"),
    ],
)
def test_that_nothing_is_left_is_said_once_the_replica_knows_it(pair: Pair, how: str, name: str) -> None:
    """The first logout was not confirmed, and what comes after it finds nothing on the primary."""
    store, key, record = pair.store(), a_key(), a_record()
    verb, answer = AFTERWARDS[name]
    assert store.create(key, record)
    pair.cut()
    is_unconfirmed(lambda: store.delete(key) if how == "deleted" else store.end(key, record.expires_at))
    is_unconfirmed(lambda: verb(store, key, record))
    assert pair.replica_has(f"tests:{key}"), "it would come back"
    pair.join()
    assert verb(store, key, record) == answer
    held = store.get(key)
    assert held is None if how == "deleted" else held is not None and held.version == ENDED
    assert pair.replica_has(f"tests:{key}") is (how == "ended")
    store.close()


def test_a_touch_that_moves_nothing_is_confirmed_as_one_before_it_may_not_be(pair: Pair) -> None:
    store, key, record = pair.store(), a_key(), a_record()
    assert store.create(key, record)
    pair.cut()
    is_unconfirmed(lambda: store.touch(key, record.expires_at + 1000))
    is_unconfirmed(lambda: store.touch(key, record.expires_at + 1000))
    pair.join()
    assert store.touch(key, record.expires_at + 1000)
    assert store.get(key) == record._replace(expires_at=record.expires_at + 1000)
    store.close()


@pytest.mark.parametrize("verb", ["create", "replace", "delete", "rotate"])
def test_a_second_try_after_a_lost_connection_is_confirmed(
    pair: Pair, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first was carried out on the primary, and its answer was lost with the connection."""
    store, key, moved, record, second = pair.store(), a_key(), a_key(), a_record(), a_record()
    guarded, plain = GuardedStore(store, "main"), pair.store(wait_replicas=0)
    if verb != "create":
        assert store.create(key, record)
    calls: dict[str, Callable[[Any], object]] = {
        "create": lambda asked: asked.create(key, record),
        "replace": lambda asked: asked.replace(key, second, record.version),
        "delete": lambda asked: asked.delete(key),
        "rotate": lambda asked: asked.rotate(key, record.version, moved, second),
    }
    pair.cut()
    reached, tries = getattr(store, verb), iter(["lost"])

    def lost(*arguments: Any) -> object:
        if next(tries, None) is None:
            return reached(*arguments)
        calls[verb](plain)
        raise StoreUnavailable("lost", connection_lost=True)

    monkeypatch.setattr(store, verb, lost)
    with pytest.raises(
        StoreUnavailable, match=r"too few replicas|in time"
    ):  # a create asks up to three times
        calls[verb](guarded)
    assert (plain.get(key) is None) is (verb in ("delete", "rotate"))
    for each in (store, plain):
        each.close()


def test_a_session_that_no_replica_has_under_its_new_key_stays_under_the_old_one(pair: Pair) -> None:
    """Its user has the old key in the cookie, as the login was answered 503."""
    store, key, moved, record = pair.store(), a_key(), a_key(), a_record()
    assert store.create(key, record)
    pair.cut()
    with pytest.raises(StoreUnavailable, match="too few replicas"):
        store.rotate(key, record.version, moved, a_record())
    assert store.get(key) == record
    store.close()


@pytest.mark.usefixtures("switches_at_once")
@pytest.mark.django_db(transaction=True)
def test_a_logout_that_was_told_to_work_holds_after_a_fail_over(pair: Pair, settings: Any) -> None:
    """Seen: the first logout 503, the second answered with the cookie cleared, and the old cookie logged in again.

    What no replica has confirmed is written down, as in any outage, and carried out once one can.
    """
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "TIMEOUT_SECONDS": TIMEOUT}
    place = {
        "redis_host": pair.primary.host,
        "redis_port": pair.primary.port,
        "redis_password": pair.primary.password,
    }
    with override_login_configuration(persistence_type="REDIS", redis_wait_replicas=1, **place):
        session = SessionStore()
        session["user"] = "anna"
        session.save()
        key = str(session.session_key)
        pair.cut()
        for _ in range(3):
            session = SessionStore(key)
            session.get("user")  # as the view does, which looks who logs out
            session.flush()
        assert [each.stored_key for each in PendingLogout.objects.all()] == [stored_key(key)]
        pair.join()
        assert SessionStore(key).get("user") is None
        logouts.carry_out(snapshot.current())
    assert not PendingLogout.objects.exists()
    assert not any(map(pair.replica_has, names(pair, stored_key(key))))


def names(pair: Pair, key: str) -> list[str]:
    with pair.replica.connect() as client:
        return [each.decode() for each in client.keys(f"*{key}")]
