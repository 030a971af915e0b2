"""What a forked child forgets, and in which order."""

from __future__ import annotations

import logging

import pytest

from sessionpersist import forks
from sessionpersist.forks import Layer
from tests.stores.parallel import in_processes


@pytest.fixture
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "_registered", [])


def in_a_child(done: list[str]) -> str:
    [said] = in_processes([lambda: " ".join(done)])
    return said


@pytest.mark.usefixtures("nothing_registered")
def test_the_connections_go_first_then_the_stores_then_what_is_known() -> None:
    done: list[str] = []
    forks.in_child(Layer.KNOWLEDGE, lambda: done.append("view"))
    forks.in_child(Layer.CONNECTIONS, lambda: done.append("socket"))
    forks.in_child(Layer.STORES, lambda: done.append("store"))
    forks.in_child(Layer.CONNECTIONS, lambda: done.append("thread"))
    assert in_a_child(done) == "socket thread store view"
    assert done == [], "the parent forgets nothing"


@pytest.mark.usefixtures("nothing_registered")
def test_one_that_fails_is_logged_and_keeps_no_other_from_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def fail() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(logging.getLogger("sessionpersist"), "exception", lambda text: done.append("logged"))
    forks.in_child(Layer.CONNECTIONS, fail)
    forks.in_child(Layer.STORES, lambda: done.append("store"))
    assert in_a_child(done) == "logged store"


def test_everything_that_keeps_a_lock_a_thread_or_a_connection_is_registered() -> None:
    """There is one hook of the interpreter in the package, and each module that registers is named here."""
    import sessionpersist.handover.nodes
    import sessionpersist.stores.database.store
    import sessionpersist.stores.memory  # noqa: F401

    modules = {forget.__module__.removeprefix("sessionpersist.") for _, forget in forks._registered}
    assert modules >= {
        "handover.nodes",
        "handover.routing",
        "handover.snapshot",
        "stores",
        "stores.connecting",
        "stores.database.store",
        "stores.deadlines",
        "stores.memory",
    }
