"""A small world for the exploration: stores that are dictionaries, processes with clocks, and what users do.

What runs in it are the real rules. They are generators, and so is an operation made of them: it stops before every verb
of a store, and the scheduler (``explore.py``) says when it goes on, and whether that verb fails.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, cast

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import carrying, moving, rules
from sessionpersist.handover.carrying import Place
from sessionpersist.handover.driving import Call, Look, Request, Rule, Wait
from sessionpersist.stores.base import ENDED, Outcome, Record, new_version, now_ms, revision_of

KEY = "session"  # the one that all share; those that log in have one more of their own
LIFE = 10**9  # milliseconds
EXPIRES = now_ms() + LIFE
SAVES = 10  # tries of a save; the engine has more

T = TypeVar("T")


class Fault(enum.Enum):
    """How a verb of a store fails."""

    LOST = "it never reached the store"
    UNANSWERED = "it was done, but the answer never came"


class Dictionary:
    """A store of the contract whose every verb is one atomic step. Nothing expires."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}

    def get(self, key: str) -> Record | None:
        return self.records.get(key)

    def create(self, key: str, record: Record) -> bool:
        return self.records.setdefault(key, record) is record

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        held = self.live(key)
        if held is None:
            return Outcome.MISSING
        if held.version != expected:
            return Outcome.CONFLICT
        self.records[key] = record
        return Outcome.SAVED

    def touch(self, key: str, expires_at: int) -> bool:
        held = self.live(key)
        if held is not None:
            self.records[key] = held._replace(expires_at=max(held.expires_at, expires_at))
        return held is not None

    def delete(self, key: str, version: int | None = None) -> bool:
        held = self.live(key)
        if held is None or version not in (None, held.version):
            return False
        del self.records[key]
        return True

    def end(self, key: str, expires_at: int) -> None:
        self.records[key] = Record(b"", ENDED, 0, expires_at)

    def scan(self) -> list[tuple[str, Record]]:
        return list(self.records.items())

    def count(self) -> int:
        return sum(self.live(key) is not None for key in self.records)

    def live(self, key: str) -> Record | None:
        held = self.records.get(key)
        return None if held is None or held.ended else held


@dataclass(eq=False)
class Process:
    """One process: the revision it holds to be current, and where its clock is in the guard time of the next.

    One that is ``cut_off`` can't read the configuration, and hears of no switch.
    """

    name: str
    revision: int = 1
    in_guard: bool = False
    cut_off: bool = False
    stale: bool = False
    knows_places: bool = False
    view: Any = None


@dataclass(frozen=True)
class Plan:
    """``stores`` are those of the revisions, in order; ``operations`` are (kind, number of the process). OLD' is the
    place OLD under another name: the processes take it for another store, until they learn better; without ``learn``,
    for ever.

    ``kill``: a process dies at one moment, with all that it was doing. ``faults``: so many verbs fail. ``cut_off``: the
    last process hears of no switch, until it recovers. ``abandon``: staff give a draining store up, at a moment when
    nothing else goes on.
    """

    stores: tuple[str, ...]
    operations: tuple[tuple[str, int], ...]
    processes: int = 2
    kill: bool = False
    faults: int = 0
    cut_off: bool = False
    abandon: bool = False
    learn: bool = True


class View(carrying.View):
    def __init__(self, process: Process, current: Place, sources: Sequence[Place], *, renamed: bool) -> None:
        super().__init__(current, sources, longest_life=LIFE, renamed=renamed)
        self.process = process

    @property
    def stale(self) -> bool:
        return self.process.stale

    def undecided(self) -> float:
        return 1.0 if self.process.in_guard else 0.0


class Rules(rules.Rules):
    """How the handover is put together: the code as it is. ``rules.py`` leaves something out."""

    grace = True  # a drained store is looked into until what began before has ended
    plan: Plan | None = None  # what to explore; any plan where there is none

    Place = Place
    View = View

    def view(
        self, process: Process, current: carrying.Place, sources: Sequence[carrying.Place], *, renamed: bool
    ) -> carrying.View:
        return self.View(process, current, sources, renamed=renamed)


# Where an operation stops: before a verb, or until the guard time of a process is over.
Stop: TypeAlias = Call | Process
Operation: TypeAlias = Generator[Stop, Any, T]


def at(process: Process, rule: Rule[T]) -> Operation[T]:
    """Follow a rule in a process: what it asks of the clock and of the configuration is what this process knows."""
    try:
        request = next(rule)
        while True:
            try:
                answer = yield from done(request, process)
            except StoreUnavailable as error:
                request = rule.throw(error)
            else:
                request = rule.send(answer)
    except StopIteration as end:
        return cast(T, end.value)


def done(request: Request, process: Process) -> Operation[Any]:
    match request:
        case Look():
            return process.view
        case Wait():
            return (yield process)
        # A batch is not atomic: each of its parts is a verb.
        case Call(store, "get_many", (keys,)):
            return (yield from each(store, "get", [(key,) for key in keys], lambda found: found is not None))
        case Call(store, "create_many", (records,)):
            return set((yield from each(store, "create", list(records.items()), bool)))
        case Call(store, "delete_many", (versions,)):
            return set(
                (yield from each(store, "delete", list(versions.items()), lambda deleted: not deleted))
            )
    return (yield cast(Call, request))


def each(
    store: Any, verb: str, many: list[tuple[Any, ...]], wanted: Callable[[Any], bool]
) -> Operation[dict[str, Any]]:
    """Call a verb for each; return the answers that are wanted, by key."""
    answers: dict[str, Any] = {}
    for arguments in many:
        answer = yield Call(store, verb, arguments)
        if wanted(answer):
            answers[arguments[0]] = answer
    return answers


@dataclass
class Log:
    """What users have seen, and the first thing that they should not have. A session is named by its key."""

    logouts: list[str] = field(default_factory=list)  # acknowledged
    ending: set[str] = field(default_factory=set)  # a logout has begun
    saved: dict[str, set[int]] = field(default_factory=dict)
    touched: int = 0  # the latest expiry that the shared session was given
    logins: set[str] = field(default_factory=set)
    fault: str | None = None

    def note_found(self, key: str, record: Record | None, logouts: int) -> None:
        """Somebody has looked for a session; when they began, so many logouts had been acknowledged."""
        found = record is not None and not record.ended
        if not found and key not in self.ending:
            self.fault = self.fault or "I1 missed"
        if found and key in self.logouts[:logouts]:
            self.fault = self.fault or "I2 read after logout"

    def note_saved(self, key: str, numbers: set[int], process: Process) -> None:
        if (
            not process.stale
        ):  # what such a one saves while another carries the session may be lost: a known limit
            self.saved.setdefault(key, set()).update(numbers)


class World:
    def __init__(self, plan: Plan, rules: Rules) -> None:
        self.plan, self.rules = plan, rules
        places = {place_of(name): Dictionary() for name in plan.stores}
        self.stores = {name: places[place_of(name)] for name in plan.stores}
        self.processes = [Process(f"P{n}") for n in range(plan.processes)]
        self.processes[-1].cut_off = plan.cut_off
        self.announced = 1  # the newest revision whose guard time has begun somewhere
        # Whether it is noted that two names are one place. Each process hears of it in its own time.
        self.places_are_known = False
        # A drained revision goes on counting as draining until what began before has ended, as in models.py.
        self.drained: set[int] = set()
        self.ending: set[int] = set()
        self.unfinished: set[int] = set()
        self.begun: set[int] = set()
        # A process that slept through a switch while it moved a session, and was killed before it looked again, may
        # have moved it back into a store that was found empty. Such a drain does not end: that is a known limit.
        self.mourning = False
        self.clocks: list[tuple[str, Any]] | None = (
            None  # what they can do next; None where nobody has looked yet
        )
        self.log = Log()
        self.stores[plan.stores[0]].records[KEY] = Record(b"", new_version(1), 0, EXPIRES)
        for process in self.processes:
            process.view = self.compose(process)

    def compose(self, process: Process) -> carrying.View:
        """The view of a process: its revision, with those before it that are not drained behind it."""
        together: dict[str, list[int]] = {}
        for number in range(process.revision, 0, -1):
            if number == process.revision or number not in self.drained:
                name = self.plan.stores[number - 1]
                together.setdefault(place_of(name) if process.knows_places else name, []).append(number)
        made = [
            self.rules.Place(cast(Any, self.stores[self.plan.stores[same[0] - 1]]), same[0], same[-1])
            for same in together.values()
        ]
        renamed = len({self.plan.stores[number - 1] for number in next(iter(together.values()))}) > 1
        return self.rules.view(process, made[0], made[1:], renamed=renamed)

    def numbers_of(self, source: Place) -> set[int]:
        """The revisions that end when this source is drained: its own, and earlier ones of the same store."""
        known = place_of if self.places_are_known else str
        name = known(self.plan.stores[source.number - 1])
        return {n for n in range(1, source.number + 1) if known(self.plan.stores[n - 1]) == name}

    def is_current(self, place: Place, process: Process) -> bool:
        """Whether a place is, under whatever name, the place that a process takes to be current."""
        return self.records_of(place) is self.records_of(process.view.current)

    def records_of(self, place: Place) -> dict[str, Record]:
        return cast(Dictionary, place.store).records

    def after(self, process: Process) -> Process:
        """The process that the next request goes to."""
        return self.processes[(self.processes.index(process) + 1) % len(self.processes)]


# What users do, as the engine makes it out of the verbs.


def get(world: World, process: Process, number: int) -> Operation[None]:
    yield from look(world, process, KEY)


def save(world: World, process: Process, number: int) -> Operation[None]:
    held = yield from at(process, world.rules.get(KEY))
    yield from save_over(world, process, KEY, held, {number})


def touch(world: World, process: Process, number: int) -> Operation[None]:
    before = len(world.log.logouts)
    record = yield from at(process, world.rules.get(KEY))
    if record is None or record.ended:
        return world.log.note_found(KEY, record, before)
    touched = yield from at(process, world.rules.touch(KEY, EXPIRES + number + 1))
    world.log.note_found(KEY, record if touched else None, before)
    if touched and not process.stale:
        world.log.touched = max(EXPIRES + number + 1, world.log.touched)
    return None


def logout(world: World, process: Process, number: int) -> Operation[None]:
    yield from end(world, process, KEY)


def login(world: World, process: Process, number: int) -> Operation[None]:
    """A session gets a new key; what others save under the old one meanwhile comes along."""
    key = f"login {number}"
    held = yield from at(process, world.rules.get(KEY))
    data = {number} | contents(held)
    yield from create(world, process, key, data)
    if held is not None and not held.ended:
        world.log.ending.add(KEY)
        yield from retire(world, process, held, key, data)
        world.log.logouts.append(KEY)
    world.log.logins.add(key)
    yield from look(world, world.after(process), key)


def arrive(world: World, process: Process, number: int) -> Operation[None]:
    """A new session, which nobody asks for until the end."""
    yield from create(world, process, key := f"arrived {number}", {number})
    world.log.logins.add(key)


def guest(world: World, process: Process, number: int) -> Operation[None]:
    """Somebody logs in, comes back, saves, logs out, and a thief tries the cookie: each at another process."""
    key = f"guest {number}"
    yield from create(world, process, key, {number})
    yield from look(world, process := world.after(process), key)
    held = yield from at(process, world.rules.get(key))
    yield from save_over(world, process, key, held, {-number})
    yield from end(world, process := world.after(process), key)
    yield from look(world, world.after(process), key)


def drain(world: World, process: Process, number: int) -> Operation[None]:
    """What ``draining.py`` does, and at the end with the revision."""
    view = process.view
    for source in view.sources:
        batch = dict((yield Call(source.store, "scan", ())))
        if process.in_guard:
            return
        yield from at(process, moving.move(view, source, batch))
        if process.view.number != view.number:
            for key in batch:  # a switch came in between: have it where it belongs now
                yield from at(process, world.rules.get(key))
            return
        same = world.places_are_known and world.is_current(source, process)
        left = 1 if same else (yield Call(source.store, "count", ()))
        if left == 0 and process.view.number == view.number and not process.in_guard:
            world.ending |= world.numbers_of(source)
            world.unfinished = world.begun - {number}


OPERATIONS: dict[str, Callable[[World, Process, int], Operation[None]]] = {
    each.__name__: each for each in (get, save, touch, logout, login, arrive, guest, drain)
}


def look(world: World, process: Process, key: str) -> Operation[None]:
    before = len(world.log.logouts)
    found = yield from at(process, world.rules.get(key))
    world.log.note_found(key, found, before)


def save_over(
    world: World, process: Process, key: str, held: Record | None, ours: set[int]
) -> Operation[None]:
    """Save what is ours over what is held, merging what others have saved."""
    before, data = len(world.log.logouts), set(ours)
    for _ in range(SAVES):
        if held is None or held.ended:
            return world.log.note_found(key, None, before)
        data |= contents(held)
        outcome = yield from at(process, world.rules.replace(key, sealed(process, data), held.version))
        if outcome is Outcome.SAVED:
            return world.log.note_saved(key, ours, process)
        if outcome is Outcome.MISSING:
            return world.log.note_found(key, None, before)
        held = yield from at(process, world.rules.get(key))
    raise StoreUnavailable("gave up")


def create(world: World, process: Process, key: str, data: set[int]) -> Operation[None]:
    record = sealed(process, data)
    while not (yield from at(process, world.rules.create(key, record))):
        if revision_of(record.version) == process.view.number:
            world.log.fault = "I1 refused"
            raise StoreUnavailable("refused")
        record = sealed(process, data)
    if process.stale:
        world.log.ending.add(key)  # it may lie in a store that has been drained: a known limit
    world.log.note_saved(key, data, process)


def end(world: World, process: Process, key: str) -> Operation[None]:
    world.log.ending.add(key)
    yield from at(process, world.rules.delete(key))
    world.log.logouts.append(key)


def retire(world: World, process: Process, old: Record, key: str, data: set[int]) -> Operation[None]:
    for _ in range(SAVES):
        if (yield from at(process, world.rules.delete(KEY, old.version))):
            return
        found = yield from at(process, world.rules.get(KEY))
        if found is None or found.ended:
            return
        old = found
        held = yield from at(process, world.rules.get(key))
        yield from save_over(world, process, key, held, data | contents(old))
    yield from at(process, world.rules.delete(KEY))


def place_of(name: str) -> str:
    """The place that a store of a plan is, whatever it is called."""
    return name.removesuffix("'")


def contents(record: Record | None) -> set[int]:
    """The numbers that were saved. A payload is bytes; a number may be negative."""
    return {byte - 128 for byte in record.payload} if record is not None else set()


def sealed(process: Process, data: set[int]) -> Record:
    payload = bytes(sorted(number + 128 for number in data))
    return Record(payload, new_version(process.view.number), 0, EXPIRES)
