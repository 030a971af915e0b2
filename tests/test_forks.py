"""What a forked child forgets, and in which order."""

from __future__ import annotations

import ast
import importlib
import logging
import pkgutil
import threading
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest

import sessionpersist
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

    logged = lambda *arguments, **options: done.append("logged")  # noqa: E731
    monkeypatch.setattr(logging.getLogger("sessionpersist"), "log", logged)
    forks.in_child(Layer.CONNECTIONS, fail)
    forks.in_child(Layer.STORES, lambda: done.append("store"))
    assert in_a_child(done) == "logged store"


# Modules that use threads and register nothing: what a child inherits of them is in nobody's way.
NEED_NO_HOOK = {
    "awaiting": "the idle greenlets of the calling thread, which is the one that goes on in the child",
    "configuration.databases": "a look ends with the call that began it, and is not shared",
    "stores.breaker": "a breaker belongs to an open store, which the stores forget",
    "stores.mongodb.inspection": "the threads of a probe end with it",
    "stores.mongodb.store": "a note of the calling thread, which is the one that goes on in the child",
    "stores.redis.cluster": "its locks are those of a wire, and wire.py has each wire forget",
    "stores.redis.sentinel": "its locks are those of a wire, and wire.py has each wire forget",
    "stores.redis.several": "the threads of a probe end with it",
    "threads": "who begins a thread registers",
    "stores.transactions": "the thread ends with the call that began it",
}
PRIMITIVES = {
    *("Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier"),
    *("Thread", "Timer", "begin_thread", "ThreadPoolExecutor", "threading.local"),
}


def test_everything_that_keeps_a_lock_a_thread_or_a_connection_is_registered() -> None:
    """There is one hook of the interpreter in the package, and each module that makes a lock or a thread registers."""
    modules = {name for name in all_modules() if makes_a_primitive(name)}
    assert modules >= {"stores", "stores.memory.shared_map", "handover.snapshot", "configuration.databases"}
    assert modules - registered() == NEED_NO_HOOK.keys()
    assert registered() >= {"stores.database.store", "handover.routing"}, "they keep connections, and views"


def test_no_lock_of_a_module_is_held_for_ever_in_a_child() -> None:
    """Each is held as the process forks, by a thread that the child does not have."""
    locks = [(name, each) for name in all_modules() for each in locks_of(name)]
    assert len(locks) >= 5
    with ExitStack() as held:
        for name, each in locks:
            held.enter_context(getattr(module(name), each))
        [stuck] = in_processes(
            [lambda: " ".join(f"{n}.{e}" for n, e in locks if getattr(module(n), e).locked())]
        )
    assert stuck == ""


def all_modules() -> list[str]:
    """The modules of the package, by their names within it."""
    found = pkgutil.walk_packages(sessionpersist.__path__, "sessionpersist.")
    names = (each.name.removeprefix("sessionpersist.") for each in found)
    return [name for name in names if not name.startswith(("migrations", "forks"))]


def module(name: str) -> ModuleType:
    return importlib.import_module(f"sessionpersist.{name}")


def registered() -> set[str]:
    return {forget.__module__.removeprefix("sessionpersist.") for _, forget in forks._registered}


def makes_a_primitive(name: str) -> bool:
    """Whether a module makes something of ``threading``, or a class of its own is a thread."""
    for node in ast.walk(ast.parse(Path(str(module(name).__file__)).read_text())):
        names = {ast.unparse(each) for each in called_or_derived_from(node)}
        if PRIMITIVES & (names | {each.removeprefix("threading.") for each in names}):
            return True
    return False


def called_or_derived_from(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Call):
        return [node.func]
    return node.bases if isinstance(node, ast.ClassDef) else []


def locks_of(name: str) -> list[str]:
    return [each for each, value in vars(module(name)).items() if isinstance(value, type(threading.Lock()))]
