"""MONGODB: the contract."""

from __future__ import annotations

from collections.abc import Callable

from pymongo import monitoring

from sessionpersist.stores.base import Store
from sessionpersist.stores.mongodb import MongoStore
from sessionpersist.stores.settings import MongoSettings
from tests.servers import MongoDB, require, shared
from tests.stores.contract import RoundTrips, StoreContract


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
