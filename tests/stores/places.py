"""Settings of stores on the test servers, right ones and wrong ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sessionpersist.stores.mongodb.store import MongoStore
from sessionpersist.stores.redis.store import RedisStore
from sessionpersist.stores.settings import MongoSettings, RedisSettings
from tests.servers import MongoDB, Redis, ReplicaSet, require, shared


def redis_store(
    server: type[Redis], *, tls: bool = False, timeout: float = 5, prefix: str = "tests", **changes: Any
) -> RedisStore:
    """A store on the shared server; ``changes`` are settings that differ from the right ones."""
    require(server, tls=tls)
    running = shared(server, tls=tls)
    password = changes.pop("password", running.password)
    settings = RedisSettings(host=running.host, port=running.port, username=running.username, tls=tls)
    ca_file = str(running.ca_file) if tls else None
    return RedisStore(replace(settings, **changes), password, timeout, prefix, ca_file)


def mongo_store(
    *,
    server: type[MongoDB] = MongoDB,
    tls: bool = False,
    timeout: float = 5,
    prefix: str = "tests",
    **changes: Any,
) -> MongoStore:
    """A store on the shared server; ``changes`` are settings that differ from the right ones."""
    require(server, tls=tls)
    running = shared(server, tls=tls)
    password = changes.pop("password", running.password)
    ca_file = str(running.ca_file) if tls else None
    return MongoStore(replace(mongo_settings(running), **changes), password, timeout, prefix, ca_file)


def mongo_settings(server: MongoDB) -> MongoSettings:
    """The right settings of a store there, without the password."""
    settings = MongoSettings(
        database=server.database,
        host=server.host,
        port=server.port,
        username=server.username,
        auth_source=server.auth_source,
        tls=server.tls,
    )
    if not isinstance(server, ReplicaSet):
        return settings
    return replace(settings, nodes="\n".join(server.nodes[1:]), replica_set=server.name)
