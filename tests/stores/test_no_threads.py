"""The system allows no more threads for a while: what wants one fails at once, and works again when there are some.

From a review: whoever came later waited for a thread that had never begun, for as long as the process lived.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import pytest
from django.db import connections, transaction
from django.utils import translation
from pytest_django import DjangoDbBlocker

from sessionpersist.configuration.databases import look_at_databases
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import snapshot
from sessionpersist.stores import deadlines
from sessionpersist.stores.connecting import apart, resolve
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.settings import DatabaseSettings
from sessionpersist.stores.transactions import outside
from tests.aio.looping import on_a_loop
from tests.servers import Postgres, require, shared
from tests.servers.places import free_port
from tests.stores.contract import a_key
from tests.stores.databases import added_database
from tests.stores.test_cluster import cluster_store
from tests.stores.test_sentinel import listeners, sentinel_store

LONG = 60.0  # seconds


def refused(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@pytest.fixture
def without_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Calls something that is to fail for want of a thread."""

    def call(work: Callable[[], object]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            with pytest.raises((OSError, StoreUnavailable)) as caught:
                work()
        cause = caught.value.__cause__ or caught.value
        assert "can't start new thread" in str(cause)

    return call


WithoutThreads = Callable[[Callable[[], object]], None]


def test_a_name_is_looked_up(without_threads: WithoutThreads) -> None:
    def look_up() -> object:
        return resolve("localhost", 80, monotonic() + LONG)

    without_threads(look_up)
    assert look_up()


def test_a_coroutine_has_something_done_apart(without_threads: WithoutThreads) -> None:
    @on_a_loop
    def work() -> str:
        return apart(lambda: "done", monotonic() + LONG)

    without_threads(work)
    assert work() == "done"


@pytest.mark.xdist_group("cluster")
def test_the_nodes_of_a_cluster_are_asked_who_has_what(without_threads: WithoutThreads) -> None:
    with closing(cluster_store(timeout=LONG)) as store:
        without_threads(lambda: store.get(a_key()))
        assert store.get(a_key()) is None


@pytest.mark.xdist_group("sentinel")
def test_sentinels_are_listened_to_from_the_next_connection_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = listeners()
    with closing(sentinel_store(timeout=LONG)) as store:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            for _ in range(2):
                assert store.get(a_key()) is None
                store._wire.give_up_connections()
        assert [each.getMessage().split()[0] for each in caplog.records] == ["event=sentinels_silent"]
        assert listeners() <= before
        assert store.get(a_key()) is None
        assert len(listeners() - before) == 1


@pytest.mark.parametrize("connected", [True, False], ids=["on a connection", "without a connection"])
def test_the_deadline_of_a_database_is_kept(
    connected: bool,
    without_threads: WithoutThreads,
    monkeypatch: pytest.MonkeyPatch,
    django_db_blocker: DjangoDbBlocker,
) -> None:
    """What failed for want of a thread was cut off at its deadline all the same, in the midst of what came after it."""
    require(Postgres)
    server, timeout = shared(Postgres), 0.5
    with django_db_blocker.unblock(), added_database("starved", server.url_for(server.database)):
        store = DatabaseStore(DatabaseSettings(database="starved"), timeout)
        store.prepare()
        if not connected:
            connections["starved"].close()
        before, raw = open_files(), connections["starved"].connection
        monkeypatch.setattr(deadlines, "_watch", deadlines._Watch())
        without_threads(lambda: store.get(a_key()))
        assert open_files() == before
        give_up = monotonic() + 2 * timeout
        while monotonic() < give_up:
            assert store.get(a_key()) is None
            assert not connected or connections["starved"].connection is raw
            sleep(0.02)


def open_files() -> int:
    return len(list(Path(f"/proc/{os.getpid()}/fd").iterdir()))


def test_what_is_to_be_done_outside_a_transaction(without_threads: WithoutThreads) -> None:
    without_threads(lambda: outside(lambda: "done"))
    assert outside(lambda: "done") == "done"


@pytest.mark.django_db(transaction=True)
def test_a_transaction_goes_on_with_the_configuration_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    known = snapshot.current()
    snapshot.expire()
    with transaction.atomic(), monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        kept = snapshot.current()
    assert (kept.kept, kept.current) == (True, known.current)
    snapshot.reset()
    assert not snapshot.current().kept


@pytest.mark.django_db(databases="__all__")
def test_a_database_that_nobody_can_look_at_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"postgres://nobody@127.0.0.1:{free_port()}/none"
    with added_database("starved", url), translation.override("de"):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            assert problem_of("starved") == "antwortet nicht"
        assert problem_of("starved") == "nicht erreichbar", "in the language of the page"


def problem_of(alias: str) -> str:
    return {each.alias: each.problem for each in look_at_databases()}[alias]
