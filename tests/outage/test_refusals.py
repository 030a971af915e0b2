"""A refusal is not an outage: what a server answers to one request says nothing against the others."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings

from sessionpersist.exceptions import ForeignRecord, SessionTooLarge, StoreUnavailable
from sessionpersist.stores import guarded as guarding
from sessionpersist.stores.base import Record, new_version, now_ms
from sessionpersist.stores.breaker import FAULTS, Breaker
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.redis.store import RedisStore
from sessionpersist.stores.settings import RedisSettings
from tests.servers import Valkey, require

from .flaky import FlakyStore, site_on
from .test_middleware import MIDDLEWARE

KEY = "a" * 64
REFUSAL = StoreUnavailable("The server is full.", answered=True)
OUTAGE = StoreUnavailable("The server is down.")


def record() -> Record:
    return Record(b"payload", new_version(), now_ms(), now_ms() + 60_000)


class RefusingStore(FlakyStore):
    """Raises what it is told to, whatever it is asked; ``calls`` tells what reached it."""

    error: Exception | None = None

    def get(self, key: str) -> Record | None:
        if self.error:
            raise self.error
        return super().get(key)


@pytest.fixture
def refusing(tmp_path: Path) -> RefusingStore:
    return RefusingStore(tmp_path)


@pytest.fixture
def guarded(refusing: RefusingStore) -> GuardedStore:
    return GuardedStore(refusing, "The store")


def ask(guarded: GuardedStore, refusing: RefusingStore, error: Exception | None, times: int = 1) -> None:
    refusing.error = error
    for _ in range(times):
        if error is None:
            guarded.get(KEY)
        else:
            with pytest.raises(type(error)):
                guarded.get(KEY)


@pytest.mark.parametrize(
    "error",
    [REFUSAL, SessionTooLarge("too large"), ForeignRecord("foreign"), TypeError("the caller's own fault")],
    ids=lambda error: type(error).__name__,
)
class TestWhatIsNoOutage:
    def test_repeated_it_opens_no_circuit(
        self, guarded: GuardedStore, refusing: RefusingStore, error: Exception
    ) -> None:
        ask(guarded, refusing, error, times=10 * FAULTS)
        assert guarded.breaker.admits()
        assert guarded.breaker.healthy

    def test_between_faults_it_adds_none(
        self, guarded: GuardedStore, refusing: RefusingStore, error: Exception
    ) -> None:
        ask(guarded, refusing, OUTAGE, times=FAULTS - 1)
        ask(guarded, refusing, error)
        assert guarded.breaker.admits()


def test_a_server_that_refuses_after_an_outage_can_be_asked_again(
    guarded: GuardedStore, refusing: RefusingStore
) -> None:
    ask(guarded, refusing, OUTAGE, times=FAULTS)
    guarded.breaker._clock = lambda: float("inf")  # the pause is over
    ask(guarded, refusing, REFUSAL)
    ask(guarded, refusing, None, times=3)


def test_a_second_try_that_is_refused_is_no_outage(guarded: GuardedStore, refusing: RefusingStore) -> None:
    def lose() -> None:
        raise StoreUnavailable("The connection was lost.", connection_lost=True)

    def refuse() -> None:
        raise REFUSAL

    for _ in range(FAULTS):
        with pytest.raises(StoreUnavailable, match="full"):
            guarded._guarded("get", lose, again=refuse)
    assert guarded.breaker.healthy


def test_refusals_are_logged_once_a_minute_with_the_words_of_the_driver(
    guarded: GuardedStore,
    refusing: RefusingStore,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(guarding, "monotonic", lambda: now[0])
    refusal = StoreUnavailable("The server is full.", answered=True)
    refusal.__cause__ = OSError("OOM command \x1b[2J not allowed")
    ask(guarded, refusing, refusal, times=5)
    assert [line.levelname for line in caplog.records] == ["ERROR"]
    assert "The store refused a request: The server is full. (OSError: OOM command [2J not" in caplog.text
    now[0] += 61
    ask(guarded, refusing, refusal, times=5)
    assert len(caplog.records) == 2


def test_the_words_of_the_driver_are_logged_once_when_a_store_is_lost(
    guarded: GuardedStore, refusing: RefusingStore, caplog: pytest.LogCaptureFixture
) -> None:
    outage = StoreUnavailable("The store did not answer in time.")
    outage.__cause__ = TimeoutError("Timeout reading\nfrom \x1b]0;title\x07 socket")
    ask(guarded, refusing, outage, times=5)
    (line,) = caplog.records
    assert line.getMessage() == (
        'event=store_lost store="The store" error=TimeoutError message="The store is lost: The store did not answer '
        'in time. (TimeoutError: Timeout reading from ]0;title socket)"'
    )


@pytest.fixture(scope="module")
def full_server() -> Iterator[Valkey]:
    require(Valkey)
    with Valkey() as server:
        yield server


@pytest.fixture
def site(full_server: Valkey) -> Iterator[Breaker]:
    settings = RedisSettings(host=full_server.host, port=full_server.port)
    store = RedisStore(settings, full_server.password, 2.0, "refusals")
    with override_settings(MIDDLEWARE=MIDDLEWARE), site_on(store) as breaker:
        yield breaker
    with full_server.connect() as client:
        client.config_set("maxmemory", 0)
    store.close()


def browser() -> Client:
    return Client(raise_request_exception=False)


@pytest.mark.django_db
@pytest.mark.urls("tests.outage.urls")
def test_logins_that_a_full_redis_refuses_leave_all_reads_answered(
    full_server: Valkey, site: Breaker, caplog: pytest.LogCaptureFixture
) -> None:
    User.objects.create_user("ada")
    ada = browser()
    assert ada.post("/login/").content == b"logged in"
    before = ada.get("/read/").content
    with full_server.connect() as client:
        client.config_set("maxmemory", 1)
    with caplog.at_level(logging.WARNING, "sessionpersist"):
        logins = [browser().post("/login/").status_code for _ in range(2 * FAULTS)]
        reads = [ada.get("/read/") for _ in range(60)]
    assert logins == [503] * 2 * FAULTS
    assert [answer.content for answer in reads] == [before] * 60
    assert site.healthy
    (line,) = [each.getMessage() for each in caplog.records if each.name == "sessionpersist"]
    assert "refused a request" in line
    assert "OOM" in line or "maxmemory" in line
    with full_server.connect() as client:
        client.config_set("maxmemory", 0)
    assert browser().post("/login/").content == b"logged in"
