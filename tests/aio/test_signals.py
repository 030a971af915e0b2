"""Receivers of ``store_lost`` and ``store_recovered`` on a loop hold up the operation that has met the outage, for no
longer than a store may, and wait for nobody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connections
from pytest_django import DjangoDbBlocker, Settings

from sessionpersist.awaiting import awaited
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.signals import store_lost, store_recovered
from sessionpersist.stores import telling
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.redis.store import RedisStore
from sessionpersist.stores.settings import RedisSettings
from tests.configuration.test_snapshot import in_child
from tests.servers import Valkey, require
from tests.stores.contract import a_key

LONG = 30.0  # seconds; longer than anything here takes on a busy machine
NAMES = {store_lost: "lost", store_recovered: "recovered"}


@pytest.fixture
def server() -> Iterator[Valkey]:
    require(Valkey)
    with Valkey() as server:
        yield server


@pytest.fixture
def guarded(server: Valkey) -> Iterator[GuardedStore]:
    settings = RedisSettings(host=server.host, port=server.port, database=int(server.database))
    store = RedisStore(settings, server.password, 5.0, "signals")
    yield GuardedStore(store, "The store")
    store.close()


@pytest.fixture
def receive() -> Iterator[Callable[[Callable[..., Any]], None]]:
    """Connects a receiver to both signals, until the test is over."""
    connected: list[Callable[..., Any]] = []

    def connect(receiver: Callable[..., Any]) -> None:
        connected.append(receiver)
        for signal in NAMES:
            signal.connect(receiver)

    yield connect
    for each in connected:
        for signal in NAMES:
            signal.disconnect(each)


Receive = Callable[[Callable[..., Any]], None]


async def outage(guarded: GuardedStore, server: Valkey) -> None:
    """Have the store lost, and found again."""
    await awaited(guarded.get, a_key())
    server.kill()
    with pytest.raises(StoreUnavailable):
        await awaited(guarded.get, a_key())
    server.start()
    await awaited(guarded.get, a_key())


def on_asyncio(coroutine: Callable[[], Any]) -> None:
    asyncio.run(coroutine())


def under_a_sync_caller(coroutine: Callable[[], Any]) -> None:
    async_to_sync(coroutine)()


@pytest.mark.parametrize("run", [on_asyncio, under_a_sync_caller])
def test_they_are_called_while_all_sync_code_is_busy(
    run: Callable[..., None], guarded: GuardedStore, server: Valkey, receive: Receive
) -> None:
    heard: list[str] = []
    done = threading.Event()

    @receive
    def note(signal: Any, **kwargs: Any) -> None:
        heard.append(NAMES[signal])

    async def page() -> None:
        busy = asyncio.ensure_future(sync_to_async(done.wait)(LONG))
        await asyncio.sleep(0)
        await asyncio.wait_for(outage(guarded, server), LONG / 2)
        assert not busy.done()
        done.set()
        assert await busy

    try:
        run(page)
    finally:
        done.set()
    assert heard == ["lost", "recovered"]


def test_in_tests_of_a_project_they_are_called_where_the_transaction_of_the_test_is(
    guarded: GuardedStore, server: Valkey, receive: Receive, settings: Settings
) -> None:
    settings.SESSIONPERSIST = {"QUIET_TESTS": True}
    threads: list[threading.Thread] = []

    @receive
    def note(**kwargs: Any) -> None:
        threads.append(threading.current_thread())

    async_to_sync(outage)(guarded, server)
    assert threads == [threading.current_thread()] * 2


def test_coroutines_are_called_on_the_loop(guarded: GuardedStore, server: Valkey, receive: Receive) -> None:
    heard: list[tuple[str, bool, str]] = []

    async def page() -> None:
        loop = asyncio.get_running_loop()

        async def note(signal: Any, description: str, **kwargs: Any) -> None:
            heard.append((NAMES[signal], asyncio.get_running_loop() is loop, description))

        receive(note)
        await outage(guarded, server)

    asyncio.run(page())
    assert heard == [("lost", True, "The store"), ("recovered", True, "The store")]


def test_one_that_takes_long_goes_on_after_the_deadline(
    guarded: GuardedStore, server: Valkey, receive: Receive, settings: Settings
) -> None:
    settings.SESSIONPERSIST = {"TIMEOUT_SECONDS": 0.2}
    done, over = threading.Event(), threading.Event()

    @receive
    def send_a_letter(**kwargs: Any) -> None:
        if done.wait(LONG):
            over.set()

    begun = time.monotonic()
    asyncio.run(outage(guarded, server))
    assert time.monotonic() - begun < LONG / 2
    assert not over.is_set()
    done.set()
    assert over.wait(LONG)


def test_nobody_hears_that_it_is_back_while_others_are_told_that_it_is_lost(
    guarded: GuardedStore, server: Valkey, receive: Receive, settings: Settings
) -> None:
    settings.SESSIONPERSIST = {"TIMEOUT_SECONDS": 0.2}
    heard: list[str] = []
    done, over = threading.Event(), threading.Event()

    @receive
    def send_a_letter(signal: Any, **kwargs: Any) -> None:
        heard.append(NAMES[signal])
        assert done.wait(LONG)
        heard.append(f"{NAMES[signal]}, sent")
        if len(heard) == 8:
            over.set()

    async def page() -> None:
        await outage(guarded, server)
        await outage(guarded, server)
        workers = [each for each in threading.enumerate() if each.name == "sessionpersist-signals"]
        assert len(workers) == 1

    asyncio.run(page())
    assert heard == ["lost"]
    done.set()
    assert over.wait(LONG)
    assert heard == ["lost", "lost, sent", "recovered", "recovered, sent"] * 2


def no_thread(monkeypatch: pytest.MonkeyPatch) -> str:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    return "can't start new thread"


def too_many(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(telling, "MOST_WAITING", 0)
    return "0 signals wait for a receiver that has not returned"


@pytest.mark.parametrize("how", [no_thread, too_many])
def test_where_none_can_be_called_the_log_says_so_and_the_operation_goes_on(
    how: Callable[[pytest.MonkeyPatch], str],
    guarded: GuardedStore,
    server: Valkey,
    receive: Receive,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @receive
    def never(**kwargs: Any) -> None:
        called.append(kwargs)

    called: list[Any] = []
    said: list[str] = []

    async def page() -> None:
        await awaited(guarded.get, a_key())
        server.kill()
        with monkeypatch.context() as patch:
            said.append(how(patch))
            with pytest.raises(StoreUnavailable):
                await awaited(guarded.get, a_key())
        server.start()
        with monkeypatch.context() as patch:
            how(patch)
            assert await awaited(guarded.get, a_key()) is None

    asyncio.run(page())
    for name in NAMES.values():
        assert f"receivers of store_{name} were not called: {said[0]}." in caplog.text
    assert caplog.text.count("event=receivers_untold store=") == 2
    assert called == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_tells_its_own(
    guarded: GuardedStore, server: Valkey, receive: Receive, settings: Settings
) -> None:
    settings.SESSIONPERSIST = {"TIMEOUT_SECONDS": 0.2}
    done, heard = threading.Event(), threading.Event()

    @receive
    def hang(**kwargs: Any) -> None:
        heard.set()
        done.wait(LONG)

    def tell() -> bool:
        heard.clear()
        asyncio.run(awaited_lost())
        return heard.is_set()

    async def awaited_lost() -> None:
        await awaited(telling.lost, RedisStore, "The store", StoreUnavailable("It is gone."))

    assert tell()
    try:
        assert in_child(tell)
    finally:
        done.set()


def test_one_that_fails_makes_an_outage_no_worse(
    guarded: GuardedStore, server: Valkey, receive: Receive, caplog: pytest.LogCaptureFixture
) -> None:
    @receive
    def fail(**kwargs: Any) -> None:
        raise RuntimeError("the pager is broken too")

    @receive
    async def fail_on_the_loop(**kwargs: Any) -> None:
        raise RuntimeError("the mail is broken too")

    asyncio.run(outage(guarded, server))
    for what in ("pager", "mail"):
        assert caplog.text.count(f"RuntimeError: the {what} is broken too") == 2


def test_what_one_opens_to_a_database_is_closed(
    guarded: GuardedStore, server: Valkey, receive: Receive, django_db_blocker: DjangoDbBlocker
) -> None:
    opened: list[Any] = []

    @receive
    def ask(**kwargs: Any) -> None:
        connections["default"].ensure_connection()
        opened.append(connections["default"])

    with django_db_blocker.unblock():
        asyncio.run(outage(guarded, server))
    assert len(opened) == 2
    assert all(each is not connections["default"] and each.connection is None for each in opened)
