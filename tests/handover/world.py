"""A small world for the exploration: stores that are dictionaries, processes with clocks, and what users do.

What runs in it is the real ``RoutedStore`` and ``HandoverStore``. An operation runs in a greenlet that stops before
every verb of a store; the scheduler (``explore.py``) says when it goes on, and whether that verb fails.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from greenlet import getcurrent

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover.routing import RoutedStore
from sessionpersist.handover.rules import HandoverStore, Role
from sessionpersist.stores.base import ENDED, Outcome, Record, new_version, now_ms, revision_of

KEY = "session"  # the one that all share; those that log in have one more of their own
LIFE = 10**9  # milliseconds
EXPIRES = now_ms() + LIFE
SAVES = 10  # tries of a save; the engine has more

Verb = TypeVar("Verb", bound=Callable[..., Any])


class Fault(enum.Enum):
    """How a verb of a store fails."""

    LOST = "it never reached the store"
    UNANSWERED = "it was done, but the answer never came"


def stop(waits_for: Process | None = None) -> Any:
    """Give the turn back to the scheduler: before a verb, or until the guard time of a process is over.

    Returns the fault that the scheduler has in mind for the verb.
    """
    return getcurrent().parent.switch(waits_for)


def stops(verb: Verb) -> Verb:
    @functools.wraps(verb)
    def stopped(*arguments: Any) -> Any:
        fault = stop()
        if fault is Fault.LOST:
            raise StoreUnavailable(fault.value)
        answer = verb(*arguments)
        if fault is Fault.UNANSWERED:
            raise StoreUnavailable(fault.value)
        return answer

    return cast(Verb, stopped)


class Dictionary:
    """A store of the contract whose every verb is one atomic step; it stops before each. Nothing expires."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}

    @stops
    def get(self, key: str) -> Record | None:
        return self.records.get(key)

    @stops
    def create(self, key: str, record: Record) -> bool:
        return self.records.setdefault(key, record) is record

    @stops
    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        held = self.live(key)
        if held is None:
            return Outcome.MISSING
        if held.version != expected:
            return Outcome.CONFLICT
        self.records[key] = record
        return Outcome.SAVED

    @stops
    def touch(self, key: str, expires_at: int) -> bool:
        held = self.live(key)
        if held is not None:
            self.records[key] = held._replace(expires_at=max(held.expires_at, expires_at))
        return held is not None

    @stops
    def delete(self, key: str, version: int | None = None) -> bool:
        held = self.live(key)
        if held is None or version not in (None, held.version):
            return False
        del self.records[key]
        return True

    @stops
    def end(self, key: str, expires_at: int) -> None:
        self.records[key] = Record(b"", ENDED, 0, expires_at)

    @stops
    def scan(self) -> list[tuple[str, Record]]:
        return list(self.records.items())

    @stops
    def count(self) -> int:
        return sum(self.live(key) is not None for key in self.records)

    # A batch is not atomic: each of its parts is a verb.

    def get_many(self, keys: Collection[str]) -> dict[str, Record]:
        return {key: record for key in keys if (record := self.get(key)) is not None}

    def create_many(self, records: Mapping[str, Record]) -> set[str]:
        return {key for key, record in records.items() if self.create(key, record)}

    def delete_many(self, versions: Mapping[str, int]) -> set[str]:
        return {key for key, version in versions.items() if not self.delete(key, version)}

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


class View:
    def __init__(self, process: Process, store: HandoverStore) -> None:
        self.process, self.store = process, store
        self.number = process.revision

    @property
    def stale(self) -> bool:
        return self.process.stale

    def undecided(self) -> float:
        return 1.0 if self.process.in_guard else 0.0


class Rules:
    """How the handover is put together: the code as it is. ``rules.py`` leaves something out."""

    grace = True  # a drained store is looked into until what began before has ended
    plan: Plan | None = None  # what to explore; any plan where there is none

    Store = HandoverStore

    def store(
        self, current: Role, sources: Sequence[Role], hold: Callable[[], bool], renamed: bool
    ) -> HandoverStore:
        return self.Store(current, sources, hold, LIFE, renamed=renamed)

    def routed(self, view: Callable[[], Any], sleep: Callable[[float], None]) -> RoutedStore:
        return RoutedStore(view, sleep)

    def hold(self, process: Process) -> Callable[[], bool]:
        return lambda: process.in_guard

    def view(self, process: Process, store: HandoverStore) -> View:
        return View(process, store)


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

    def compose(self, process: Process) -> View:
        """The view of a process: its revision, with those before it that are not drained behind it."""
        roles: dict[str, list[int]] = {}
        for number in range(process.revision, 0, -1):
            if number == process.revision or number not in self.drained:
                name = self.plan.stores[number - 1]
                roles.setdefault(place_of(name) if process.knows_places else name, []).append(number)
        made: list[Role] = [
            Role(self.stores[self.plan.stores[same[0] - 1]], same[0], same[-1])  # type: ignore[arg-type]
            for same in roles.values()
        ]
        renamed = len({self.plan.stores[number - 1] for number in next(iter(roles.values()))}) > 1
        store = self.rules.store(made[0], made[1:], self.rules.hold(process), renamed)
        return self.rules.view(process, store)

    def routed(self, process: Process) -> RoutedStore:
        def view() -> View:
            found: View = process.view
            return found

        return self.rules.routed(view, lambda seconds: stop(process))

    def numbers_of(self, source: Role) -> set[int]:
        """The revisions that end when this source is drained: its own, and earlier ones of the same store."""
        known = place_of if self.places_are_known else str
        name = known(self.plan.stores[source.number - 1])
        return {n for n in range(1, source.number + 1) if known(self.plan.stores[n - 1]) == name}

    def is_current(self, role: Role, process: Process) -> bool:
        """Whether a role's store is, under whatever name, the place that a process takes to be current."""
        return self.records_of(role) is self.records_of(process.view.store.current)

    def records_of(self, role: Role) -> dict[str, Record]:
        return cast(Dictionary, role.store).records

    def after(self, process: Process) -> Process:
        """The process that the next request goes to."""
        return self.processes[(self.processes.index(process) + 1) % len(self.processes)]


# What users do, as the engine makes it out of the verbs.


def get(world: World, process: Process, number: int) -> None:
    look(world, process, KEY)


def save(world: World, process: Process, number: int) -> None:
    save_over(world, process, KEY, world.routed(process).get(KEY), {number})


def touch(world: World, process: Process, number: int) -> None:
    store = world.routed(process)
    before, record = len(world.log.logouts), store.get(KEY)
    if record is None or record.ended:
        return world.log.note_found(KEY, record, before)
    touched = store.touch(KEY, EXPIRES + number + 1)
    world.log.note_found(KEY, record if touched else None, before)
    if touched and not process.stale:
        world.log.touched = max(EXPIRES + number + 1, world.log.touched)
    return None


def logout(world: World, process: Process, number: int) -> None:
    end(world, process, KEY)


def login(world: World, process: Process, number: int) -> None:
    """A session gets a new key; what others save under the old one meanwhile comes along."""
    store, key = world.routed(process), f"login {number}"
    held = store.get(KEY)
    data = {number} | contents(held)
    create(world, process, key, data)
    if held is not None and not held.ended:
        world.log.ending.add(KEY)
        retire(world, process, held, key, data)
        world.log.logouts.append(KEY)
    world.log.logins.add(key)
    look(world, world.after(process), key)


def arrive(world: World, process: Process, number: int) -> None:
    """A new session, which nobody asks for until the end."""
    create(world, process, key := f"arrived {number}", {number})
    world.log.logins.add(key)


def guest(world: World, process: Process, number: int) -> None:
    """Somebody logs in, comes back, saves, logs out, and a thief tries the cookie: each at another process."""
    key = f"guest {number}"
    create(world, process, key, {number})
    look(world, process := world.after(process), key)
    save_over(world, process, key, world.routed(process).get(key), {-number})
    end(world, process := world.after(process), key)
    look(world, world.after(process), key)


def drain(world: World, process: Process, number: int) -> None:
    """What ``draining.py`` does, and at the end with the revision."""
    view = process.view
    for source in view.store.sources:
        batch = dict(source.store.scan())
        if process.in_guard:
            return
        view.store.move_many(source, batch)
        if process.view.number != view.number:
            for key in batch:
                world.routed(process).get(key)  # a switch came in between: have it where it belongs now
            return
        same = world.places_are_known and world.is_current(source, process)
        if (
            not same
            and source.store.count() == 0
            and process.view.number == view.number
            and not process.in_guard
        ):
            world.ending |= world.numbers_of(source)
            world.unfinished = world.begun - {number}


OPERATIONS: dict[str, Callable[[World, Process, int], None]] = {
    each.__name__: each for each in (get, save, touch, logout, login, arrive, guest, drain)
}


def look(world: World, process: Process, key: str) -> None:
    before = len(world.log.logouts)
    world.log.note_found(key, world.routed(process).get(key), before)


def save_over(world: World, process: Process, key: str, held: Record | None, ours: set[int]) -> None:
    """Save what is ours over what is held, merging what others have saved."""
    store, before, data = world.routed(process), len(world.log.logouts), set(ours)
    for _ in range(SAVES):
        if held is None or held.ended:
            return world.log.note_found(key, None, before)
        data |= contents(held)
        record = sealed(store, data)
        outcome = store.replace(key, record, held.version)
        if outcome is Outcome.SAVED:
            return world.log.note_saved(key, ours, process)
        if outcome is Outcome.MISSING:
            return world.log.note_found(key, None, before)
        held = store.get(key)
    raise StoreUnavailable("gave up")


def create(world: World, process: Process, key: str, data: set[int]) -> None:
    store = world.routed(process)
    record = sealed(store, data)
    while not store.create(key, record):
        if revision_of(record.version) == store.revision():
            world.log.fault = "I1 refused"
            raise StoreUnavailable("refused")
        record = sealed(store, data)
    if process.stale:
        world.log.ending.add(key)  # it may lie in a store that has been drained: a known limit
    world.log.note_saved(key, data, process)


def end(world: World, process: Process, key: str) -> None:
    world.log.ending.add(key)
    world.routed(process).delete(key)
    world.log.logouts.append(key)


def retire(world: World, process: Process, old: Record, key: str, data: set[int]) -> None:
    store = world.routed(process)
    for _ in range(SAVES):
        if store.delete(KEY, old.version):
            return
        found = store.get(KEY)
        if found is None or found.ended:
            return
        old = found
        save_over(world, process, key, store.get(key), data | contents(old))
    store.delete(KEY)


def place_of(name: str) -> str:
    """The place that a store of a plan is, whatever it is called."""
    return name.removesuffix("'")


def contents(record: Record | None) -> set[int]:
    """The numbers that were saved. A payload is bytes; a number may be negative."""
    return {byte - 128 for byte in record.payload} if record is not None else set()


def sealed(store: RoutedStore, data: set[int]) -> Record:
    payload = bytes(sorted(number + 128 for number in data))
    return Record(payload, new_version(store.revision()), 0, EXPIRES)
