"""The real servers as stores: what to type into the Login Configuration for each, and into the site's environment."""

from __future__ import annotations

from typing import Any

from tests.servers import (
    Cluster,
    MariaDB,
    MongoDB,
    Postgres,
    Redis,
    ReplicaSet,
    Server,
    Valkey,
    Watched,
    require,
    shared,
)
from tests.servers.sentinel import NAME

SERVERS: list[type[Server]] = [Valkey, Redis, Postgres, MariaDB, MongoDB]
ALIAS = "sessions"


def fields(server: Server) -> dict[str, Any]:
    """Return the fields of LoginConfiguration that choose this server."""
    if isinstance(server, Redis):
        return {
            "persistence_type": "REDIS",
            "redis_password": server.password,
            **_of_redis(server),
        }
    if isinstance(server, MongoDB):
        return {
            "persistence_type": "MONGODB",
            "mongodb_host": server.host,
            "mongodb_port": server.port,
            "mongodb_username": server.username,
            "mongodb_password": server.password,
            "mongodb_database": server.database,
            "mongodb_auth_source": server.auth_source,
            **_of_replica_set(server),
        }
    return {"persistence_type": "JDBC", "jdbc_database": ALIAS}


def _of_redis(server: Redis) -> dict[str, Any]:
    if isinstance(server, Cluster):
        return {"redis_mode": "CLUSTER", "redis_nodes": server.nodes}
    if isinstance(server, Watched):
        return {
            "redis_mode": "SENTINEL",
            "redis_nodes": server.nodes,
            "redis_sentinel_name": NAME,
            "redis_sentinel_password": server.sentinel_password,
        }
    return {"redis_mode": "STANDALONE", "redis_host": server.host, "redis_port": server.port}


def _of_replica_set(server: MongoDB) -> dict[str, Any]:
    if not isinstance(server, ReplicaSet):
        return {"mongodb_nodes": "", "mongodb_replica_set": ""}
    return {"mongodb_nodes": "\n".join(server.nodes[1:]), "mongodb_replica_set": server.name}


def fields_on(server: type[Server]) -> dict[str, Any]:
    """Return the fields that choose the server of this class that this process shares; skip where there is none."""
    require(server)
    return fields(shared(server))


def databases(server: Server) -> dict[str, str]:
    """Return the databases that the site must import for that."""
    return {ALIAS: server.url} if isinstance(server, Postgres | MariaDB) else {}
