"""MONGODB: the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from pymongo import errors, monitoring
from pymongo.collection import Collection
from pymongo.database import Database

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.base import Store, now_ms
from sessionpersist.stores.mongodb import MongoStore
from sessionpersist.stores.settings import MongoSettings
from tests.servers import MongoDB, require, shared
from tests.stores.contract import RoundTrips, StoreContract, a_key, a_record
from tests.stores.places import mongo_store


class Commands(monitoring.CommandListener):
    """Notes the commands that are sent."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


LISTENER = Commands()
monitoring.register(LISTENER)


class TestMongoStore(StoreContract, RoundTrips):
    def make_store(self) -> Store:
        require(MongoDB)
        server = shared(MongoDB)
        settings = MongoSettings(
            database=server.database,
            host=server.host,
            port=server.port,
            username=server.username,
            auth_source=server.auth_source,
        )
        return MongoStore(settings, server.password, timeout=5, prefix="contract")

    def commands(self, store: Store, action: Callable[[], object]) -> int:
        before = len(LISTENER.names)
        action()
        return len(LISTENER.names) - before

    def test_the_mark_of_a_logout_may_be_the_first_that_a_store_is_told(self) -> None:
        """Nothing but the index would ever delete it."""
        store = mongo_store(prefix=f"first-{a_key()[:8]}")
        store.end(a_key(), now_ms() + 60_000)
        assert store.missing() is None
        store.close()

    def test_a_read_that_meets_a_server_that_is_no_longer_primary_waits_for_the_new_one(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key, record = a_key(), a_record()
        store.create(key, record)

        def stepped_down(*arguments: Any, **options: Any) -> NoReturn:
            raise errors.NotPrimaryError("not primary")

        monkeypatch.setattr(Database, "command", stepped_down)
        assert store.get(key) == record

    def test_records_that_a_majority_has_not_acknowledged_are_not_said_to_be_created(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A drain deletes at the source what was created: a failover must not take it back."""

        def unacknowledged(*arguments: Any, **options: Any) -> NoReturn:
            fault = {"code": 64, "errmsg": "waiting for replication timed out"}
            raise errors.BulkWriteError({"writeErrors": [], "writeConcernErrors": [fault], "nInserted": 1})

        monkeypatch.setattr(Collection, "insert_many", unacknowledged)
        with pytest.raises(StoreUnavailable):
            store.create_many({a_key(): a_record()})
