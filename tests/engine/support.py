"""What the tests of the engine, the configuration and the commands share: databases and servers to point it at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connections
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from sessionpersist.awaiting import in_loop, wait
from sessionpersist.engine import SessionStore
from sessionpersist.handover import routing
from sessionpersist.handover.routing import RoutedStore
from sessionpersist.session.sealing import stored_key
from sessionpersist.stores.base import Outcome, Record, Rotation
from sessionpersist.testing import override_login_configuration
from tests.servers import MongoDB, Postgres, Server, Valkey, require, shared
from tests.stores.verbs import OF_A_REQUEST

Fields = dict[str, Any]
VERBS = OF_A_REQUEST | {"get_many"}
# For properties: a busy machine is no failure, and nothing is left in the working folder.
patiently = hypothesis_settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


class InForce:
    """Tests on a store. A subclass says in ``fields`` which one is in force."""

    @pytest.fixture
    def fields(self) -> Iterator[Fields]:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def in_force(self, fields: Fields) -> Iterator[None]:
        with override_login_configuration(**fields):
            yield


def server_fields(cls: type[Server]) -> Fields:
    """The fields of the Login Configuration that lead to the shared server of this class; skips where there is none."""
    require(cls)
    server = shared(cls)
    if isinstance(server, MongoDB):
        prefix = "mongodb"
        extra: Fields = {"mongodb_auth_source": server.auth_source, "mongodb_database": server.database}
    else:
        assert isinstance(server, Valkey)
        prefix, extra = "redis", {"redis_database": int(server.database)}
    login = {name: getattr(server, name) for name in ("host", "port", "username", "password")}
    return {
        "persistence_type": prefix.upper(),
        **{f"{prefix}_{name}": value for name, value in login.items()},
        **extra,
    }


def postgres_values(name: str | None = None) -> dict[str, Any]:
    """An entry for DATABASES: the shared PostgreSQL server, or a new database of that name on it."""
    require(Postgres)
    server = shared(Postgres)
    if name is not None:
        server.create_database(name)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name or server.database,
        "USER": server.username,
        "PASSWORD": server.password,
        "HOST": server.host,
        "PORT": str(server.port),
    }


def sqlite_values(path: Path) -> dict[str, Any]:
    """An entry for DATABASES: an SQLite file."""
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}


@contextmanager
def extra_database(alias: str, **values: Any) -> Iterator[str]:
    """One more database in the project for a while. Not with the mark ``django_db``, which allows no such thing."""
    defaults = {
        **connections.settings["default"],
        "OPTIONS": {},
        "USER": "",
        "PASSWORD": "",
        "HOST": "",
        "PORT": "",
    }
    connections.settings[alias] = {**defaults, **values}
    try:
        yield alias
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]


def new_session(**content: Any) -> SessionStore:
    """A saved session with this content."""
    session = SessionStore()
    session.update(content)
    session.save()
    return session


def key_of(session: SessionStore) -> str:
    """The key of a session that has one."""
    assert session.session_key is not None
    return session.session_key


def record_of(session: SessionStore) -> Record | None:
    """What the store holds of a session."""
    return routing.current_store().get(stored_key(key_of(session)))


class RecordingStore:
    """A store that notes the verbs it is asked, each of them one round trip, and asks the real one."""

    def __init__(self, inner: RoutedStore) -> None:
        self.inner = inner
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in VERBS:
            self.asked.append(name)
        return getattr(self.inner, name)


class RivalStore(RecordingStore):
    """A store in which somebody else always gets in first, just before a verb: ``before[verb]`` says what they do."""

    def __init__(self, inner: RoutedStore, **before: Callable[[], Any]) -> None:
        super().__init__(inner)
        self.before = before

    def __getattr__(self, name: str) -> Any:
        if rival := self.before.pop(name, None):
            rival()
        return super().__getattr__(name)


class StubbornStore(RecordingStore):
    """A store in which every replace meets a newer version."""

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        self.asked.append("replace")
        return Outcome.CONFLICT


class ChangingStore(RecordingStore):
    """A store in which whoever deletes the version that was read meets a newer one."""

    def delete(self, key: str, version: int | None = None) -> bool:
        self.asked.append("delete")
        return version is None and self.inner.delete(key)

    def rotate(self, old_key: str, version: int | None, new_key: str, record: Record) -> Rotation:
        self.asked.append("rotate")
        return Rotation.LEFT if self.inner.create(new_key, record, version) else Rotation.TAKEN


def in_event_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test that is a coroutine function, in an event loop of its own; where its class runs in one, in that."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        if in_loop():
            wait(test(*args, **kwargs))
        else:
            async_to_sync(test)(*args, **kwargs)

    return run
