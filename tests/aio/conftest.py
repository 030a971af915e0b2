"""Each store in force, for code on an event loop. The app is imported in the fixtures: pytest reads this first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_django import DjangoDbBlocker, Settings

if TYPE_CHECKING:
    from tests.engine.support import Fields

ALIAS = "aio_sessions"
ON_THE_LOOP = ["IN_MEMORY", "REDIS"]  # stores that take no thread
KINDS = [*ON_THE_LOOP, "MONGODB", "JDBC"]


@pytest.fixture(autouse=True)
def own_memory(settings: Settings, tmp_path: Path) -> None:
    """In-Memory sessions of each test lie in a folder of its own."""
    settings.SESSIONPERSIST = {"MEMORY_DIR": str(tmp_path / "memory"), "TIMEOUT_SECONDS": 5}


@pytest.fixture
def fields(kind: str, tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[Fields]:
    """The fields of the Login Configuration of a store of that ``kind``, with which a test is parametrized."""
    from tests.engine.support import extra_database, server_fields, sqlite_values
    from tests.servers import MongoDB, Valkey

    if kind == "JDBC":
        values = sqlite_values(tmp_path / "sessions.sqlite3")
        with django_db_blocker.unblock(), extra_database(ALIAS, **values):
            yield {"persistence_type": "JDBC", "jdbc_database": ALIAS}
    elif kind == "IN_MEMORY":
        yield {"persistence_type": kind}
    else:
        servers: dict[str, Any] = {"REDIS": Valkey, "MONGODB": MongoDB}
        yield server_fields(servers[kind])


@pytest.fixture
def in_force(fields: Fields) -> Iterator[None]:
    from sessionpersist.testing import override_login_configuration

    with override_login_configuration(**fields):
        yield
