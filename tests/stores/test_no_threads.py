"""The system allows no more threads for a while: what wants one fails at once, and works again when there are some.

From a review: whoever came later waited for a thread that had never begun, for as long as the process lived.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from time import monotonic

import pytest

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.connecting import apart, resolve
from tests.aio.looping import on_a_loop
from tests.stores.contract import a_key
from tests.stores.test_cluster import cluster_store

LONG = 60.0  # seconds


@pytest.fixture
def without_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Calls something that is to fail for want of a thread."""

    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

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
