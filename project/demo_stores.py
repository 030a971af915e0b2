"""The stores of `make demo`: what to type into the form for each, and what the command takes."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.servers import Cluster, MongoDB, Postgres, ReplicaSet, Server, Valkey, Watched
from tests.servers.sentinel import NAME, says_primary

SINGLE: tuple[type[Server], ...] = (Valkey, Postgres, MongoDB)
PASSWORD = "SESSIONPERSIST_DEMO_PASSWORD"  # noqa: S105 - names of variables
SENTINEL_PASSWORD = "SESSIONPERSIST_DEMO_SENTINEL_PASSWORD"  # noqa: S105


@dataclass(frozen=True)
class Store:
    """A store that runs: its title, and what to type into each field of the page.

    One of several servers also has its members, those of them that are primaries at first, how many seconds a
    fail-over takes at most, the options of `login_configuration set` that choose it, and the variables that these
    name.
    """

    title: str
    rows: Mapping[str, object]
    members: Sequence[Server] = ()
    primaries: Sequence[Server] = ()
    seconds: int = 0
    options: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


def new_password() -> str:
    """A plain password, which a double click selects."""
    return secrets.token_hex(8)


def cluster(stack: ExitStack) -> Store:
    """A Cluster of three primaries with a replica each, running until the stack is closed."""
    server = stack.enter_context(Cluster(password=new_password(), replicas=1))
    nodes = server.nodes.split()
    return Store(
        "REDIS (Valkey Cluster)",
        {"Servers": "Cluster", "Nodes": "\n".join(nodes), "Password": server.password},
        members=server.members,
        primaries=[each for each in server.members if says_primary(each)],
        seconds=8,
        options=redis_options("CLUSTER", nodes),
        variables={PASSWORD: server.password},
    )


def sentinel(stack: ExitStack) -> Store:
    """A primary and a replica that three Sentinels watch, running until the stack is closed."""
    server = stack.enter_context(Watched(password=new_password(), replicas=1))
    nodes = server.nodes.split()
    rows = {
        "Servers": "Sentinel",
        "Nodes": "\n".join(nodes),
        "Name of the primary": NAME,
        "Password at the Sentinels": server.sentinel_password,
        "Password": server.password,
    }
    own = [f"--sentinel-name={NAME}", f"--sentinel-password-env={SENTINEL_PASSWORD}"]
    return Store(
        "REDIS (Valkey with Sentinels)",
        rows,
        members=server.servers,
        primaries=[server.primary()],
        seconds=5,
        options=[*redis_options("SENTINEL", nodes), *own],
        variables={PASSWORD: server.password, SENTINEL_PASSWORD: server.sentinel_password},
    )


def replica_set(stack: ExitStack) -> Store:
    """A replica set of three members, running until the stack is closed."""
    server = stack.enter_context(ReplicaSet(password=new_password()))
    further = server.nodes[1:]
    rows = mongodb_rows(server) | {"Further hosts": "\n".join(further), "Replica set": server.name}
    login = [f"--username={server.username}", f"--password-env={PASSWORD}"]
    where = [f"--host={server.host}", f"--port={server.port}", f"--database={server.database}"]
    own = [f"--auth-source={server.auth_source}", f"--replica-set={server.name}", "--nodes", *further]
    return Store(
        "MONGODB (replica set)",
        rows,
        members=server.members,
        primaries=[server.wait_for_primary()],
        seconds=4,
        options=["--type=MONGODB", *where, *login, *own],
        variables={PASSWORD: server.password},
    )


# Several servers in the place of one, by the option that starts them.
SEVERAL: dict[str, tuple[type[Server], Callable[[ExitStack], Store]]] = {
    "cluster": (Cluster, cluster),
    "sentinel": (Watched, sentinel),
    "replica-set": (ReplicaSet, replica_set),
}


def single(valkey: Valkey, mongodb: MongoDB) -> list[Store]:
    """The stores that are one server each."""
    rows = {
        "Host": valkey.host,
        "Port": valkey.port,
        "Password": valkey.password,
        "Database": valkey.database,
    }
    return [Store("REDIS (Valkey)", rows), Store("MONGODB", mongodb_rows(mongodb))]


def mongodb_rows(server: MongoDB) -> dict[str, object]:
    """What to type for a MongoDB server."""
    return {
        "Database name": server.database,
        "Host": server.host,
        "Port": server.port,
        "User name": server.username,
        "Password": server.password,
        "Authentication database": server.auth_source,
    }


def redis_options(mode: str, nodes: Sequence[str]) -> list[str]:
    """What the command takes for REDIS on several servers."""
    return ["--type=REDIS", f"--mode={mode}", f"--password-env={PASSWORD}", "--nodes", *nodes]
