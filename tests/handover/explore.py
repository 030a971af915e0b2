"""Explores the real handover code like a model: a session or a few, a few processes, every order of their steps.

Each operation stops before every verb of a store (see ``world.py``), and the scheduler chooses what happens next: an
operation goes on, or its verb fails; the clock of a process reaches the guard time, the switch, or the end of the guard
time; a process is killed; a drain is over. After each schedule the invariants of the design are checked:

I1  a live session is never reported missing
I2  a session whose logout was acknowledged is never readable again
I3  an acknowledged save or touch is in the final session
I4  a process that hears of no switch breaks none of these (``cut_off``)
I5  nor does a store that fails at any verb, with its work done or not (``faults``)

Known limits, which are left out:
- what a process saves or touches that hears of no switch, while another carries just that session, may be lost;
- a session that it makes may lie in a store that has been drained meanwhile;
- where a store can't be told of a logout, such a process may still find the session there; nor is one told that lies
  behind everybody's end;
- an operation that sleeps for longer than a drained store is looked into (``DRAINED_GRACE``) may bring a session back
  that has ended, or take one away: see the rule "grace";
- so may a process that sleeps through a switch while it moves a session, and is killed before it looks again;
- a touch may be lost where a store drains into itself under another name, until that is known;
- a store that is given up takes the logouts with it that an older store could not be told of.

``python -m tests.handover.explore [RUNS] [RULE] [SEED]`` explores by hand; RULE leaves one rule out (see ``rules.py``).
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover.carrying import Place
from sessionpersist.handover.driving import Call
from sessionpersist.stores.base import Record
from tests.handover.rules import RULES
from tests.handover.world import (
    KEY,
    OPERATIONS,
    Fault,
    Operation,
    Plan,
    Process,
    Rules,
    Stop,
    World,
    called,
    contents,
    drain,
    place_of,
)

Step = tuple[str, Any]
T = TypeVar("T")
Chooser = Callable[[list[Step]], int]


@dataclass
class Running:
    kind: str
    process: Process
    operation: Operation[None]
    stopped_at: Stop | None = None  # None before it has begun
    since: int = 0  # the revision of its process when it began


@dataclass
class Schedule:
    """One run: what was chosen, and what became of it."""

    world: World
    steps: list[Step] = field(default_factory=list)
    running: dict[int, Running] = field(default_factory=dict)
    failed: int = 0
    killed: bool = False
    abandoned: bool = False


def run(plan: Plan, choose: Chooser, rules: Rules) -> Schedule:
    """Run the operations of a plan in the order that ``choose`` (the options -> index of one) makes."""
    schedule = Schedule(World(plan, rules))
    for number, (kind, which) in enumerate(plan.operations):
        schedule.running[number] = running(schedule.world, number, kind, which)
    while options := [*ready(schedule), *clocks(schedule.world), *accidents(schedule)]:
        step = options[choose(options)]
        schedule.steps.append(step)
        take(step, schedule)
    return schedule


def running(world: World, number: int, kind: str, which: int) -> Running:
    operations = OPERATIONS | world.rules.operations
    process, operation = world.processes[which], operations[kind]
    return Running(kind, process, operation(world, process, number))


def ready(schedule: Schedule) -> Iterator[Step]:
    for number, each in schedule.running.items():
        if isinstance(each.stopped_at, Process) and each.stopped_at.in_guard:
            continue
        if each.kind == "drain" and each.stopped_at is None and not drain_may_begin(each.process):
            continue
        yield "step", number


def drain_may_begin(process: Process) -> bool:
    return bool(process.view.sources) and not process.in_guard and not process.stale


def may_abandon(process: Process, world: World) -> bool:
    """Nobody is let give up the store in force, whatever it is called (see ``draining.going_on``); nor, here, one of
    two names of a place, under whose other name its sessions are still found."""
    if not drain_may_begin(process):
        return False
    given_up, *others = process.view.sources
    held = world.records_of(given_up)
    return all(world.records_of(other) is not held for other in (process.view.current, *others))


def clocks(world: World) -> list[Step]:
    """What the clocks can do next. It changes with what they do, and with nothing else but a drain."""
    if world.clocks is None:
        world.clocks = list(next_of_clocks(world))
    if world.ending and not world.mourning and not (world.rules.grace and world.unfinished & world.begun):
        return [*world.clocks, ("drained", None)]
    return world.clocks


def next_of_clocks(world: World) -> Iterator[Step]:
    """All processes are in the guard time before the first of them switches, and none leaves it before the last has.
    One that is cut off hears of none of this."""
    hearing = [p for p in world.processes if not p.cut_off]
    behind = [p for p in hearing if p.revision < world.announced]
    guarded = [p for p in hearing if p.in_guard]
    if behind:
        yield from (("guard", p) for p in behind if not p.in_guard)
        if len(guarded) == len(hearing):
            yield from (("switch", p) for p in behind)
    elif guarded:
        yield from (("guard over", p) for p in guarded)
    elif world.announced < len(world.plan.stores):
        yield "announce", world.announced + 1
    yield from (("recover", p) for p in world.processes if p.cut_off and p.stale)
    yield from learning(world)


def learning(world: World) -> Iterator[Step]:
    """That two names are one place is found out, or never, and each process hears of it in its own time."""
    if world.places_are_known:
        yield from (("hear", p) for p in world.processes if not p.cut_off and not p.knows_places)
    elif world.plan.learn and has_two_names(world.plan):
        yield "learn", None


def has_two_names(plan: Plan) -> bool:
    """Whether two of the stores are one place."""
    return len({place_of(name) for name in plan.stores}) < len({called(name) for name in plan.stores})


def accidents(schedule: Schedule) -> Iterator[Step]:
    """What may happen besides, so that a schedule can also end without it."""
    plan, begun = schedule.world.plan, schedule.world.begun
    if plan.abandon and not schedule.abandoned and not begun:
        yield from (
            ("abandon", process)
            for process in schedule.world.processes[:1]
            if may_abandon(process, schedule.world)
        )
    if plan.kill and not schedule.killed:
        processes = {id(each.process): each.process for n, each in schedule.running.items() if n in begun}
        yield from (("kill", process) for process in processes.values())
    if schedule.failed < plan.faults:
        at_a_verb = [n for n, each in schedule.running.items() if isinstance(each.stopped_at, Call)]
        yield from (("fail", (number, fault)) for number in at_a_verb for fault in Fault)


def take(step: Step, schedule: Schedule) -> None:
    kind, which = step
    if kind == "step":
        go_on(which, schedule)
    elif kind == "fail":
        schedule.failed += 1
        go_on(which[0], schedule, which[1])
    elif kind == "kill":
        kill(which, schedule)
    elif kind == "abandon":
        schedule.abandoned = True
        abandon(which, schedule.world)
    else:
        schedule.world.clocks = None
        move_clocks(kind, which, schedule.world)


def move_clocks(kind: str, which: Any, world: World) -> None:
    if kind == "announce":
        world.announced = which
    elif kind == "guard":
        which.in_guard = True
    elif kind == "switch":
        switch(world, which, which.revision + 1)
    elif kind == "guard over":
        which.in_guard = False
    elif kind == "recover":
        recover(world, which)
    elif kind == "learn":
        world.places_are_known = True
    elif kind == "hear":
        which.knows_places = True
        which.view = world.compose(which)
    else:
        forget_drained(world)


def recover(world: World, process: Process) -> None:
    others = [p for p in world.processes if not p.cut_off]
    process.cut_off = process.stale = False
    process.knows_places = world.places_are_known
    process.in_guard = any(p.in_guard for p in others)
    switch(world, process, max(p.revision for p in others))


def forget_drained(world: World) -> None:
    world.drained |= world.ending
    world.ending = set()
    for process in world.processes:
        if not process.stale:
            process.view = world.compose(process)


def switch(world: World, process: Process, revision: int) -> None:
    process.revision = revision
    process.view = world.compose(process)
    for other in world.processes:
        other.stale = other.cut_off and other.revision < revision
    world.floor = max(world.floor, floor := world.floor_of(revision))
    if floor:
        world.log.note_switch(floor, by_all=all(other.revision >= floor for other in world.processes))


def kill(process: Process, schedule: Schedule) -> None:
    """The process is gone with all that it was doing, and another one takes its place."""
    schedule.killed = True
    begun = schedule.world.begun
    for number in [n for n, each in schedule.running.items() if n in begun and each.process is process]:
        schedule.world.mourning |= schedule.running[number].since < process.revision
        begun.discard(number)
        del schedule.running[number]


def abandon(process: Process, world: World) -> None:
    """Staff give the newest draining store up. Who was only there is logged out, and stays so. That somebody had logged
    out is forgotten with it, where an older store could not be told: a known limit."""
    source: Place = process.view.sources[0]
    held = world.records_of(source)
    others = [store for store in world.stores.values() if store.records is not held]
    for key in held:
        world.log.ending.add(key)
        world.log.saved.pop(key, None)
        if any(store.live(key) for store in others):
            world.log.logouts = [each for each in world.log.logouts if each != key]
        else:
            world.log.logouts.append(key)
    world.ending = world.numbers_of(source)
    forget_drained(world)


def go_on(number: int, schedule: Schedule, fault: Fault | None = None) -> None:
    each = schedule.running[number]
    if each.stopped_at is None:
        schedule.world.begun.add(number)
        each.since = each.process.revision
    try:
        each.stopped_at = next_stop(each.operation, each.stopped_at, fault)
    except (StopIteration, StoreUnavailable):
        del schedule.running[number]
        schedule.world.begun.discard(number)


def next_stop(operation: Operation[Any], stopped_at: Stop | None, fault: Fault | None = None) -> Stop:
    """Do what an operation has stopped before, and return where it stops next; raises StopIteration at its end."""
    if not isinstance(stopped_at, Call):
        return next(operation)
    if fault is Fault.LOST:
        return operation.throw(StoreUnavailable(fault.value))
    answer = stopped_at.answer()
    if fault is Fault.UNANSWERED:
        return operation.throw(StoreUnavailable(fault.value))
    return operation.send(answer)


# What must be true in the end.


def broken(schedule: Schedule) -> str | None:
    """Return the invariant that this run broke, or None."""
    world, plan = schedule.world, schedule.world.plan
    if world.log.fault:
        return world.log.fault
    reader = Process("reader", len(plan.stores), knows_places=world.places_are_known)
    reader.view = world.compose(reader)
    first = [fault for key in sessions(world) if (fault := wrong(world, key, at_once(world, reader, key)))]
    return next(iter(first), None) or broken_after_a_drain(world, reader)


def broken_after_a_drain(world: World, reader: Process) -> str | None:
    """The same, when all that is left has been moved and the other stores are gone."""
    for _ in range(2):  # a first one may find a session half moved
        finish(drain(world, reader, -1))
    sources = [each for each in reader.view.sources if not world.is_current(each, reader)]
    left = [each for source in sources for each in world.records_of(source).values()]
    if not all(record.ended for record in left):
        return "something is left in a drained store"
    places = [place_of(name) for name in world.plan.stores]
    world.drained |= {n for n in range(1, reader.revision) if places[n - 1] != places[-1]}
    reader.view = world.compose(reader)
    last = [fault for key in sessions(world) if (fault := wrong(world, key, at_once(world, reader, key)))]
    return f"{last[0]} after a drain" if last else None


def sessions(world: World) -> list[str]:
    return [KEY, *world.log.logins, *(key for key in world.log.logouts if key != KEY)]


def wrong(world: World, key: str, record: Record | None) -> str | None:
    log, found = world.log, record is not None and not record.ended
    if found and key in (*log.logouts, *log.everybody):
        return "I2 alive at the end"
    if key in log.ending:
        return None  # a logout that gave up or was killed may have taken effect
    if not found:
        return "I1 missing at the end"
    assert record is not None
    if not expected(log_of=world, key=key) <= contents(record):
        return "I3 a save was lost"
    slides = (
        key == KEY
        and not any(kind == "save" for kind, _ in world.plan.operations)
        and not has_two_names(world.plan)
    )
    return "I3 a touch was lost" if slides and record.expires_at < log.touched else None


def expected(log_of: World, key: str) -> set[int]:
    """What must be in a session. One that logged in has what was saved under the key that it had before, too."""
    log, kinds = log_of.log, [kind for kind, _ in log_of.plan.operations]
    saved = log.saved.get(key, set())
    alone = kinds.count("login") == 1 and not {"logout", "expel"} & set(kinds) and KEY not in log.everybody
    if key.startswith("login") and alone:
        saved = saved | log.saved.get(KEY, set())
    return saved


def at_once(world: World, process: Process, key: str) -> Record | None:
    return finish(world.at(process).get(key))


def finish(operation: Operation[T]) -> T:
    """Run it to its end; nothing else happens meanwhile."""
    stopped_at: Stop | None = None
    while True:
        try:
            stopped_at = next_stop(operation, stopped_at)
        except StopIteration as end:
            return cast(T, end.value)


# Exploring at random.

STORES = [
    ("OLD", "NEW"),
    ("OLD", "NEW"),
    ("OLD", "NEW", "OLD"),
    ("OLD", "NEW", "OLD"),
    ("OLD", "NEW", "THIRD"),
    ("OLD", "NEW", "THIRD", "OLD"),
    ("OLD", "NEW", "OLD", "NEW"),
    ("OLD", "OLD'"),
    ("OLD", "NEW", "OLD'"),
    ("OLD", "OLD'", "NEW"),
    ("OLD", "OLD!"),
    ("OLD", "OLD!", "NEW"),
    ("OLD", "NEW", "NEW!"),
    ("OLD", "NEW", "NEW!", "OLD"),
]
KINDS = [
    "get",
    "get",
    "save",
    "save",
    "touch",
    "logout",
    "expel",
    "login",
    "arrive",
    "guest",
    "settle",
    "drain",
    "drain",
]


def random_plan(source: random.Random) -> Plan:
    processes = 2 if source.random() < 0.6 else 3
    size, cut_off = source.choice([2, 3, 3, 4]), source.random() < 0.15
    return Plan(
        source.choice(STORES),
        tuple((source.choice(KINDS), int(source.random() * processes)) for _ in range(size)),
        processes,
        kill=source.random() < 0.2,
        faults=1 if not cut_off and source.random() < 0.25 else 0,
        cut_off=cut_off,
        abandon=not cut_off and source.random() < 0.1,
        apart=source.random() < 0.3,
    )


def at_random(runs: int, seed: int, rules: Rules) -> Iterator[Schedule]:
    source = random.Random(seed)
    for _ in range(runs):
        plan = rules.plan or random_plan(source)
        yield run(plan, chooser(source, plan), rules)


def chooser(source: random.Random, plan: Plan) -> Chooser:
    """Three ways to choose: evenly; with a liking for one place among the options, so that others wait for long; with
    one operation that sleeps after a few steps until nothing else is left to happen."""
    kind = source.random()
    if kind < 0.4:
        return lambda options: int(source.random() * len(options))
    if kind < 0.7:
        favourite = source.random()
        return lambda options: int((favourite if source.random() < 0.7 else source.random()) * len(options))
    return sleeping(source, source.randrange(len(plan.operations)), source.randrange(1, 9))


def sleeping(source: random.Random, sleeper: int, steps: int) -> Chooser:
    left = steps

    def choose(options: list[Step]) -> int:
        nonlocal left
        at = int(source.random() * len(options))
        if options[at] == ("step", sleeper):
            left -= 1
            if left < 0 and len(options) > 1:
                others = [index for index in range(len(options)) if index != at]
                return others[int(source.random() * len(others))]
        return at

    return choose


# Exploring exhaustively, to a bound.


def exhaustively(plan: Plan, preemptions: int, rules: Rules) -> Iterator[Schedule]:
    """Every schedule of a plan in which at most so many operations, or the clocks, are interrupted before they have to
    stop by themselves. Most faults of concurrent programs need very few."""
    prefix: list[int] = []
    while True:
        order = Order(preemptions, prefix)
        yield run(plan, order.choose, rules)
        while order.taken and order.taken[-1] + 1 >= order.offered[len(order.taken) - 1]:
            order.taken.pop()
        if not order.taken:
            return
        order.taken[-1] += 1
        prefix = order.taken


class Order:
    """The schedule that begins with these choices and then takes the first of each."""

    def __init__(self, preemptions: int, prefix: list[int]) -> None:
        self.left, self.prefix = preemptions, prefix
        self.taken: list[int] = []  # which of the choices offered
        self.offered: list[int] = []
        self.actor: object = None

    def choose(self, options: list[Step]) -> int:
        going_on = [index for index, step in enumerate(options) if actor(step) == self.actor]
        others = [index for index, step in enumerate(options) if actor(step) != self.actor]
        allowed = going_on + others if not going_on or self.left > 0 else going_on
        at = len(self.taken)
        choice = self.prefix[at] if at < len(self.prefix) else 0
        self.taken.append(choice)
        self.offered.append(len(allowed))
        if going_on and choice >= len(going_on):
            self.left -= 1
        self.actor = actor(options[allowed[choice]])
        return allowed[choice]


def actor(step: Step) -> object:
    """Who takes a step: an operation, or the clocks."""
    kind, which = step
    if kind == "fail":
        return which[0]
    return which if kind == "step" else "clocks"


# Reporting.


def faults(schedules: Iterable[Schedule]) -> tuple[int, dict[str, list[str]]]:
    """Run all schedules; return how many there were, and in words those that broke an invariant, shortest first."""
    found: dict[str, list[Schedule]] = {}
    count = 0
    for schedule in schedules:
        count += 1
        if fault := broken(schedule):
            found.setdefault(fault, []).append(schedule)
    return count, {fault: shortest(cases) for fault, cases in found.items()}


def shortest(cases: list[Schedule]) -> list[str]:
    return [describe(each) for each in sorted(cases, key=lambda each: len(each.steps))]


def describe(schedule: Schedule) -> str:
    names = [f"{kind} {getattr(which, 'name', which)}" for kind, which in schedule.steps]
    return f"{schedule.world.plan}\n    " + ", ".join(names) + f"\n    {schedule.world.log}"


def explore(
    runs: int, seed: int, without: str = "", plan: Plan | None = None
) -> tuple[int, dict[str, list[str]]]:
    """Explore at random, any plan or one, with a rule left out or none; as ``faults``. For other processes to call."""
    explored = rules(without)
    explored.plan = plan or explored.plan
    return faults(at_random(runs, seed, explored))


def explore_exhaustively(plan: Plan, preemptions: int) -> tuple[int, dict[str, list[str]]]:
    return faults(exhaustively(plan, preemptions, Rules()))


def first_fault(runs: int, seed: int, without: str, *, soon: bool = False) -> str | None:
    """Return which invariant breaks first without that rule, or None. ``soon``: with a plan that shows it soon."""
    explored = rules(without)
    explored.plan = (explored.soon if soon else None) or explored.plan
    found = (broken(schedule) for schedule in at_random(runs, seed, explored))
    return next((fault for fault in found if fault), None)


def rules(without: str) -> Rules:
    return RULES[without]() if without else Rules()


def main(runs: int = 200_000, without: str = "", seed: int = 1) -> int:
    begun = time.monotonic()
    count, found = explore(runs, seed, without)
    rate = count / (time.monotonic() - begun)
    print(f"{count} schedules, {rate:.0f} a second, seed {seed}, without {without or 'nothing'}:", end=" ")  # noqa: T201
    print({fault: len(cases) for fault, cases in found.items()} or "no invariant broken")  # noqa: T201
    for fault, cases in found.items():
        print(f"  {fault}: {cases[0]}")  # noqa: T201
    return int(bool(found))


if __name__ == "__main__":
    arguments = [int(word) if word.isdigit() else word for word in sys.argv[1:]]
    sys.exit(main(*arguments))  # type: ignore[arg-type]
