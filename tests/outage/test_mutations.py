"""A store that does not check the version, or an engine that does not merge, would be noticed.

Each guard is taken out in turn; the scenario that the other tests assert on must then lose an update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sessionpersist.engine import SessionStore
from sessionpersist.session import merging
from sessionpersist.stores.base import Outcome, Record, Store
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.memory import MemoryStore
from sessionpersist.stores.mongodb.store import MongoStore
from sessionpersist.stores.redis.store import RedisStore
from sessionpersist.testing import override_login_configuration
from tests.load import stores
from tests.servers import MongoDB, Valkey

pytestmark = pytest.mark.django_db


@pytest.fixture(params=[MemoryStore, DatabaseStore, RedisStore, MongoStore], ids=lambda cls: cls.__name__)
def store_class(request: pytest.FixtureRequest) -> Iterator[type[Store]]:
    fields: dict[type[Store], Callable[[], dict[str, Any]]] = {
        MemoryStore: lambda: {"persistence_type": "IN_MEMORY"},
        DatabaseStore: lambda: {"persistence_type": "JDBC", "jdbc_database": "default"},
        RedisStore: lambda: stores.fields_on(Valkey),
        MongoStore: lambda: stores.fields_on(MongoDB),
    }
    with override_login_configuration(**fields[request.param]()):
        yield request.param


def after_two_parallel_saves() -> dict[str, Any]:
    """Return what is stored after two requests that had read the same session each added a key."""
    session = SessionStore()
    session.create()
    ours, theirs = SessionStore(session.session_key), SessionStore(session.session_key)
    theirs["theirs"] = ours["ours"] = 1
    theirs.save()
    ours.save()
    return dict(SessionStore(session.session_key).items())


@pytest.mark.usefixtures("store_class")
def test_as_it_is_both_survive() -> None:
    assert after_two_parallel_saves() == {"ours": 1, "theirs": 1}


def test_without_the_version_check_one_is_lost(
    store_class: type[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = store_class.replace

    def unchecked(self: Store, key: str, record: Record, expected: int) -> Outcome:
        held = self.get(key)
        return checked(self, key, record, held.version if held else expected)

    monkeypatch.setattr(store_class, "replace", unchecked)
    assert after_two_parallel_saves() == {"ours": 1}


@pytest.mark.usefixtures("store_class")
def test_without_the_merge_one_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "three_way", lambda base, ours, theirs, dumps: ours)
    assert after_two_parallel_saves() == {"ours": 1}
