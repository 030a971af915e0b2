"""Sessions of the engine used before, ``SESSIONPERSIST["ADOPT_FROM"]``, so that installing the app logs nobody out.

A session that is in no store is read through the old engine, written to the current store, and removed there. Once the
longest session life has passed since the installation, the setting can go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.cache import SessionStore as CacheSession

from sessionpersist import conf
from sessionpersist.exceptions import StoreUnavailable


def engine() -> type[SessionBase] | None:
    """Return the session class of the engine used before; None where nothing is adopted."""
    path = conf.get("ADOPT_FROM")
    if not path:
        return None
    found: type[SessionBase] = import_module(path).SessionStore
    return found


def find(session_key: str) -> dict[str, Any] | None:
    """Return what the old engine knows of a session, or None. Raises StoreUnavailable where it can't tell."""
    with translated("read"):
        old = _session(session_key)
        if old is None:
            return None
        data = dict(old.load())
        if not data and isinstance(old, CacheSession):
            old.exists(session_key)  # raises where the cache is down, which load() takes for "no session"
        return data or None


def is_still_there(session_key: str) -> bool:
    """Return whether the old engine still has the session: nobody has logged out meanwhile. Raises StoreUnavailable."""
    with translated("read"):
        old = _session(session_key)
        return old is not None and bool(old.exists(session_key))


def remove(session_key: str) -> None:
    """Delete a session at the old engine, as it has moved or was logged out. Raises StoreUnavailable."""
    with translated("changed"):
        old = _session(session_key)
        if old is not None:
            old.delete(session_key)


@contextmanager
def translated(done: str) -> Iterator[None]:
    """Have whatever goes wrong inside be a StoreUnavailable: what an engine uses has errors of its own, none of which
    means that there is no session. ``done`` is what was to be done with the sessions."""
    try:
        yield
    except Exception as error:
        raise StoreUnavailable(f"The sessions of the engine used before could not be {done}.") from error


def _session(session_key: str) -> SessionBase | None:
    found = engine()
    if found is None:
        return None
    session = found(session_key)
    # Django's file engine makes a new session in the place of one that has expired.
    session.create = _make_nothing  # type: ignore[method-assign]
    return session


def _make_nothing() -> None:
    """Nothing new comes to the old engine."""
