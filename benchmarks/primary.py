"""What one primary of REDIS can do: the memory that a session takes there, and the CPU time that each request takes.

The figures are those of the server alone, whatever its clients cost: ``used_memory``, and what ``INFO cpu`` adds while
50 connections send a request each at once, as those of a busy site do.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.contents import content
from benchmarks.goals import GOAL_SIZE
from benchmarks.places import folder
from benchmarks.surroundings import set_up
from tests.servers import Valkey
from tests.servers.cluster import SLOTS, Node

if TYPE_CHECKING:
    import redis

    from sessionpersist.stores.base import Record

FULL_COUNTS, QUICK_COUNTS = (1_000_000, 20_000), (20_000, 2_000)  # sessions; requests of each kind
CONNECTIONS = 50
SESSIONS = 100_000_000  # of the cluster that one node is part of: a slot has as many as there
LIFE = 14 * 24 * 3_600_000  # milliseconds
PREFIX = "sessionpersist:"

Row = dict[str, Any]
Command = tuple[Any, ...]
T = TypeVar("T")


def measure(counts: tuple[int, int]) -> list[Row]:
    """Measure one server, and one node of a Cluster. To be called in a process of its own."""
    with folder() as here, Valkey() as single, Node() as node:
        set_up(here)
        node.ask("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        while b"cluster_state:ok" not in node.ask("CLUSTER", "INFO"):
            pass
        slots = max(1, counts[0] * SLOTS // SESSIONS)
        return [
            _measured("one server", single, counts, names(counts[0])),
            _measured("node of a Cluster", node, counts, names(counts[0], slots)),
        ]


def names(count: int, slots: int = 0) -> list[str]:
    """Keys as the store has them; with ``slots`` they are in so many slots of a Cluster only."""
    length = len(PREFIX) + 64
    tags = [f"{{{at % slots:03x}}}" if slots else "" for at in range(count)]
    return [(tag + PREFIX + secrets.token_hex(32))[:length] for tag in tags]


def _measured(where: str, server: Valkey, counts: tuple[int, int], keys: list[str]) -> Row:
    from sessionpersist.stores.redis import scripts
    from sessionpersist.stores.redis.store import LAST_BYTE, pack, packed

    old = record()
    new, value = pack(old._replace(version=old.version + 1)), pack(old)
    kinds: dict[str, Callable[[str], Command]] = {
        "login": lambda key: ("SET", f"{key}:new", value, "PX", LIFE, "NX"),
        "page view": lambda key: ("GETRANGE", key, b"0", LAST_BYTE),
        "change": lambda key: (
            *("EVALSHA", scripts.REPLACE.sha, 1, key, old.created_at, packed(old.version)),
            *(new, LIFE),
        ),
    }
    with server.connect() as client:
        empty = used(client)
        for some in in_batches(keys, 1000):
            pipe = client.pipeline(transaction=False)
            for key in some:
                pipe.set(key, value, px=LIFE)
            pipe.execute()
        each = round((used(client) - empty) / len(keys))
        client.script_load(scripts.REPLACE.text)
        times = {name: cpu_time(client, map(make, keys[: counts[1]])) for name, make in kinds.items()}
        own = client.memory_usage(keys[0])
    return {"server": where, "sessions": len(keys), "bytes": each, "memory_usage": own, "cpu_us": times}


def record() -> Record:
    """A session of the size of the goals, sealed, as a store gets it."""
    from sessionpersist.engine import SessionStore
    from sessionpersist.session import sealing
    from sessionpersist.stores.base import Record, new_version, now_ms

    plain = SessionStore().serializer().dumps(content(GOAL_SIZE))
    payload = sealing.Sealer(secrets.token_hex(16)).seal(plain)
    return Record(payload, new_version(0), now_ms(), now_ms() + LIFE, "12345")


def in_batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    left = iter(things)
    while some := list(islice(left, size)):
        yield some


def used(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])


def cpu_time(client: redis.Redis, commands: Iterator[Command]) -> float:
    """Return how many µs of its time the server needs for each of these."""
    pool = client.connection_pool
    with ExitStack() as stack:
        connections = [pool.get_connection() for _ in range(CONNECTIONS)]
        for each in connections:
            stack.callback(pool.release, each)
        count, before = 0, seconds(client)
        for some in in_batches(commands, CONNECTIONS):
            asked = list(zip(connections, some, strict=False))
            for connection, command in asked:
                connection.send_command(*command)  # type: ignore[no-untyped-call]
            for connection, _ in asked:
                connection.read_response()
            count += len(some)
        return round((seconds(client) - before) / count * 1_000_000, 1)


def seconds(client: redis.Redis) -> float:
    """How much time of a core the server has used so far."""
    found = client.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])
