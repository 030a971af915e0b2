"""Explores the real handover code like a model: one session, a few processes, every order of their steps.

Each operation runs in a greenlet that stops before every verb of a store, and the scheduler chooses who goes on: an
operation, a process whose clock reaches the guard time, the switch or the end of the guard time, a process that is
killed. What runs is ``RoutedStore`` and ``HandoverStore`` themselves; only the stores are dictionaries.

After each schedule the invariants of the design are checked:

I1  without a logout, no get or save misses the session
I2  after a logout has returned, no get that starts later finds the session, nor does a last one
I3  without a logout, every acknowledged save is in the final session

``python -m tests.handover.explore [RUNS] [RULE] [SEED]`` explores by hand; RULE leaves one rule out (see RULES).
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from greenlet import getcurrent, greenlet

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.routing import RoutedStore
from sessionpersist.stores import handover
from sessionpersist.stores.base import ENDED, Outcome, Record, new_version, now_ms, revision_of
from sessionpersist.stores.handover import HandoverStore, Role

KEY = "session"
LIFE = 10**9  # milliseconds
SAVES = 10  # tries of a save, as the engine's

Step = tuple[str, Any]


class Dictionary:
    """A store of the contract whose every verb is one atomic step; it stops before each."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}

    def get(self, key: str) -> Record | None:
        stop()
        return self.records.get(key)

    def create(self, key: str, record: Record) -> bool:
        stop()
        return self.records.setdefault(key, record) is record

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        stop()
        held = self.records.get(key)
        if held is None or held.ended:
            return Outcome.MISSING
        if held.version != expected:
            return Outcome.CONFLICT
        self.records[key] = record
        return Outcome.SAVED

    def touch(self, key: str, expires_at: int) -> bool:
        stop()
        held = self.records.get(key)
        return held is not None and not held.ended

    def delete(self, key: str, version: int | None = None) -> bool:
        stop()
        held = self.records.get(key)
        if held is None or held.ended or version not in (None, held.version):
            return False
        del self.records[key]
        return True

    def get_many(self, keys: Collection[str]) -> dict[str, Record]:
        return {key: record for key in keys if (record := self.get(key)) is not None}

    def create_many(self, records: Mapping[str, Record]) -> set[str]:
        return {key for key, record in records.items() if self.create(key, record)}

    def delete_many(self, versions: Mapping[str, int]) -> set[str]:
        return {key for key, version in versions.items() if not self.delete(key, version)}

    def end(self, key: str, expires_at: int) -> None:
        stop()
        self.records[key] = Record(b"", ENDED, 0, expires_at)


def stop(state: str = "ready") -> None:
    """Give the turn back to the scheduler."""
    getcurrent().parent.switch(state)


@dataclass
class Process:
    """One process: the revision it holds to be current, and where its clock is in the guard time of the next."""

    name: str
    revision: int = 1
    in_guard: bool = False
    view: Any = None


@dataclass
class Plan:
    """``stores`` are those of the revisions, in order; ``operations`` are (kind, number of the process)."""

    stores: tuple[str, ...]
    operations: tuple[tuple[str, int], ...]
    processes: int = 2
    kill: bool = False


class World:
    def __init__(self, plan: Plan, rules: Rules) -> None:
        self.plan, self.rules = plan, rules
        self.stores = {name: Dictionary() for name in sorted(set(plan.stores))}
        self.processes = [Process(f"P{n}") for n in range(plan.processes)]
        self.announced = 1  # the newest revision whose guard time has begun somewhere
        # A drained revision goes on counting as draining until what began before has ended, as in snapshot.py.
        self.drained: set[int] = set()
        self.ending: set[int] = set()
        self.unfinished: set[int] = set()
        self.begun: set[int] = set()
        self.log: list[tuple[str, int, bool, int]] = []
        self.stores[plan.stores[0]].records[KEY] = Record(b"", new_version(1), 0, now_ms() + LIFE)
        for process in self.processes:
            process.view = self.compose(process)

    def compose(self, process: Process) -> View:
        """The view of a process: its revision, with those before it that are not drained behind it."""
        numbers = [
            process.revision,
            *(n for n in range(process.revision - 1, 0, -1) if n not in self.drained),
        ]
        roles: dict[str, list[int]] = {}
        for number in numbers:
            roles.setdefault(self.plan.stores[number - 1], []).append(number)
        made: list[Role] = [
            Role(self.stores[name], same[0], same[-1])  # type: ignore[arg-type]
            for name, same in roles.items()
        ]
        return View(process, self.rules.store(made[0], made[1:], self.rules.hold(process)))

    def routed(self, process: Process) -> RoutedStore:
        def view() -> View:
            found: View = process.view
            return found

        return self.rules.routed(view, lambda seconds: stop("waiting"))


class View:
    stale = False

    def __init__(self, process: Process, store: HandoverStore) -> None:
        self.process, self.store = process, store
        self.number = process.revision

    def undecided(self) -> float:
        return 1.0 if self.process.in_guard else 0.0


# The operations, as the engine makes them out of the verbs.


def get(world: World, process: Process, number: int) -> None:
    started = len(world.log)
    record = world.routed(process).get(KEY)
    world.log.append(("get", number, record is not None and not record.ended, started))


def save(world: World, process: Process, number: int) -> None:
    store = world.routed(process)
    saved = save_over(store, store.get(KEY), number)
    world.log.append(("save", number, saved, 0))


def save_over(store: RoutedStore, held: Record | None, number: int) -> bool:
    ours = {number}
    for _ in range(SAVES):
        if held is None or held.ended:
            return False
        ours |= set(held.payload)
        record = Record(bytes(sorted(ours)), new_version(store.revision()), 0, now_ms() + LIFE)
        outcome = store.replace(KEY, record, held.version)
        if outcome is Outcome.SAVED:
            return True
        if outcome is Outcome.MISSING:
            return False
        held = store.get(KEY)
    raise StoreUnavailable("gave up")


def logout(world: World, process: Process, number: int) -> None:
    world.routed(process).delete(KEY)
    world.log.append(("logout", number, True, 0))


def cycle(world: World, process: Process, number: int) -> None:
    """The end of a login: the old key goes, if nobody has saved under it meanwhile. An ended session to others."""
    store = world.routed(process)
    while (held := store.get(KEY)) is not None and not held.ended:
        if store.delete(KEY, held.version):
            break
    world.log.append(("logout", number, True, 0))


def drain(world: World, process: Process, number: int) -> None:
    """What ``drain_sessions`` does with this session, and at the end with the revision."""
    view = process.view
    for source in view.store.sources:
        record = source.store.get(KEY)
        if record is not None:
            view.store.move_many(source, {KEY: record})
    if process.view is not view:
        world.routed(process).get(KEY)  # a switch came in between: have it where it belongs now
    for source in view.store.sources:
        stop()
        held = source.store.records.get(KEY)
        if (held is None or held.ended) and process.view is view and not process.in_guard:
            name = next(name for name, store in world.stores.items() if store is source.store)
            world.ending |= {n for n in range(1, source.number + 1) if world.plan.stores[n - 1] == name}
            world.unfinished = {n for n in world.begun if n != number}


OPERATIONS: dict[str, Callable[[World, Process, int], None]] = {
    "get": get,
    "save": save,
    "logout": logout,
    "cycle": cycle,
    "drain": drain,
}


@dataclass
class Running:
    kind: str
    process: Process
    turn: greenlet
    waiting: bool = False


@dataclass
class Schedule:
    """One run: who was chosen, out of how many, and what became of it."""

    world: World
    steps: list[Step] = field(default_factory=list)
    choices: list[tuple[int, int]] = field(default_factory=list)
    killed: set[str] = field(default_factory=set)
    gave_up: int = 0


def run(plan: Plan, choose: Callable[[int], int], rules: Rules) -> Schedule:
    """Run the operations of a plan in the order that ``choose`` (number of options -> index) makes."""
    world = World(plan, rules)
    schedule = Schedule(world)
    running: dict[int, Running] = {}
    for number, (kind, which) in enumerate(plan.operations):
        process = world.processes[which]
        turn = greenlet(lambda w=world, p=process, n=number, k=kind: OPERATIONS[k](w, p, n))
        running[number] = Running(kind, process, turn)
    while True:
        options = [*ready(running), *clocks(world)]
        if plan.kill and not schedule.killed:
            options += [("kill", number) for number, each in running.items() if each.turn]
        if not any(kind != "kill" for kind, _ in options):
            return schedule
        index = choose(len(options))
        schedule.choices.append((index, len(options)))
        schedule.steps.append(options[index])
        take(options[index], schedule, running)


def ready(running: dict[int, Running]) -> Iterator[Step]:
    for number, each in running.items():
        if each.kind == "drain" and not each.turn and not drain_may_begin(each.process):
            continue
        if not (each.waiting and each.process.in_guard):
            yield "step", number


def drain_may_begin(process: Process) -> bool:
    return bool(process.view.store.sources) and not process.in_guard


def clocks(world: World) -> Iterator[Step]:
    """What the clocks can do next: all processes are in the guard time before the first of them switches, and none
    leaves it before the last has."""
    behind = [p for p in world.processes if p.revision < world.announced]
    guarded = [p for p in world.processes if p.in_guard]
    if behind:
        yield from (("guard", p) for p in behind if not p.in_guard)
        if len(guarded) == len(world.processes):
            yield from (("switch", p) for p in behind)
    elif guarded:
        yield from (("guard over", p) for p in guarded)
    elif world.announced < len(world.plan.stores):
        yield "announce", world.announced + 1
    if world.ending and not world.unfinished & world.begun:
        yield "drained", None


def take(step: Step, schedule: Schedule, running: dict[int, Running]) -> None:
    kind, which = step
    world = schedule.world
    if kind == "announce":
        world.announced = which
    elif kind == "guard":
        which.in_guard = True
    elif kind == "switch":
        which.revision += 1
        which.view = world.compose(which)
    elif kind == "guard over":
        which.in_guard = False
    elif kind == "drained":
        world.drained |= world.ending
        world.ending = set()
        for process in world.processes:
            process.view = world.compose(process)
    elif kind == "kill":
        schedule.killed.add(running.pop(which).kind)
        world.begun.discard(which)
    else:
        go_on(which, schedule, running)


def go_on(number: int, schedule: Schedule, running: dict[int, Running]) -> None:
    each = running[number]
    schedule.world.begun.add(number)
    try:
        each.waiting = each.turn.switch() == "waiting"
    except StoreUnavailable:
        schedule.gave_up += 1
    if each.turn.dead:
        del running[number]
        schedule.world.begun.discard(number)


def broken(schedule: Schedule) -> str | None:
    """Return the invariant that this run broke, or None."""
    world, plan = schedule.world, schedule.world.plan
    ends = {"logout", "cycle"}
    final: list[Record | None] = []
    reader = greenlet(lambda: final.append(world.routed(world.processes[0]).get(KEY)))
    while not reader.dead:
        reader.switch()
    alive = final[0] is not None and not final[0].ended
    logouts = [at for at, (kind, *_) in enumerate(world.log) if kind == "logout"]
    if logouts:
        if alive:
            return "I2 alive at the end"
        late = [e for e in world.log if e[0] == "get" and e[2] and e[3] > logouts[0]]
        return "I2 read after logout" if late else None
    if schedule.killed & ends or any(kind in ends for kind, _ in plan.operations):
        return None  # a logout that gave up or was killed may have taken effect
    if not alive or any(not found for _, _, found, _ in world.log):
        return "I1 missed"
    saved = {number for kind, number, ok, _ in world.log if kind == "save" and ok}
    assert final[0] is not None
    return None if saved <= set(final[0].payload) else "I3 lost"


# The rules, and what is left of them when one is taken out.


class Rules:
    """The code as it is."""

    def store(self, current: Role, sources: Sequence[Role], hold: Callable[[], bool]) -> HandoverStore:
        return HandoverStore(current, sources, hold, LIFE)

    def routed(self, view: Callable[[], View], sleep: Callable[[float], None]) -> RoutedStore:
        return RoutedStore(view, sleep)

    def hold(self, process: Process) -> Callable[[], bool]:
        return lambda: process.in_guard


class WithoutHold(Rules):
    """Sessions are carried while processes still differ about the current store."""

    def hold(self, process: Process) -> Callable[[], bool]:
        return lambda: False


class WithoutReread(Rules):
    """Who finds the session nowhere takes that for an answer."""

    class Store(HandoverStore):
        def _locate(self, key: str) -> handover.Found | None:
            copies = [(role, record) for role in (self.current, *self.sources) if (record := role.get(key))]
            ended = [copy for copy in copies if copy[1].ended]
            if ended:
                return ended[0]
            return max(copies, key=lambda copy: revision_of(copy[1].version), default=None)

    def store(self, current: Role, sources: Sequence[Role], hold: Callable[[], bool]) -> HandoverStore:
        return self.Store(current, sources, hold, LIFE)


class WithoutEnded(Rules):
    """A logout deletes wherever the session may be, and leaves no mark."""

    class Store(HandoverStore):
        def delete(self, key: str, version: int | None = None) -> bool:
            deleted = [role.store.delete(key, version) for role in (*self.sources, self.current)]
            return any(deleted)

    def store(self, current: Role, sources: Sequence[Role], hold: Callable[[], bool]) -> HandoverStore:
        return self.Store(current, sources, hold, LIFE)


class WithoutEras(Rules):
    """Of two copies the one in the newer store is taken, whatever it is."""

    class Store(HandoverStore):
        def _is_settled(self, role: Role, record: Record) -> bool:
            return role is self.current

    def store(self, current: Role, sources: Sequence[Role], hold: Callable[[], bool]) -> HandoverStore:
        return self.Store(current, sources, hold, LIFE)


class WithoutFloor(Rules):
    """What was forgotten in a store that was emptied is taken for a session."""

    def store(self, current: Role, sources: Sequence[Role], hold: Callable[[], bool]) -> HandoverStore:
        roles = [Role(role.store, role.number, 0) for role in (current, *sources)]
        return HandoverStore(roles[0], roles[1:], hold, LIFE)


class WithoutWait(Rules):
    """Misses and logouts near a switch do not wait for it to be over."""

    class Routed(RoutedStore):
        def _still_holds(self, view: Any, *, missed: bool) -> bool:
            return self._is_in_force(view)

    def routed(self, view: Callable[[], View], sleep: Callable[[float], None]) -> RoutedStore:
        return self.Routed(view, sleep)


class WithoutAgain(Rules):
    """An operation whose view has passed when it ends is not done again."""

    class Routed(RoutedStore):
        def _is_in_force(self, view: Any) -> bool:
            return True

        def _still_holds(self, view: Any, *, missed: bool) -> bool:
            if view.undecided():
                self._sleep(1.0)
            return True

    def routed(self, view: Callable[[], View], sleep: Callable[[float], None]) -> RoutedStore:
        return self.Routed(view, sleep)


RULES: dict[str, type[Rules]] = {
    "hold": WithoutHold,
    "reread": WithoutReread,
    "ended": WithoutEnded,
    "eras": WithoutEras,
    "floor": WithoutFloor,
    "wait": WithoutWait,
    "again": WithoutAgain,
}


# Exploring.


def random_plan(source: random.Random) -> Plan:
    stores = source.choice([("OLD", "NEW"), ("OLD", "NEW"), ("OLD", "NEW", "OLD"), ("OLD", "NEW", "THIRD")])
    processes = source.choice([2, 2, 3])
    kinds = ["get", "get", "save", "save", "logout", "cycle", "drain"]
    size = source.choice([2, 3, 3, 4])
    operations = tuple((source.choice(kinds), source.randrange(processes)) for _ in range(size))
    return Plan(stores, operations, processes, kill=source.random() < 0.3)


def at_random(runs: int, seed: int, rules: Rules) -> Iterator[Schedule]:
    """Random plans in random order; a schedule that favours one process for a while deschedules the others for long."""
    source = random.Random(seed)
    for _ in range(runs):
        yield run(random_plan(source), chooser(source), rules)


def chooser(source: random.Random) -> Callable[[int], int]:
    if source.random() < 0.5:
        return lambda options: int(source.random() * options)
    favourite = source.random()
    return lambda options: int((favourite if source.random() < 0.7 else source.random()) * options)


def exhaustively(plan: Plan, depth: int, rules: Rules, seed: int = 1) -> Iterator[Schedule]:
    """Every order of the first ``depth`` steps of a plan; what follows is chosen at random."""
    source = random.Random(seed)
    prefix: list[int] = []
    while True:
        position = itertools.count()

        def choose(options: int, prefix: list[int] = prefix, position: Iterator[int] = position) -> int:
            at = next(position)
            if at < len(prefix):
                return prefix[at]
            return 0 if at < depth else source.randrange(options)

        schedule = run(plan, choose, rules)
        yield schedule
        prefix = [index for index, _ in schedule.choices[:depth]]
        while prefix and prefix[-1] + 1 >= schedule.choices[len(prefix) - 1][1]:
            prefix.pop()
        if not prefix:
            return
        prefix[-1] += 1


def faults(schedules: Iterator[Schedule]) -> tuple[int, dict[str, list[Schedule]]]:
    """Run all schedules; return how many there were and those that broke an invariant."""
    found: dict[str, list[Schedule]] = {}
    count = 0
    for schedule in schedules:
        count += 1
        if fault := broken(schedule):
            found.setdefault(fault, []).append(schedule)
    return count, found


def describe(schedule: Schedule) -> str:
    plan = schedule.world.plan
    names = [f"{kind} {getattr(which, 'name', which)}" for kind, which in schedule.steps]
    return f"{plan}\n    " + ", ".join(names) + f"\n    {schedule.world.log}"


def main(runs: int = 200_000, without: str | None = None, seed: int = 1) -> int:
    rules = RULES[without]() if without else Rules()
    count, found = faults(at_random(runs, seed, rules))
    print(f"{count} schedules, seed {seed}, without {without or 'nothing'}:", end=" ")  # noqa: T201
    print({fault: len(cases) for fault, cases in found.items()} or "no invariant broken")  # noqa: T201
    for fault, cases in found.items():
        print(f"  {fault}: {describe(min(cases, key=lambda case: len(case.steps)))}")  # noqa: T201
    return int(bool(found))


if __name__ == "__main__":
    arguments = [int(word) if word.isdigit() else word for word in sys.argv[1:]]
    sys.exit(main(*arguments))  # type: ignore[arg-type]
