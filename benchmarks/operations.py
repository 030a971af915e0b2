"""What a site does with a session, as whole engine objects do it: the same code for every engine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

from benchmarks.contents import content, of_somebody, somebody
from benchmarks.timing import Case

Engine = Callable[[str | None], SessionBase]
Keys = Iterator[str]  # without end: of sessions that are there
KEPT = 50  # sessions that are read and written again and again, in turn


def stored(engine: Engine, data: dict[str, Any]) -> str:
    """Save a new session and return its key."""
    session = engine(None)
    session.update(data)
    session.save()
    assert session.session_key
    return session.session_key


def load(engine: Engine, size: int, kept: Keys | None = None) -> Case:
    """A new object, and one key read."""
    keys = kept or _kept(engine, size)
    return Case(lambda: next(keys), lambda key: engine(key)["visits"])


def save(engine: Engine, size: int, kept: Keys | None = None) -> Case:
    """A session that was loaded before, saved with one changed key."""
    keys, numbers = kept or _kept(engine, size), itertools.count(10)

    def changed() -> SessionBase:
        session = engine(next(keys))
        session["visits"] = next(numbers) % 10  # of one digit: the size stays
        return session

    return Case(changed, lambda session: session.save())


def slide(engine: Engine, size: int, kept: Keys | None = None) -> Case:
    """A page view with SESSION_SAVE_EVERY_REQUEST: loaded, not changed, and saved for its new expiry."""
    keys = kept or _kept(engine, size)

    def view(key: str) -> None:
        session = engine(key)
        assert session["_auth_user_id"]
        session.save()

    return Case(lambda: next(keys), view)


def login(engine: Engine, size: int) -> Case:
    """What ``auth.login`` and the middleware do to the session of a visitor who had one."""
    data = content(size, logged_in=False)

    def log_in(key: str) -> None:
        session: Any = engine(key)
        session.saved_with_response = True  # as our middleware has it; Django's engines don't look at it
        assert "_auth_user_id" not in session
        session.cycle_key()
        session.update(somebody())
        session.save()

    return Case(lambda: stored(engine, data), log_in)


def logout(engine: Engine, size: int) -> Case:
    """What ``auth.logout`` does: it asks who it was, and flushes."""
    data = content(size)

    def log_out(key: str) -> None:
        session = engine(key)
        assert session["_auth_user_id"]
        session.flush()

    return Case(lambda: stored(engine, of_somebody(data)), log_out)


def create(engine: Engine, size: int) -> Case:
    """A new session, filled and saved."""
    data = content(size)
    return Case(lambda: of_somebody(data), lambda new: stored(engine, new))


ON_KEPT: dict[str, Callable[[Engine, int, Keys | None], Case]] = {"load": load, "save": save, "slide": slide}
OPERATIONS: dict[str, Callable[[Engine, int], Case]] = {
    "load": load,
    "save": save,
    "slide": slide,
    "login": login,
    "logout": logout,
    "create": create,
}


def _kept(engine: Engine, size: int) -> Keys:
    data = content(size)
    return itertools.cycle([stored(engine, of_somebody(data)) for _ in range(KEPT)])
