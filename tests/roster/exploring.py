"""Explores logins of one user in the world of the handover's exploration: the roster is a second record in it.

What runs are the real rules of ``roster/``, under the real verbs. After each schedule, and once more when everything
has been moved: all that lives is listed, and no more lives than the limit allows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Any, TypeVar, cast

from sessionpersist.exceptions import SessionLimitReached
from sessionpersist.handover.driving import Call, Outside, Rule, Wait
from sessionpersist.roster import limit, records
from sessionpersist.roster.records import Entry, Owner
from sessionpersist.session.policy import REFUSE, Policy
from sessionpersist.session.reasons import Reason
from sessionpersist.stores.base import (
    Outcome,
    Record,
    Rotation,
    Saving,
    is_roster,
    new_version,
    now_ms,
    restamped,
    revision_of,
)
from tests.handover.explore import Schedule, at_once, broken_after_a_drain, chooser, finish, run
from tests.handover.world import EXPIRES, LIFE, Operation, Plan, Process, World
from tests.handover.world import Rules as RulesOfHandover

T = TypeVar("T")

USER = "user"  # what their stored keys begin with
MOST = 1  # sessions
ENDING, REFUSING = Policy(max_sessions=MOST), Policy(max_sessions=MOST, at_limit=REFUSE)
STORES = [("OLD",), ("OLD", "NEW"), ("OLD", "NEW"), ("OLD", "NEW", "OLD"), ("OLD", "NEW", "THIRD")]
KINDS = ("sign_in", "sign_in_over", "sign_in_moving", "sign_in_and_move", "end_all", "drain")


class Store:
    """The store in force as the rules of a roster ask it: what they call is done by ``listing``."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def revision(self) -> int:
        return cast(int, self._process.view.number)

    def never(self) -> bool:
        return False

    may_see_the_past = in_transaction = locks_others_out = never

    def __getattr__(self, verb: str) -> Callable[..., None]:
        def called(*arguments: Any) -> None:
            raise NotImplementedError

        called.__name__ = verb
        return called


class Rules(RulesOfHandover):
    """How logins are put together: the code as it is."""

    policy = ENDING
    kinds: tuple[str, ...] = KINDS
    ends = True  # whoever is too many is ended
    enters_first = True  # before the session is saved
    compares = True  # a roster that others have changed is read again
    keeps_both_keys = True  # while a session moves
    stamps = True  # a roster counts under the revision under which it was read
    stamps_first = True  # a session is listed and created under one revision
    looks_again = True  # whether it was ended under an earlier one
    looks_at_old_key = True  # a session that moves must not have ended

    def unite(self, key: str, one: Record, other: Record, revision: int) -> Record:
        return records.united(key, one, other, revision)

    @property
    def operations(self) -> dict[str, Callable[[World, Process, int], Operation[None]]]:
        return {
            each.__name__: until_refused(each)
            for each in (sign_in, sign_in_over, sign_in_moving, sign_in_and_move, end_all)
        }


class Refusing(Rules):
    """The code as it is, where one session more is refused."""

    policy = REFUSING
    kinds = ("sign_in", "sign_in_over", "sign_in_over", "sign_in_over", "drain")


class RefusingOneOfTwo(Refusing):
    plan = Plan(("OLD", "NEW"), (("sign_in_over", 1), ("sign_in_over", 0)))


class WithoutEnding(Rules):
    ends = False


class WithoutEnteringFirst(Rules):
    enters_first = False


class WithoutComparing(Rules):
    compares = False


class WithoutOldKey(Rules):
    keeps_both_keys = False


class WithoutStamp(Rules):
    stamps = False


class WithoutStampFirst(Rules):
    plan = Plan(("OLD", "NEW"), (("sign_in", 0), ("sign_in", 1)), processes=3)
    stamps_first = False


class WithoutLookAgain(Rules):
    plan = Plan(("OLD", "NEW", "THIRD"), (("sign_in", 0), ("sign_in", 1), ("end_all", 1)))
    looks_again = False


class WithoutLookAtOldKey(Rules):
    looks_at_old_key = False


LEFT_OUT: dict[str, type[Rules]] = {
    "ending": WithoutEnding,
    "entering first": WithoutEnteringFirst,
    "comparing": WithoutComparing,
    "the old key": WithoutOldKey,
    "the stamp": WithoutStamp,
    "the stamp first": WithoutStampFirst,
    "looking again": WithoutLookAgain,
    "looking at the old key": WithoutLookAtOldKey,
}


def until_refused(
    operation: Callable[[World, Process, int], Operation[None]],
) -> Callable[[World, Process, int], Operation[None]]:
    def run(world: World, process: Process, number: int) -> Operation[None]:
        with suppress(SessionLimitReached):
            yield from operation(world, process, number)

    return run


def listing(world: World, process: Process, rule: Rule[T]) -> Operation[T]:
    """Follow a rule of a roster in a process."""
    rules, answer = cast(Rules, world.rules), None
    try:
        while True:
            request = rule.send(cast(Any, answer))
            match request:
                case Call():
                    answer = yield from asked(world, process, request, rules)
                case Wait():
                    answer = None
                case Outside():
                    answer = yield from listing(world, process, request.rule)
    except StopIteration as end:
        return cast(T, end.value)


def asked(world: World, process: Process, request: Call, rules: Rules) -> Operation[Any]:
    verb, arguments = request.verb.__name__, request.arguments
    if verb == "get_many":
        found = yield from many(world, process, keys := arguments[0])
        if not rules.looks_at_old_key and any(is_roster(key) for key in keys):
            found |= {key: saved(process, 0) for key in keys if not is_roster(key)}
        return found
    if verb == "end" and not rules.ends:
        return None
    if verb == "end_and_replace" and not rules.ends:
        verb, arguments = "replace", arguments[2:]
    if not rules.stamps:
        arguments = tuple(stamped(process, each) for each in arguments)
    if verb == "save_both":
        return (yield from both(world, process, rules, *arguments))
    answer = yield from getattr(world.at(process), verb)(*arguments)
    if answer is Outcome.CONFLICT and not rules.compares:
        return Outcome.SAVED
    return answer


def both(
    world: World, process: Process, rules: Rules, listed: Saving, session: Saving
) -> Operation[tuple[Outcome, Outcome | None]]:
    outcomes = yield from world.at(process).save_both(listed, session)
    if outcomes[0] is Outcome.CONFLICT and not rules.compares:
        key, record, expected, old_key = session
        assert expected is not None
        assert not old_key
        return Outcome.SAVED, (yield from world.at(process).replace(key, record, expected))
    return outcomes


def stamped(process: Process, argument: Any) -> Any:
    if isinstance(argument, Saving):
        return argument._replace(record=stamped(process, argument.record))
    if not isinstance(argument, Record):
        return argument
    return argument._replace(version=restamped(argument.version, process.view.number))


def many(world: World, process: Process, keys: Collection[str]) -> Operation[dict[str, Record]]:
    found = {}
    for key in keys:
        record = yield from world.at(process).get(key)
        if record is not None:
            found[key] = record
    return found


def sign_in(world: World, process: Process, number: int) -> Operation[None]:
    yield from begun(world, process, number)


def begun(world: World, process: Process, number: int) -> Operation[Record | None]:
    """Log in; return what was saved, None where that was refused (see ``made``)."""
    rules, key, now = cast(Rules, world.rules), f"{USER} {number}", now_ms()
    entry = Entry(str(number), (key,), now, now, LIFE)
    store, owner = cast(records.Store, Store(process)), Owner.of(USER)

    def enter() -> Rule[bool | None]:
        yield from limit.entered(store, owner, entry, EXPIRES, rules.policy, {})
        return None

    def create(record: Record) -> Operation[bool]:
        return world.at(process).create(key, record)

    record = yield from made(world, process, key, number, enter if rules.enters_first else nothing, create)
    if record is None:
        return None
    if not rules.enters_first or process.view.number != revision_of(record.version):
        yield from listing(world, process, enter())
    return record


def made(
    world: World,
    process: Process,
    key: str,
    number: int,
    enter: Callable[[], Rule[bool | None]],
    make: Callable[[Record], Operation[bool]],
) -> Operation[Record | None]:
    """List a session and save it, as the engine does. Return what was saved; None where the key can't be used, as the
    session was ended before it was there."""
    rules, again = cast(Rules, world.rules), False
    while True:
        record = saved(process, number)
        if (yield from listing(world, process, enter())) is False:
            return None
        yield from sleep()
        if not rules.stamps_first:
            record = saved(process, number)
        if again and rules.looks_again and (yield from world.at(process).get(key)) is not None:
            return None
        if (yield from make(record)):
            return record
        if revision_of(record.version) == process.view.number:
            return None
        again = True


def sign_in_over(world: World, process: Process, number: int) -> Operation[None]:
    """Log in with a session that was there before, as nobody's; both records are saved together where that can be."""
    key, now = f"{USER} {number}", now_ms()
    nobodys = saved(process, number)._replace(user_id="")
    if not (yield from world.at(process).create(key, nobodys)):
        return
    entry, entered = Entry(str(number), (key,), now, now, LIFE), -1
    store, owner = cast(records.Store, Store(process)), Owner.of(USER)
    policy = cast(Rules, world.rules).policy

    def enter(session: Saving | None) -> Rule[Outcome | None]:
        return limit.entered(store, owner, entry, EXPIRES, policy, {}, session=session)

    outcome: Outcome | None = Outcome.CONFLICT
    while outcome is Outcome.CONFLICT:
        held = yield from world.at(process).get(key)
        if held is None or held.ended:
            return
        record, outcome = saved(process, number), None
        if entered != process.view.number:
            entered = process.view.number
            outcome = yield from listing(world, process, enter(Saving(key, record, held.version)))
            yield from sleep()
        outcome = outcome or (yield from world.at(process).replace(key, record, held.version))
    if outcome is Outcome.SAVED and entered != process.view.number:
        yield from listing(world, process, enter(None))


def sign_in_moving(world: World, process: Process, number: int) -> Operation[None]:
    """Log in with a session that was there before, as nobody's, and has a new key from then on."""
    old, nobodys = f"nobody's {number}", saved(process, number)._replace(user_id="")
    yield from world.at(process).create(old, nobodys)
    held = yield from world.at(process).get(old)
    if held is None or held.ended:
        return
    now, new = now_ms(), f"{USER} {number}"
    entry, policy = Entry(str(number), (new,), now, now, LIFE), cast(Rules, world.rules).policy
    store, owner = cast(records.Store, Store(process)), Owner.of(USER)

    def enter(session: Saving | None = None) -> Rule[Outcome | None]:
        return limit.entered(store, owner, entry, EXPIRES, policy, {}, session=session)

    record = saved(process, number)
    session: Saving | None = Saving(new, record, held.version, old)
    while (yield from listing(world, process, enter(session))) is not Outcome.SAVED:
        if session is None and (yield from world.at(process).get(new)) is not None:
            return  # it was ended, or saved as a switch came
        yield from sleep()
        if (yield from world.at(process).rotate(old, held.version, new, record)) is not Rotation.TAKEN:
            break
        if revision_of(record.version) == process.view.number:
            return
        record, session = saved(process, number), None
    if process.view.number != revision_of(record.version):
        yield from listing(world, process, enter())


def sleep() -> Operation[None]:
    """Stop where no verb is, but where a process that sleeps may miss something."""
    yield Call(lambda: None, (), {})


def nothing() -> Rule[None]:
    yield from ()


def saved(process: Process, number: int) -> Record:
    """A session of the user, used the later the greater its number."""
    version = new_version(process.view.number)
    return Record(bytes([number + 128]), version, 0, EXPIRES + number, Owner.of(USER).hashes[0])


def sign_in_and_move(world: World, process: Process, number: int) -> Operation[None]:
    """Log in, and get a new key at another process."""
    record = yield from begun(world, process, number)
    if record is None:
        return
    rules, process = cast(Rules, world.rules), world.after(process)
    old, new = f"{USER} {number}", f"{USER} {number} again"
    held = yield from world.at(process).get(old)
    if held is None or held.ended:
        return
    now = now_ms()
    entry = Entry("again", (new,), now, now, LIFE)
    store, owner = cast(records.Store, Store(process)), Owner.of(USER)

    def enter() -> Rule[bool]:
        alive = yield from limit.renamed(store, owner, old, entry, EXPIRES)
        if alive and not rules.keeps_both_keys:
            yield from without(store, owner, old)
        return alive

    def rotate(record: Record) -> Operation[bool]:
        done = yield from world.at(process).rotate(old, held.version, new, record)
        return done is not Rotation.TAKEN

    yield from made(world, process, new, number, enter, rotate)


def without(store: records.Store, owner: Owner, key: str) -> Rule[None]:
    def change(roster: records.Roster) -> Rule[tuple[records.Roster, None]]:
        yield from ()
        entries = (each._replace(keys=tuple(k for k in each.keys if k != key)) for each in roster.entries)
        return roster._replace(entries=tuple(entries)), None

    return records.changed(store, owner, EXPIRES, change)


def end_all(world: World, process: Process, number: int) -> Operation[None]:
    store, owner = cast(records.Store, Store(process)), Owner.of(USER)
    rule = records.ended(store, owner, ENDING, lambda entry: True, Reason.BY_USER, {})
    yield from listing(world, process, rule)


# What must be true in the end.


def broken(schedule: Schedule) -> str | None:
    """Return what is wrong after this run, or None."""
    world, plan = schedule.world, schedule.world.plan
    reader = Process("reader", len(plan.stores), knows_places=world.places_are_known)
    reader.view = world.compose(reader)
    return wrong(world, reader) or broken_after_a_drain(world, reader) or wrong(world, reader)


def wrong(world: World, reader: Process) -> str | None:
    owner = Owner.of(USER)
    keys = {key for store in world.stores.values() for key in store.records if key.startswith(USER)}
    live = [key for key in sorted(keys) if owner.owns(at_once(world, reader, key))]
    read = records.read(cast(records.Store, Store(reader)), owner)
    listed = finish(listing(world, reader, read)).entries
    named = [entry.id for key in live for entry in listed if key in entry.keys]
    if len(named) < len(live):
        return "a session lives and is not listed"
    return "more live than the limit allows" if len(set(named)) > MOST else None


# Exploring at random.


def random_plan(source: random.Random, rules: Rules) -> Plan:
    processes = 2 if source.random() < 0.6 else 3
    kinds = (source.choice(rules.kinds) for _ in range(source.choice([2, 3, 3, 4])))
    return Plan(
        source.choice(STORES),
        tuple((kind, int(source.random() * processes)) for kind in kinds),
        processes,
        kill=source.random() < 0.3,
        faults=1 if source.random() < 0.25 else 0,
        apart=source.random() < 0.3,
    )


def at_random(runs: int, seed: int, rules: Rules) -> Iterator[str]:
    """Run so many plans; yield what each broke, in words."""
    source = random.Random(seed)
    for _ in range(runs):
        plan = rules.plan or random_plan(source, rules)
        schedule = run(plan, chooser(source, plan), rules)
        if fault := broken(schedule):
            steps = ", ".join(f"{kind} {getattr(which, 'name', which)}" for kind, which in schedule.steps)
            yield f"{fault}: {plan}: {steps}"


def faults(runs: int, seed: int, rules: Rules) -> list[str]:
    return list(at_random(runs, seed, rules))


def first_fault(runs: int, seed: int, left_out: str) -> str | None:
    return next(at_random(runs, seed, LEFT_OUT[left_out]()), None)
