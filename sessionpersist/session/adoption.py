"""Sessions of the engine used before, ``SESSIONPERSIST["ADOPT_FROM"]``, so that installing the app logs nobody out.

A session that is in no store is read through the old engine, written to the current store, and removed there. Once the
longest session life has passed since the installation, the setting can go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.cache import SessionStore as CacheSession
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.contrib.sessions.backends.file import SessionStore as FileSession
from django.core import signing

from sessionpersist import conf
from sessionpersist.awaiting import in_thread
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
    return in_thread(_find, session_key) if conf.get("ADOPT_FROM") else None


def _find(session_key: str) -> dict[str, Any] | None:
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
    return in_thread(_is_still_there, session_key)


def _is_still_there(session_key: str) -> bool:
    with translated("read"):
        old = _session(session_key)
        return old is not None and bool(old.exists(session_key))


def is_empty(session_key: str) -> bool:
    """Return whether the old engine has the session and there is nothing in it. One that can't be read is not empty;
    the engine's own ``load()`` answers the same for both. Raises StoreUnavailable."""
    with translated("read"):
        old = _session(session_key)
        if old is None or isinstance(old, CacheSession):
            return old is not None and not old.load() and old.session_key is not None
        try:
            content = signing.loads(_written(old), salt=old.key_salt, serializer=AsWritten)
        except signing.BadSignature:
            return False
        return bool(content == old.serializer().dumps({}))


class AsWritten(signing.JSONSerializer):
    """A serializer that leaves a session as it is."""

    def loads(self, data: bytes) -> bytes:
        return data


def _written(old: SessionBase) -> str:
    """Return what an engine of Django's has written for a session; nothing where that can't be told."""
    known: Any = old  # by what the stubs leave out
    if isinstance(
        old, DatabaseSession
    ):  # cached_db, too: its cache holds an empty copy of what can't be read
        row = known._get_session_from_db()
        return str(row.session_data) if row else ""
    if isinstance(old, FileSession):
        file = Path(known._key_to_file())
        return file.read_text("ascii", errors="replace") if file.exists() else ""
    return ""


def remove(session_key: str) -> None:
    """Delete a session at the old engine, as it has moved or was logged out. Raises StoreUnavailable."""
    if conf.get("ADOPT_FROM"):  # so it is on few sites, and not for each logout
        in_thread(_remove, session_key)


def _remove(session_key: str) -> None:
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
