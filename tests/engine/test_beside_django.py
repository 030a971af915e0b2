"""What Django's own engines answer, this one answers: each behaviour runs on all of them, sync and async."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.contrib.sessions.backends.file import SessionStore as FileSession

from sessionpersist.engine import SessionStore

UNKNOWN = "akeythatnobodyhas"
ENGINES = ["db", "cache", "cached_db", "file"]

Make = Callable[..., Any]  # a class of sessions, or one whose sessions go the way of async


class AsyncSession:
    """A session whose methods are called by their async names."""

    def __init__(self, session: SessionBase) -> None:
        self.session = session

    def __getattr__(self, name: str) -> Any:
        twin = getattr(self.session, f"a{name}", None)
        return getattr(self.session, name) if twin is None else async_to_sync(twin)


def failing(call: Callable[[], Any]) -> str | None:
    try:
        call()
    except (CreateError, UpdateError) as error:
        return type(error).__name__
    return None


def saved(make: Make) -> Any:
    session = make()
    session.update({"cat": "tabby"})
    session.save()
    return session


def of_none(make: Make) -> Any:
    return make().exists(None), make().delete(None), make(None).load(), make(None).session_key


def of_an_empty_key(make: Make) -> Any:
    return make().exists(""), make().delete(""), make("").load(), make("").session_key


def empty_key_spares_this_session(make: Make) -> Any:
    session = saved(make)
    session.delete("")
    return session.exists(session.session_key)


def of_a_key_that_is_too_short(make: Make) -> Any:
    return make("1234567").session_key, make().exists("1234567"), make().delete("1234567")


def of_an_unknown_key(make: Make) -> Any:
    session = make(UNKNOWN)
    return session.load(), session.session_key, session.exists(session.session_key), session.exists(UNKNOWN)


def deleted_elsewhere(make: Make) -> Any:
    session = saved(make)
    mine = make(session.session_key)
    mine.update({"dog": "rex"})
    make(session.session_key).delete()
    first = failing(mine.save)
    kept_its_key = mine.session_key == session.session_key
    return first, kept_its_key, failing(mine.save), mine.exists(mine.session_key), mine.load()


def deleted_before_it_is_loaded(make: Make) -> Any:
    """The key is never None afterwards, with which a second save would make a session out of nothing."""
    session = make(UNKNOWN)
    errors = failing(session.save), failing(session.save)
    return errors, session.session_key is None, session.exists(session.session_key), session.exists(UNKNOWN)


def deleted_and_cleared_unread(make: Make) -> Any:
    session = make(UNKNOWN)
    session.clear()
    return failing(session.save), session.session_key, session.exists(UNKNOWN)


def taken_key(make: Make) -> Any:
    session = saved(make)
    other = make(session.session_key)
    return failing(lambda: other.save(must_create=True)), make(session.session_key).load()


def without_a_key(make: Make) -> Any:
    found = []
    for name in ("save", "create", "cycle_key", "flush", "delete"):
        session = make()
        session.update({"cat": "tabby"})
        getattr(session, name)()
        key = session.session_key
        found.append((name, key is None, session.exists(key), make(key).load(), session.modified))
    return found


def after_a_flush(make: Make) -> Any:
    session = saved(make)
    session.flush()
    return session.session_key, session.load(), session.is_empty(), session.modified, session.accessed


BEHAVIOURS = [
    of_none,
    of_an_empty_key,
    empty_key_spares_this_session,
    of_a_key_that_is_too_short,
    of_an_unknown_key,
    deleted_elsewhere,
    deleted_before_it_is_loaded,
    deleted_and_cleared_unread,
    taken_key,
    without_a_key,
    after_a_flush,
]


def both_ways(engine: str, behaviour: Callable[[Make], Any]) -> tuple[Any, Any]:
    cls = import_module(engine).SessionStore
    return behaviour(cls), behaviour(lambda *key: AsyncSession(cls(*key)))


@pytest.mark.django_db
@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
def test_answer_is_that_of_the_engine_of_django(
    engine: str, behaviour: Callable[[Make], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Django remembers the first folder that SESSION_FILE_PATH names, which is gone with the test that had it.
    monkeypatch.setattr(FileSession, "_storage_path", str(tmp_path), raising=False)
    theirs = both_ways(f"django.contrib.sessions.backends.{engine}", behaviour)
    assert both_ways("sessionpersist.engine", behaviour) == theirs


def test_an_object_begins_as_one_of_django() -> None:
    """The engine's own ``__init__`` stands for Django's, and must set all that this sets."""
    key = "k" * 32
    assert vars(SessionBase(key)).items() <= vars(SessionStore(key)).items()


@pytest.mark.usefixtures("in_memory")
def test_without_assertions_the_answers_are_the_same(tmp_path: Path) -> None:
    """``python -O`` leaves assertions out: none of them may carry a behaviour."""
    command = [sys.executable, "-O", "-m", "tests.engine.optimised"]
    environment = {**os.environ, "MEMORY_DIR": str(tmp_path)}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"assertions": False, **answers()}


def answers() -> dict[str, str]:
    """What this engine answers in each behaviour, as text."""
    return {each.__name__: repr(both_ways("sessionpersist.engine", each)) for each in BEHAVIOURS}
