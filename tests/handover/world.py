"""A small world for the exploration: stores that are dictionaries, processes with clocks, and what users do.

What runs in it are the real rules. They are generators, and so is an operation made of them: it stops before every verb
of a store, and the scheduler (``explore.py``) says when it goes on, and whether that verb fails.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar, cast

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import carrying, moving, rules
from sessionpersist.handover.carrying import Place
from sessionpersist.handover.driving import Call, Look, Request, Rule, Wait
from sessionpersist.handover.routing import RoutedStore
from sessionpersist.stores.base import (
    Drainable,
    Outcome,
    Record,
    Rotation,
    Saving,
    ended_record,
    is_roster,
    new_version,
    now_ms,
    revision_of,
    saved,
)

KEY = "session"  # the one that all share; those that log in have one more of their own
LIFE = 10**9  # milliseconds
EXPIRES = now_ms() + LIFE
REASON = 3
SAVES = 10  # tries of a save; the engine has more

T = TypeVar("T")


class Fault(enum.Enum):
    """How a verb of a store fails."""

    LOST = "it never reached the store"
    UNANSWERED = "it was done, but the answer never came"


class Dictionary(Drainable):
    """A store of the contract whose every verb is one atomic step; but for a few, if it does one thing at a time
    (``apart``). Nothing expires."""

    def __init__(self, *, apart: bool = False) -> None:
        self.apart = apart
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

    def end(self, key: str, expires_at: int, reason: int = 0) -> None:
        self.records[key] = ended_record(expires_at, reason)

    def save_both(self, first: Saving, second: Saving) -> tuple[Outcome, Outcome | None]:
        outcome = saved(self, first)
        if outcome is not Outcome.SAVED or not second.old_key:
            return outcome, saved(self, second) if outcome is Outcome.SAVED else None
        held, (key, record, expected, old_key) = self.live(second.old_key), second
        if held is None:
            return outcome, Outcome.MISSING
        if held.version != expected or not self.create(key, record):
            return outcome, Outcome.CONFLICT
        self.delete(old_key)
        return outcome, Outcome.SAVED

    def close(self) -> None:
        pass

    def scan(self) -> Iterator[tuple[str, Record]]:
        return iter(list(self.records.items()))

    def count(self, at_most: int | None = None, *, rosters: bool = False) -> int:
        return sum(self.live(key) is not None for key in self.records if rosters or not is_roster(key))

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

    With OLD! everybody is logged out: that revision has the store of the one before.

    ``kill``: a process dies at one moment, with all that it was doing. ``faults``: so many verbs fail. ``cut_off``: the
    last process hears of no switch, until it recovers. ``abandon``: staff give a draining store up, at a moment when
    nothing else goes on. ``apart``: no store moves a session to a new key in one exchange.
    """

    stores: tuple[str, ...]
    operations: tuple[tuple[str, int], ...]
    processes: int = 2
    kill: bool = False
    faults: int = 0
    cut_off: bool = False
    abandon: bool = False
    learn: bool = True
    apart: bool = False


class View(carrying.View):
    def __init__(
        self, process: Process, current: Place, sources: Sequence[Place], *, renamed: bool, floor: int
    ) -> None:
        super().__init__(current, sources, longest_life=LIFE, renamed=renamed, floor=floor)
        self.process = process

    @property
    def stale(self) -> bool:
        return self.process.stale

    def undecided(self) -> float:
        return 1.0 if self.process.in_guard else 0.0

    def is_steady(self) -> bool:
        """One that is cut off has failed to read the configuration before a switch can come (see CurrentView)."""
        return not (self.unsettled or self.process.in_guard or self.process.cut_off)


NOTHING = object()


class Wanted(BaseException):
    """What RoutedStore wants done next: a verb of a store in steady state, or a rule."""

    def __init__(self, what: Call | Rule[Any]) -> None:
        self.what = what


class Routed(RoutedStore):
    """RoutedStore in a process. Where it wants something done it is stopped, and begins again: it is told what it saw
    and was answered so far, and so comes one step further."""

    def __init__(self, rules: Rules, process: Process) -> None:
        super().__init__(self._look, rules=rules)
        self._process = process
        self._known: list[Any] = []
        self._told: Iterator[Any] = iter(())
        self.is_asking = False  # itself; else it waits for a rule, which asks

    def run(self, verb: Callable[[RoutedStore], T]) -> Operation[T]:
        while True:
            self._told, self.is_asking = iter(tuple(self._known)), True
            try:
                return verb(self)
            except Wanted as wanted:
                what = wanted.what
            self.is_asking = False
            self._known.append(
                (yield from answered(what))
                if isinstance(what, Call)
                else (yield from at(self._process, what))
            )

    def have_done(self, what: Call | Rule[Any]) -> Any:
        if (answer := next(self._told, NOTHING)) is NOTHING:
            raise Wanted(what)
        return answer

    def _drive(self, rule: Rule[T]) -> T:
        answer: T = self.have_done(rule)
        return answer

    def _look(self) -> carrying.View:
        """The view of this moment: whether it is steady does not change any more."""
        told: View | None = next(self._told, None)
        if told is not None:
            return told
        view: View = copy(self._process.view)
        view.steady_until = math.inf if view.is_steady() else 0.0
        view.current = replace(view.current, store=cast(Any, Asked(view.current.store, self)))
        self._known.append(view)
        return view


class Asked:
    """A store as RoutedStore meets it."""

    def __init__(self, store: Drainable, by: Routed) -> None:
        self._store, self._by = store, by

    def __getattr__(self, verb: str) -> Any:
        found = getattr(self._store, verb)
        return (lambda *given: self._by.have_done(Call(found, given, {}))) if self._by.is_asking else found


class Verbs:
    """The verbs as a request in a process calls them, each an operation. What runs is the code of RoutedStore."""

    def __init__(self, rules: Rules, process: Process) -> None:
        self._rules, self._process = rules, process

    def get(self, key: str) -> Operation[Record | None]:
        return self._routed().run(lambda store: store.get(key))

    def create(self, key: str, record: Record, base: int | None = None) -> Operation[bool]:
        return self._routed().run(lambda store: store.create(key, record, base))

    def replace(self, key: str, record: Record, expected: int) -> Operation[Outcome]:
        return self._routed().run(lambda store: store.replace(key, record, expected))

    def touch(self, key: str, expires_at: int) -> Operation[bool]:
        return self._routed().run(lambda store: store.touch(key, expires_at))

    def delete(self, key: str, version: int | None = None) -> Operation[bool]:
        return self._routed().run(lambda store: store.delete(key, version))

    def end(self, key: str, expires_at: int, reason: int = 0) -> Operation[None]:
        return self._routed().run(lambda store: store.end(key, expires_at, reason))

    def rotate(self, old_key: str, version: int | None, new_key: str, record: Record) -> Operation[Rotation]:
        return self._routed().run(lambda store: store.rotate(old_key, version, new_key, record))

    def end_and_replace(
        self, ended: Mapping[str, int], until: int, key: str, record: Record, expected: int
    ) -> Operation[Outcome]:
        return self._routed().run(lambda store: store.end_and_replace(ended, until, key, record, expected))

    def save_both(self, first: Saving, second: Saving) -> Operation[tuple[Outcome, Outcome | None]]:
        return self._routed().run(lambda store: store.save_both(first, second))

    def _routed(self) -> Routed:
        return self._rules.Routed(self._rules, self._process)


class Rules(rules.Rules):
    """How the handover is put together: the code as it is. ``rules.py`` leaves something out."""

    forgets = True  # a session is made out of none that everybody's logout has ended
    drops = True  # nothing drains of before everybody was logged out
    moves_rosters = True  # a drain is not over while there are any
    grace = True  # a drained store is looked into until what began before has ended
    plan: Plan | None = None  # what to explore; any plan where there is none
    soon: Plan | None = None  # one that shows soon what is missing, where that other takes long

    Place = Place
    View = View
    Routed = Routed

    def unite(self, key: str, one: Record, other: Record, revision: int) -> Record:
        """Return what lists all that two rosters do, whose payloads are those of this world."""
        return united(key, one, other, revision)

    @property
    def operations(self) -> dict[str, Callable[[World, Process, int], Operation[None]]]:
        """What users do in a plan of these rules, beside OPERATIONS."""
        return {}

    def view(
        self,
        process: Process,
        current: carrying.Place,
        sources: Sequence[carrying.Place],
        *,
        renamed: bool,
        floor: int,
    ) -> carrying.View:
        return self.View(process, current, sources, renamed=renamed, floor=floor)


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
        case Call() if request.verb.__name__.endswith("_many"):
            return (yield from many(request))
    return (yield cast(Call, request))


def answered(request: Call) -> Operation[Any]:
    """Have a verb done, of which some are two where a store does one thing at a time."""
    store = cast(Dictionary, getattr(request.verb, "__self__"))  # noqa: B009
    match request.verb.__name__:
        case "rotate" if store.apart:
            old_key, version, new_key, record = request.arguments
            if not (yield Call(store.create, (new_key, record), {})):
                return Rotation.TAKEN
            deleted = yield Call(store.delete, (old_key, version), {})
            return Rotation.DONE if deleted else Rotation.LEFT
        case "end_and_replace" if store.apart:
            ended, until, *rest = request.arguments
            for key, reason in ended.items():
                yield Call(store.end, (key, until, reason), {})
            return (yield Call(store.replace, tuple(rest), {}))
        case "save_both" if store.apart:
            return (yield from put(store, request.arguments[0])), None
    return (yield request)


def put(store: Dictionary, saving: Saving) -> Operation[Outcome]:
    key, record, expected, _ = saving
    if expected is not None:
        return cast(Outcome, (yield Call(store.replace, (key, record, expected), {})))
    created = yield Call(store.create, (key, record), {})
    return Outcome.SAVED if created else Outcome.CONFLICT


def many(batch: Call) -> Operation[Any]:
    """A batch is not atomic: each of its parts is a verb."""
    store, [of] = cast(Dictionary, getattr(batch.verb, "__self__")), batch.arguments  # noqa: B009
    match batch.verb.__name__:
        case "get_many":
            return (yield from each(store.get, [(key,) for key in of], lambda found: found is not None))
        case "create_many":
            return set((yield from each(store.create, list(of.items()), bool)))
    return set((yield from each(store.delete, list(of.items()), lambda deleted: not deleted)))


def each(
    verb: Callable[..., Any], many: list[tuple[Any, ...]], wanted: Callable[[Any], bool]
) -> Operation[dict[str, Any]]:
    """Call a verb for each; return the answers that are wanted, by key."""
    answers: dict[str, Any] = {}
    for arguments in many:
        answer = yield Call(verb, arguments, {})
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
    born: dict[str, int] = field(default_factory=lambda: {KEY: 1})  # the revision under which each was made
    everybody: set[str] = field(default_factory=set)  # ended with everybody's
    fault: str | None = None

    def note_found(self, key: str, record: Record | None, logouts: int) -> None:
        """Somebody has looked for a session; when they began, so many logouts had been acknowledged."""
        found = record is not None and not record.ended
        if not found and key not in self.ending:
            self.fault = self.fault or "I1 missed"
        if found and key in self.logouts[:logouts]:
            self.fault = self.fault or "I2 read after logout"

    def note_ended(self, key: str) -> None:
        """A logout was acknowledged. Of a session that had ended with everybody's no store of before is told: a process
        that hears of no switch may still find it there, which is a known limit."""
        if key not in self.everybody:
            self.logouts.append(key)

    def note_switch(self, floor: int, *, by_all: bool) -> None:
        """A process goes by a revision with which everybody was logged out, or all do."""
        gone = {key for key, born in self.born.items() if born < floor}
        self.ending |= gone
        self.everybody |= gone
        if by_all:
            self.logouts += sorted(gone.difference(self.logouts))

    def note_saved(self, key: str, numbers: set[int], process: Process) -> None:
        if (
            not process.stale
        ):  # what such a one saves while another carries the session may be lost: a known limit
            self.saved.setdefault(key, set()).update(numbers)


class World:
    def __init__(self, plan: Plan, rules: Rules) -> None:
        self.plan, self.rules = plan, rules
        places = {place_of(name): Dictionary(apart=plan.apart) for name in plan.stores}
        self.stores = {called(name): places[place_of(name)] for name in plan.stores}
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
        self.floor = (
            0  # the revision with which everybody was last logged out, as far as any process goes by it
        )
        self.stores[called(plan.stores[0])].records[KEY] = Record(b"", new_version(1), 0, EXPIRES)
        for process in self.processes:
            process.view = self.compose(process)

    def compose(self, process: Process) -> carrying.View:
        """The view of a process: its revision, with those before it that are not drained behind it; none of before
        everybody was logged out."""
        together: dict[str, list[int]] = {}
        floor = self.floor_of(process.revision)
        for number in range(process.revision, max(floor, 1) - 1 if self.rules.drops else 0, -1):
            if number == process.revision or number not in self.drained:
                name = called(self.plan.stores[number - 1])
                together.setdefault(place_of(name) if process.knows_places else name, []).append(number)
        made = [
            self.rules.Place(cast(Any, self.stores[called(self.plan.stores[same[0] - 1])]), same[0], same[-1])
            for same in together.values()
        ]
        renamed = len({called(self.plan.stores[number - 1]) for number in next(iter(together.values()))}) > 1
        return self.rules.view(process, made[0], made[1:], renamed=renamed, floor=floor)

    def floor_of(self, revision: int) -> int:
        """The revision with which everybody was last logged out as of this one; 0 where nobody was."""
        ending = (n for n in range(revision, 0, -1) if self.plan.stores[n - 1].endswith("!"))
        return next(ending, 0)

    def numbers_of(self, source: Place) -> set[int]:
        """The revisions that end when this source is drained: its own, and earlier ones of the same store."""
        known = place_of if self.places_are_known else called
        name = known(self.plan.stores[source.number - 1])
        return {n for n in range(1, source.number + 1) if known(self.plan.stores[n - 1]) == name}

    def is_current(self, place: Place, process: Process) -> bool:
        """Whether a place is, under whatever name, the place that a process takes to be current."""
        return self.records_of(place) is self.records_of(process.view.current)

    def at(self, process: Process) -> Verbs:
        return Verbs(self.rules, process)

    def note_made(self, key: str, record: Record, base: Record | None) -> None:
        """A session was made, out of another or not."""
        stamp = self.log.born[key] = revision_of(record.version)
        if base is not None and revision_of(base.version) < self.floor_of(stamp):
            self.log.fault = self.log.fault or "I2 made out of one that was ended"
        if stamp < self.floor:
            self.log.note_switch(self.floor, by_all=False)

    def records_of(self, place: Place) -> dict[str, Record]:
        return cast(Dictionary, place.store).records

    def after(self, process: Process) -> Process:
        """The process that the next request goes to."""
        return self.processes[(self.processes.index(process) + 1) % len(self.processes)]


# What users do, as the engine makes it out of the verbs.


def get(world: World, process: Process, number: int) -> Operation[None]:
    yield from look(world, process, KEY)


def save(world: World, process: Process, number: int) -> Operation[None]:
    held = yield from world.at(process).get(KEY)
    yield from save_over(world, process, KEY, held, {number})


def touch(world: World, process: Process, number: int) -> Operation[None]:
    before = len(world.log.logouts)
    record = yield from world.at(process).get(KEY)
    if record is None or record.ended:
        return world.log.note_found(KEY, record, before)
    if process.view.forgets(record.version):
        return None  # as the engine has it
    touched = yield from world.at(process).touch(KEY, EXPIRES + number + 1)
    world.log.note_found(KEY, record if touched else None, before)
    if touched and not process.stale:
        world.log.touched = max(EXPIRES + number + 1, world.log.touched)
    return None


def logout(world: World, process: Process, number: int) -> Operation[None]:
    yield from end(world, process, KEY)


def expel(world: World, process: Process, number: int) -> Operation[None]:
    """Somebody else ends the session, for a reason; then it is known to all who ask."""
    world.log.ending.add(KEY)
    yield from world.at(process).end(KEY, EXPIRES, REASON)
    world.log.note_ended(KEY)
    found = yield from world.at(world.after(process)).get(KEY)
    if found is not None and not found.ended and KEY in world.log.logouts:
        world.log.fault = world.log.fault or "I2 read after it was ended"


def login(world: World, process: Process, number: int) -> Operation[None]:
    """A session gets a new key, which nobody asks for until the end; what others save under the old one meanwhile comes
    along."""
    key = f"login {number}"
    held = yield from world.at(process).get(KEY)
    held = None if held is not None and held.ended else held
    data = {number} | contents(held)
    if held is None:
        yield from create(world, process, key, data)
    elif not (yield from move(world, process, KEY, held, key, data)):
        return
    world.log.logins.add(key)


def arrive(world: World, process: Process, number: int) -> Operation[None]:
    """A new session, which nobody asks for until the end."""
    yield from create(world, process, key := f"arrived {number}", {number})
    world.log.logins.add(key)


def guest(world: World, process: Process, number: int) -> Operation[None]:
    """Somebody logs in, comes back, saves, logs out, and a thief tries the cookie: each at another process."""
    key = f"guest {number}"
    yield from create(world, process, key, {number})
    yield from look(world, process := world.after(process), key)
    held = yield from world.at(process).get(key)
    yield from save_over(world, process, key, held, {-number})
    yield from end(world, process := world.after(process), key)
    yield from look(world, world.after(process), key)


def settle(world: World, process: Process, number: int) -> Operation[None]:
    """Somebody logs in, comes back, saves, and gets a new key: each at another process."""
    key, new = f"settler {number}", f"settled {number}"
    yield from create(world, process, key, {number})
    yield from look(world, process := world.after(process), key)
    held = yield from world.at(process).get(key)
    yield from save_over(world, process, key, held, {-number})
    process = world.after(process)
    held = yield from world.at(process).get(key)
    if held is None or held.ended:
        return world.log.note_found(key, held, 0)
    if (yield from move(world, process, key, held, new, contents(held))):
        world.log.logins.add(new)
        yield from look(world, world.after(process), new)
    return None


def drain(world: World, process: Process, number: int) -> Operation[None]:
    """What ``draining.py`` does, and at the end with the revision."""
    view = process.view
    for source in view.sources:
        batch = dict((yield Call(source.store.scan, (), {})))
        if process.in_guard:
            return
        yield from at(process, moving.move(view, source, batch, world.rules.unite))
        if process.view.number != view.number:
            for key in batch:  # a switch came in between: have it where it belongs now
                yield from world.at(process).get(key)
            return
        same = world.places_are_known and world.is_current(source, process)
        left = 1 if same else (yield Call(source.store.count, (), {"rosters": world.rules.moves_rosters}))
        if left == 0 and process.view.number == view.number and not process.in_guard:
            world.ending |= world.numbers_of(source)
            world.unfinished = world.begun - {number}


def united(key: str, one: Record, other: Record, revision: int) -> Record:
    """What ``roster.united`` does, of the payloads of this world."""
    payload = bytes(sorted({*one.payload, *other.payload}))
    return Record(payload, new_version(revision), 0, EXPIRES)


OPERATIONS: dict[str, Callable[[World, Process, int], Operation[None]]] = {
    each.__name__: each for each in (get, save, touch, logout, expel, login, arrive, guest, settle, drain)
}


def look(world: World, process: Process, key: str) -> Operation[None]:
    before = len(world.log.logouts)
    found = yield from world.at(process).get(key)
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
        outcome = yield from world.at(process).replace(key, sealed(process, data), held.version)
        if outcome is Outcome.SAVED:
            return world.log.note_saved(key, ours, process)
        if outcome is Outcome.MISSING:
            return world.log.note_found(key, None, before)
        held = yield from world.at(process).get(key)
    raise StoreUnavailable("gave up")


def create(world: World, process: Process, key: str, data: set[int]) -> Operation[None]:
    """Save a new session, made out of none."""
    yield from made(world, process, key, data, None, lambda record: world.at(process).create(key, record))


def move(
    world: World, process: Process, old_key: str, held: Record, key: str, data: set[int]
) -> Operation[bool]:
    """Save a session under a new key, and have nothing left of it under the old one; False where it is none any
    more."""
    done = Rotation.DONE

    def rotate(record: Record) -> Operation[bool]:
        nonlocal done
        done = yield from world.at(process).rotate(old_key, held.version, key, record)
        return done is not Rotation.TAKEN

    world.log.ending.add(old_key)
    if not (yield from made(world, process, key, data, held, rotate)):
        return False
    if done is Rotation.LEFT:
        yield from retire(world, process, old_key, key, data)
    world.log.note_ended(old_key)
    return True


def made(
    world: World,
    process: Process,
    key: str,
    data: set[int],
    base: Record | None,
    make: Callable[[Record], Operation[bool]],
) -> Operation[bool]:
    """Have a new session made, out of another or not; False where that one is none any more."""
    while True:
        record = sealed(process, data)
        if world.rules.forgets and base is not None and process.view.forgets(base.version):
            return False
        if (yield from make(record)):
            break
        if revision_of(record.version) == process.view.number:
            # What was created for nothing as everybody was logged out may be in the way: the engine draws another key.
            if not any(name.endswith("!") for name in world.plan.stores):
                world.log.fault = "I1 refused"
            raise StoreUnavailable("refused")
    if process.stale:
        world.log.ending.add(key)  # it may lie in a store that has been drained: a known limit
    world.note_made(key, record, base)
    world.log.note_saved(key, data, process)
    return True


def end(world: World, process: Process, key: str) -> Operation[None]:
    world.log.ending.add(key)
    yield from world.at(process).delete(key)
    world.log.note_ended(key)


def retire(world: World, process: Process, old_key: str, key: str, data: set[int]) -> Operation[None]:
    """What others have saved under the old key comes along."""
    for _ in range(SAVES):
        found = yield from world.at(process).get(old_key)
        if found is None or found.ended:
            return
        held = yield from world.at(process).get(key)
        yield from save_over(world, process, key, held, data | contents(found))
        if (yield from world.at(process).delete(old_key, found.version)):
            return
    yield from world.at(process).delete(old_key)


def called(name: str) -> str:
    """What a store of a plan is called, whether everybody is logged out with it or not."""
    return name.removesuffix("!")


def place_of(name: str) -> str:
    """The place that a store of a plan is, whatever it is called."""
    return called(name).removesuffix("'")


def contents(record: Record | None) -> set[int]:
    """The numbers that were saved. A payload is bytes; a number may be negative."""
    return {byte - 128 for byte in record.payload} if record is not None else set()


def sealed(process: Process, data: set[int]) -> Record:
    payload = bytes(sorted(number + 128 for number in data))
    return Record(payload, new_version(process.view.number), 0, EXPIRES)
