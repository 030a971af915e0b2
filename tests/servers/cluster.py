"""A Valkey Cluster of real nodes on the loopback."""

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, ClassVar

from tests.servers.base import Server, ServerError
from tests.servers.places import free_port
from tests.servers.redis import Valkey

SLOTS = 16384
NODE_TIMEOUT = 2000  # milliseconds; the default, 15,000, would make the tests of a fail-over slow


class Node(Valkey):
    """One node. Its bus has a port of its own, as the usual one, 10,000 above, may be taken."""

    title = "Valkey Cluster"

    def __init__(self, password: str | None = None) -> None:
        super().__init__(password=password)
        self.bus = 0

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def _settings(self) -> dict[str, Any]:
        self.bus = self.bus or free_port()
        return super()._settings() | {
            "masterauth": f'"{self.password}"',
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": NODE_TIMEOUT,
            "cluster-port": self.bus,
            "cluster-require-full-coverage": "no",
            "repl-diskless-sync-delay": 0,
        }

    def ask(self, *words: Any) -> Any:
        """Send one command to this node and return its answer."""
        with self.connect() as client:
            return client.execute_command(*words)

    @property
    def id(self) -> str:
        return str(self.ask("CLUSTER", "MYID").decode())

    def knows(self) -> list[list[str]]:
        """What it knows of each node: its id, address, flags, primary, …, slots."""
        return [line.split() for line in self.ask("CLUSTER", "NODES").decode().splitlines()]


class Cluster(Node):
    """Three primaries, of which this one is the first, and as many replicas for each as are asked for."""

    primaries: ClassVar[int] = 3

    def __init__(self, *, tls: bool = False, password: str | None = None, replicas: int = 0) -> None:
        if tls:
            raise ServerError("The Cluster is started without TLS here.")
        super().__init__(password)
        self.replicas = replicas
        self.others: list[Node] = []

    @property
    def members(self) -> list[Node]:
        """All of them, whatever their state: first those that began as primaries."""
        return [self, *self.others]

    @property
    def nodes(self) -> str:
        """The addresses of all nodes, one a line."""
        return "\n".join(each.address for each in self.members)

    def _set_up(self) -> None:
        Server._set_up(self)
        count = self.primaries * (1 + self.replicas)
        self.others += [Node(self.password).start() for _ in range(count - 1)]
        share = -(-SLOTS // self.primaries)
        for number, each in enumerate(self.members[: self.primaries]):
            last = min((number + 1) * share, SLOTS) - 1
            each.ask("CLUSTER", "ADDSLOTSRANGE", number * share, last)
            each.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for each in self.others:
            self.ask("CLUSTER", "MEET", each.host, each.port, each.bus)
        self.wait_until(lambda: all(len(each.knows()) == count for each in self.members))
        for number, each in enumerate(self.members[self.primaries :]):
            each.ask("CLUSTER", "REPLICATE", self.members[number % self.primaries].id)
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Return once every node runs, all slots are served, and each replica follows its primary."""
        self.wait_until(lambda: all(map(self._is_whole, self.members)))

    def _is_whole(self, node: Node) -> bool:
        info = node.ask("CLUSTER", "INFO").decode().splitlines()
        flags = [each[2] for each in node.knows()]
        role = node.ask("ROLE")
        return (
            {"cluster_state:ok", f"cluster_slots_ok:{SLOTS}"} <= set(info)
            and not any("fail" in each or "handshake" in each for each in flags)
            and (role[0] == b"master" or role[3] == b"connected")
        )

    def primary_of(self, slot: int) -> Node:
        """The node that has a slot, as a node that answers knows it."""
        for each in self.members:
            with suppress(Exception):
                for first, last, owner, *_ in each.ask("CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return self._member(int(owner[1]))
        raise self._failure(f"has nobody for slot {slot}")

    def move_slot(self, slot: int, target: Node, between: Callable[[], object] = lambda: None) -> None:
        """Move one slot with its keys as ``redis-cli`` does; ``between`` is called half-way."""
        source = self.primary_of(slot)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        between()
        while names := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.ask(
                *("MIGRATE", target.host, target.port, "", 0, 5000, "AUTH", self.password, "KEYS", *names)
            )
        for each in (target, source, *self.members):
            with suppress(Exception):  # a replica takes no such command
                each.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)

    def heal(self) -> None:
        """Bring every node back, and wait until all of them are together again."""
        for each in self.members:
            if each.running:
                each.resume()
            else:
                each.start()
        self.wait_until_whole()

    def stop(self) -> None:
        with ExitStack() as stack:
            stack.callback(super().stop)
            if self._owner == os.getpid():
                for each in self.others:
                    stack.callback(each.stop)

    def _member(self, port: int) -> Node:
        return next(each for each in self.members if each.port == port)
