"""The nodes of a REDIS Cluster: which of them has a key is known from the driver's own topology, and asked for again
when that turns out to be wrong.

A verb is one exchange with the node that has the slot of its key, straight on the driver's connection (see ``Wire``).
What a node answers instead is followed: MOVED says who has the slot now, ASK who has a key while its slot moves.
"""

from __future__ import annotations

import threading
from binascii import crc_hqx
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from functools import partial
from time import monotonic
from typing import Any

import redis
from redis.cluster import ClusterNode, NodesManager
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisClusterException,
    TryAgainError,
)

from sessionpersist.awaiting import AllInUse, result_of, sleep
from sessionpersist.stores.addresses import Address
from sessionpersist.stores.connecting import left
from sessionpersist.stores.redis.wire import (
    ADDRESS,
    SMALL,
    Command,
    Link,
    Pool,
    Wire,
    in_time,
    pool_of_one,
    time_left,
)
from sessionpersist.threads import NoThread, begin_thread, settle

SLOTS = 16384
REDIRECTIONS = 16  # that one exchange follows, as in the driver
MOVES = 5  # of slots, each of which was followed, until the whole topology is asked for, as in the driver
MOST_NODES = 1000
TRY_AGAIN = 0.05  # seconds
LOOK_EVERY = (
    0.5  # seconds between two looks at who has the slots of a node that was lost, while it is still named
)


class NoSlots(redis.ConnectionError):
    """No node has the slot of this key."""


class Relocated(redis.ConnectionError):
    """A node was lost, and another one has its slots by now: one more try will reach it."""


class ClusterLink(Link):
    """Asks the nodes of a Cluster."""

    def __init__(
        self, seeds: Sequence[Address], options: dict[str, Any], timeout: float, replicas: int = 0
    ) -> None:
        """``seeds`` are asked for the topology at first; ``options`` are those of each connection."""
        self.seeds, self.options = list(seeds), options
        self.forget()
        super().__init__(timeout, replicas)

    def forget(self) -> None:
        self._lock = threading.Lock()  # held for a few assignments, never while somebody is asked
        self._wires: dict[Address, Wire] = {}
        self._slots: list[Wire | None] = [None] * SLOTS
        self._primaries: list[Address] = []
        self.replicas_at: list[Address] = []
        self._loading: Future[None] | None = None
        self._moves = 0
        self._lost: dict[Wire, float] = {}  # that did not answer, and when to look for who has its slots

    def ask(
        self, commands: Sequence[Command], give_up: float = 0.0, most: int = SMALL, name: str = ""
    ) -> list[Any]:
        """See Link.ask(). It is the node that has the slot of ``name`` which is asked."""
        begun = monotonic()
        slot = crc_hqx(name.encode(), 0) % SLOTS  # no name has braces in it
        wire = self._slots[slot] or self._wire_of(slot, give_up or begun + self.timeout)
        try:
            answers = wire.ask(commands, give_up, most)
            if isinstance(answers[0], redis.ResponseError):
                return self._follow(commands, answers, slot, wire, give_up or begun + self.timeout, most)
        except AllInUse:  # which says nothing about the node
            raise
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            self._look_again(slot, wire, error, give_up or begun + self.timeout)
            raise
        if self._lost:
            self._lost.pop(wire, None)
        return answers

    def ask_each(self, named: Sequence[tuple[str, Command]], most: int, *, writes: bool = False) -> list[Any]:
        """Return the answer to each command, of the node that has the slot of the name beside it; all that one node is
        asked is one exchange. ``writes``: see Link.write()."""
        give_up = monotonic() + self.timeout
        by_wire: dict[Wire, list[int]] = {}
        for at, (name, _) in enumerate(named):
            slot = crc_hqx(name.encode(), 0) % SLOTS
            by_wire.setdefault(self._slots[slot] or self._wire_of(slot, give_up), []).append(at)
        answers: list[Any] = [None] * len(named)
        for wire, places in by_wire.items():
            ask = wire.write if writes else wire.ask
            for at, answer in zip(places, ask([named[at][1] for at in places], give_up, most), strict=True):
                answers[at] = answer
        for at, (name, command) in enumerate(named):
            if isinstance(answers[at], AskError | TryAgainError):  # MOVED is one of the former
                answers[at] = (self.write if writes else self.ask)([command], give_up, most, name)[0]
        return answers

    def primaries(self) -> list[Wire]:
        """Return the nodes that have slots, as of now. Raises whatever a driver can raise."""
        self.load(monotonic() + self.timeout)
        return [self._wire_at(address) for address in self._primaries]

    def node(self, address: Address) -> Wire:
        """Return the way to one node of the Cluster, whatever its role is."""
        return self._wire_at(address)

    def part_of(self, name: str) -> str:
        """Return which primary has a key, as far as that is known; "" where it is not."""
        slot = crc_hqx(name.encode(), 0) % SLOTS
        wire = self._slots[slot]
        if wire is not None and wire in self._lost:
            self._look_for_another(wire)
        return str(wire.address) if wire else ""

    def close(self) -> None:
        for wire in list(self._wires.values()):
            wire.close()

    # What is answered instead.

    def _follow(
        self,
        commands: Sequence[Command],
        answers: list[Any],
        slot: int,
        wire: Wire,
        give_up: float,
        most: int,
    ) -> list[Any]:
        """Go where a node sends us, as long as there is time. A slot that moves keeps nobody out."""
        for _ in range(REDIRECTIONS):
            match answers[0]:
                case MovedError() as moved:
                    wire = self._moved(slot, moved, wire)
                    answers = wire.ask(commands, give_up, most)
                case AskError() as ask:
                    other = self._wire_at(_address_in(ask, wire))
                    answers = other.ask([("ASKING",), *commands], give_up, most)[1:]
                case TryAgainError():
                    sleep(min(TRY_AGAIN, left(give_up)))
                    answers = wire.ask(commands, give_up, most)
                case ClusterDownError():
                    self._load_aside()
                    return answers
                case _:
                    return answers
        return answers

    def _moved(self, slot: int, error: MovedError, wire: Wire) -> Wire:
        self._slots[slot] = wire = self._wire_at(_address_in(error, wire))
        self._moves += 1
        if self._moves >= MOVES:
            self._load_aside()
        return wire

    def _look_again(self, slot: int, wire: Wire, error: Exception, give_up: float) -> None:
        """After a node was lost: ask who has its slots now, for which there may be time. Raises Relocated where that is
        another one; else the error is the answer."""
        if isinstance(error, redis.AuthenticationError | NoSlots):
            return
        self._lost[wire] = monotonic() + LOOK_EVERY
        with suppress(Exception):  # the error that led here tells more
            self.load(give_up)
            if self._slots[slot] is not wire:
                raise Relocated("another node has the slot by now") from error

    def _look_for_another(self, wire: Wire) -> None:
        """Ask aside, now and then, who has the slots of a node that was lost: nobody asks the node itself while its
        breaker is open, and a fail-over is not to wait for the next one who may."""
        now = monotonic()
        if now >= self._lost.get(wire, now):
            self._lost[wire] = now + LOOK_EVERY
            self._load_aside()

    # Who has what.

    def _wire_of(self, slot: int, give_up: float) -> Wire:
        """Return who has a slot that nobody was known to have."""
        self.load(give_up)
        wire = self._slots[slot]
        if wire is None:
            raise NoSlots("no node has the slot of this key")
        return wire

    def _wire_at(self, address: Address) -> Wire:
        wire = self._wires.get(address)
        if wire is None:
            if len(self._wires) >= MOST_NODES:
                raise redis.ConnectionError("the nodes tell of more nodes than there can be")
            pool = partial(pool_of_one, *address, 0, self.options)
            wire = self._wires.setdefault(address, Wire(pool, self.timeout, self.replicas))
        return wire

    def load(self, give_up: float) -> None:
        """Ask for the topology, by that time; one thread does it for all who want to know. Raises what came of it."""
        result_of(self._load_aside(), left(give_up))

    def _load_aside(self) -> Future[None]:
        with self._lock:
            running = self._loading
            if running is None:
                running = self._loading = Future()
                self._moves = 0
                try:
                    begin_thread("sessionpersist-topology", partial(settle, running, self._load_in_time))
                except NoThread as error:
                    self._loading = None
                    running.set_exception(error)
            return running

    def _load_in_time(self) -> None:
        try:
            with in_time(monotonic() + self.timeout):
                self._load()
        finally:
            self._loading = None

    def _load(self) -> None:
        """Have the driver ask the nodes, one after the other, until one knows who has which slot."""
        lost = {each.address for each in list(self._lost)}
        known = sorted(
            dict.fromkeys([*self._primaries, *self.seeds, *self.replicas_at]), key=lambda each: each in lost
        )
        failure: BaseException | None = None
        with ExitStack() as stack:

            def pool(host: str, port: int, **_: Any) -> Pool:
                made = HastyPool(**{**self.options, "host": host, "port": port})
                stack.callback(made.disconnect)
                return made

            try:
                found = NodesManager(
                    [ClusterNode(*address) for address in known],  # type: ignore[no-untyped-call]
                    from_url=True,  # else it makes pools of its own kind
                    connection_pool_class=pool,
                    dynamic_startup_nodes=False,
                )
            except IndexError:  # it found no primary
                raise NoSlots("the Cluster has no slots") from None
            except RedisClusterException as error:
                failure = _root(error)
            else:
                self._take(found)
        if failure is not None:  # raised here, it keeps what led to it
            raise failure

    def _take(self, found: NodesManager) -> None:
        slots: list[Wire | None] = [None] * SLOTS
        wires: dict[str, Wire] = {}  # by the name of a node: there are thousands of slots, and few nodes
        for slot, owners in found.slots_cache.items():
            primary = owners[0]
            if primary.name not in wires:
                wires[primary.name] = self._wire_at(Address(primary.host, primary.port))
            slots[slot] = wires[primary.name]
        nodes = [(Address(each.host, each.port), each.server_type) for each in found.nodes_cache.values()]
        self._primaries = [address for address, role in nodes if role == "primary"]
        self.replicas_at = [address for address, role in nodes if role != "primary"]
        self._slots = slots
        self._lost = {wire: due for wire, due in list(self._lost.items()) if wire.address in self._primaries}
        for gone in self._wires.keys() - {address for address, _ in nodes} - set(self.seeds):
            self._wires.pop(gone).close()


class HastyPool(Pool):
    """For who is one of several that can tell: it gets half of the time that is left."""

    def get_connection(self, *arguments: Any, **options: Any) -> Any:
        try:
            with in_time(monotonic() + time_left() / 2):
                return super().get_connection(*arguments, **options)
        except Exception as error:
            given = self.connection_kwargs
            vars(error)[ADDRESS] = Address(given["host"], given["port"])
            raise


def _root(error: BaseException) -> BaseException:
    """Return what the driver wraps in a sentence of its own."""
    while isinstance(error, RedisClusterException) and (inner := error.__cause__ or error.__context__):
        error = inner
    return error


def _address_in(error: AskError, wire: Wire) -> Address:
    """Where a node sends us; one that does not know its own name means itself."""
    return Address(str(error.host) or wire.address.host, int(error.port))
