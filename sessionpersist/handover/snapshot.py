"""What this process knows of the revisions right now: frozen, and read again by a deadline.

Between two reads a request pays one comparison with a monotonic clock. The revisions activate on the *database's*
clock: each read notes how far this machine's monotonic clock is from it, so nodes whose clocks are wrong still switch
at the same moment. Where the database does not answer, the last good snapshot stays in force, and what it knows to be
pending still activates on time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import pairwise
from time import monotonic
from typing import TypeGuard

from django.db import Error, connections, router

from sessionpersist import conf, forks
from sessionpersist.awaiting import in_loop, in_thread, result_of
from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.handover import announcing, quiet_tests, times
from sessionpersist.handover.rules import MISSED
from sessionpersist.initial import initial_policy, initial_settings
from sessionpersist.session.policy import AS_DJANGO, Policy
from sessionpersist.stores.base import INITIAL
from sessionpersist.stores.deadlines import answers_within
from sessionpersist.stores.settings import MemorySettings, StoreSettings
from sessionpersist.stores.transactions import may_see_the_past, outside
from sessionpersist.telemetry import lines, recorder
from sessionpersist.telemetry.lines import CONFIGURATION_BACK, CONFIGURATION_LOST
from sessionpersist.threads import NoThread, begin_thread, leaving_no_connection, settle

ROUNDING = 0.0001  # seconds; more than Unix times lose as floats: a revision of this very instant is due
OVERRIDDEN = -1  # as the number of what a test has put in force, which is no revision
EXPIRED = 0.0  # as a time until which a snapshot is fresh
RETRY_SECONDS = 1.0  # between two attempts to read a configuration that could not be read
SHORTEST_RETRY = (
    0.1  # the same with a shorter REFRESH_SECONDS, which may be 0: one that hangs would hold everybody up
)


@dataclass(frozen=True)
class Known:
    """One revision: its number, the store it chose, and when it activates (Unix time of the database, seconds).
    ``initial``: it was in force before it was written, and sessions of that time carry the number 0. ``place`` is the
    id of the place that its store is, where that is known (see ``Probed.place``). ``policy_life`` is the longest life
    that a policy gave to sessions while it was in force, in seconds. ``ends_earlier``: everybody is logged out with it.
    ``era`` counts how often an override has done that."""

    number: int
    settings: StoreSettings
    activates_at: float
    initial: bool = False
    place: str = ""
    policy_life: float = 0.0
    ends_earlier: bool = False
    era: int = INITIAL

    @property
    def longest_life(self) -> float:
        """For how many seconds after the switch to the next one its sessions may live on."""
        return max(conf.longest_life_seconds(), self.policy_life)

    @property
    def stamp(self) -> int:
        """What the versions of its sessions begin with. An override is no revision: it stamps as before the first."""
        return max(self.number, self.era)

    def is_same_place(self, other: Known) -> bool:
        """Whether both mean one place, under whatever names."""
        return self.settings.target == other.settings.target or bool(self.place and self.place == other.place)


# Stands for the store of before anybody has saved one; ``initial`` says which that is.
DEFAULT = Known(INITIAL, MemorySettings(), 0.0)


@dataclass(frozen=True)
class Snapshot:
    """The revision in force, those to come (oldest first), and those whose sessions may not all have moved (newest
    first). Times are of the monotonic clock, in seconds. ``kept``: the last attempt to read it again has failed.
    ``mixed``: nodes of 0.2.0 serve beside this one, which open only what that release has sealed. ``floor`` is the
    revision with which everybody was last logged out: nothing of before drains. ``ended`` are the stored keys of
    sessions that were logged out while their store did not answer."""

    current: Known
    pending: tuple[Known, ...]
    read_at: float
    clock: float  # the database's Unix time minus the monotonic clock
    fresh_until: float
    draining: tuple[Known, ...] = ()
    kept: bool = False
    mixed: bool = False
    policy: Policy = AS_DJANGO
    floor: int = INITIAL
    ended: frozenset[str] = frozenset()

    @property
    def age(self) -> float:
        """How many seconds ago it was read."""
        return max(0.0, monotonic() - self.read_at)

    @property
    def stale(self) -> bool:
        """Whether the configuration could not be read for so long that another revision may be in force. What was just
        read is not stale, however short REFRESH_SECONDS is: a read takes up to TIMEOUT_SECONDS."""
        bearable = 2 * conf.refresh_seconds()
        if not self.kept:
            bearable = max(bearable, conf.timeout_seconds())
        return monotonic() - self.read_at > bearable and self.fresh_until != float("inf")

    @property
    def longest_life(self) -> float:
        """For how many seconds any session may live, wherever it is."""
        lives = (each.longest_life for each in (self.current, *self.draining))
        return max(*lives, self.policy.longest_life / 1000)

    def undecided(self) -> float:
        """Seconds until all processes agree on the revision in force; 0 away from an activation."""
        guard, now = conf.guard_seconds(), monotonic() + self.clock
        waits = (each.activates_at + guard - now for each in (self.current, *self.pending))
        return max((wait for wait in waits if 0 < wait <= 2 * guard), default=0.0)

    def calm(self) -> tuple[float, float]:
        """Between which times of the monotonic clock ``undecided`` is 0 for sure."""
        guard = conf.guard_seconds()
        upcoming = (each.activates_at for each in self.pending)
        until = min(upcoming, default=float("inf"))
        return self.current.activates_at + guard - self.clock, until - guard - self.clock

    def at(self, now: float) -> Snapshot:
        """The same knowledge at a later moment: pending revisions whose time has come are in force."""
        if not self.pending:
            return self
        due = [each for each in self.pending if each.activates_at <= now + self.clock + ROUNDING]
        if not due:
            return self
        newest = max(due, key=lambda each: each.number)
        rest = tuple(each for each in self.pending if each.number > newest.number)
        passed = [each for each in self.pending if DEFAULT.number < each.number < newest.number]
        before = [self.current] if self.current.number > DEFAULT.number else []
        ending = [each.number for each in (*passed, newest) if each.ends_earlier]
        earlier = (*reversed(passed), *before, *self.draining)
        return replace(self, current=newest, pending=rest, draining=earlier).above(
            max(ending, default=INITIAL)
        )

    def above(self, floor: int) -> Snapshot:
        """The same knowledge where everybody was logged out with that revision, which is in force or was."""
        if not self.floor < floor <= self.current.number:
            return self
        return replace(self, floor=floor, draining=tuple(e for e in self.draining if e.number >= floor))


_lock = threading.Lock()
_held: Snapshot | None = None
_overrides: list[tuple[Snapshot, Snapshot]] = []  # each as it began, and as it is
_override: Snapshot | None = None  # the last of them
_overriding = threading.Lock()
# What a test knows, and since which save.
_tested: tuple[quiet_tests.Save | None, Snapshot | None] = (None, None)
_reading: Future[Snapshot] | None = None  # what a thread reads for coroutines
_lost = False  # whether the last read failed, so that the log has one line when it does and one when it works again


def current() -> Snapshot:
    """Return what this process knows, read again where the deadline has passed.

    Raises StoreUnavailable where it has never been able to read the configuration.
    """
    held = _override or _held
    if held is not None and monotonic() < held.fresh_until:
        return held
    return _refreshed()


def held() -> Snapshot | None:
    """Return what this process knows without asking anybody; None where it knows nothing yet."""
    return _override or _held


def reset() -> None:
    """Forget everything: the next request reads the configuration. After a fork, after settings changed, in tests."""
    global _held, _lock, _lost, _tested, _reading
    _held, _lock, _lost, _tested, _reading = None, threading.Lock(), False, (None, None), None
    announcing.reset()


def expire() -> None:
    """Have the next request read the configuration, and keep what is known until that has worked."""
    global _held
    if conf.tests_are_quiet():
        quiet_tests.note_save()
    elif _held is not None:
        _held = replace(_held, fresh_until=EXPIRED)


def override(store_settings: StoreSettings, policy: Policy = AS_DJANGO) -> Snapshot:
    """For tests: these settings are in force in this process, at once and whatever is configured, until ``lift``.

    Of several, the one that began last is in force.
    """
    known = Known(OVERRIDDEN, store_settings, 0.0)
    added = Snapshot(known, (), monotonic(), 0.0, float("inf"), policy=policy)
    with _overriding:
        _override_with([*_overrides, (added, added)])
    return added


def note_ended(stored_key: str) -> None:
    """Have this process know at once that a session was logged out, though its store could not be told."""
    global _held
    if conf.tests_are_quiet():
        quiet_tests.note_save()
    with _lock:
        if _held is not None:
            _held = replace(_held, ended=_held.ended | {stored_key})
    with _overriding:
        if _overrides:
            *others, (begun, last) = _overrides
            _override_with([*others, (begun, replace(last, ended=last.ended | {stored_key}))])


def end_override() -> bool:
    """Log everybody out in the override that is in force; False where none is."""
    with _overriding:
        if not _overrides:
            return False
        *others, (begun, last) = _overrides
        era = last.current.stamp + 1
        ended = replace(last, current=replace(last.current, era=era), floor=era)
        _override_with([*others, (begun, ended)])
    return True


def lift(override: Snapshot) -> None:
    """End an override, whatever has begun or ended since."""
    with _overriding:
        _override_with([each for each in _overrides if each[0] is not override])


def _override_with(overrides: list[tuple[Snapshot, Snapshot]]) -> None:
    global _override
    _overrides[:] = overrides
    _override = overrides[-1][1] if overrides else None


def refresh() -> None:
    """Read the configuration if that is due, as a request begins: before its transaction, and on its own connection.

    Never raises, and waits for no other thread: this page may need no session. Once an attempt has failed none is made
    here until one has worked; whoever asks for a session makes them, and is told.
    """
    held = _override or _held
    if _lost or (held is not None and monotonic() < held.fresh_until):
        return
    with suppress(StoreUnavailable):
        if conf.tests_are_quiet():
            _in_test()
        elif (lock := _lock).acquire(blocking=False):
            _read_in_turn(lock, held)


def _refreshed() -> Snapshot:
    """Read the revisions; one thread does, while others go on with a snapshot that is not too old."""
    if in_loop():
        return _refreshed_aside()
    if conf.tests_are_quiet():
        return _in_test()
    lock, held = _lock, _held
    if not lock.acquire(blocking=not _is_bearable(held)):
        assert held is not None
        return held.at(monotonic())
    return _read_in_turn(lock, held)


def _refreshed_aside() -> Snapshot:
    """The same for a coroutine, whose loop must not wait for a database: another thread reads, for all coroutines."""
    global _reading
    if conf.tests_are_quiet():
        save, (read_for, known) = quiet_tests.last_save(), _tested
        return in_thread(_in_test) if known is None or read_for is not save else _in_test()
    held, reading = _held, _reading
    if reading is None:
        reading = _reading = Future()
        # Of its own: Django's may be busy for long, and with what waits for this coroutine.
        try:
            read = leaving_no_connection(partial(settle, reading, _read_for_coroutines))
            begin_thread("sessionpersist-refresh", read)
        except NoThread as error:
            _reading = None
            reading.set_exception(error)
    if _is_bearable(held) and held.fresh_until > EXPIRED:
        return held.at(monotonic())
    try:
        return result_of(reading, 2 * conf.timeout_seconds())  # to connect, and to read
    except OSError as error:  # too late, or there was no thread to read
        raise StoreUnavailable(MISSED) from error


def _read_for_coroutines() -> Snapshot:
    global _reading
    try:
        return current()
    finally:
        _reading = None


def _read_in_turn(lock: threading.Lock, held: Snapshot | None) -> Snapshot:
    """Read the revisions, unless another thread has done so while this one waited for the lock; and let go of that."""
    global _held
    try:
        if _held is not held and _held is not None and monotonic() < _held.fresh_until:
            return _held
        _held = fresh = _renewed(_held)
        switch = announcing.noted(fresh)
    finally:
        lock.release()
    announcing.announce(switch)
    recorder.refresh()
    return fresh


def _is_bearable(held: Snapshot | None) -> TypeGuard[Snapshot]:
    """Whether a switch that this knowledge does not tell of can't have happened yet."""
    return held is not None and monotonic() - held.read_at < 2 * conf.refresh_seconds()


def _renewed(held: Snapshot | None) -> Snapshot:
    """Read the revisions. Where that takes a thread and a connection of its own, it may wait for the next request,
    unless somebody has said that something has changed."""
    if _is_bearable(held) and held.fresh_until > EXPIRED and not _may_ask_here():
        return held.at(monotonic())
    return _read_or_keep(held)


def _in_test() -> Snapshot:
    """Return what is in force in a test: what it has saved itself, else what is before anybody saves anything. It is
    looked at each time: a test ends without a word."""
    global _tested
    with _lock:
        save, (read_for, known) = quiet_tests.last_save(), _tested
        if known is None or read_for is not save:
            if read_for is not None and quiet_tests.is_over(read_for):
                announcing.reset()  # this is another test
            known = _as_installed() if save is None else _read_or_keep(None)
            known = replace(known, fresh_until=float("inf"))
        _tested = save, (known := known.at(monotonic()))
        switch = announcing.noted(known)
    announcing.announce(switch)
    return known


def _read_or_keep(held: Snapshot | None) -> Snapshot:
    global _lost
    try:
        fresh = _read_where_possible()
    except StoreMisconfigured:  # it was read, and what it names can't be used
        raise
    except (Error, StoreUnavailable) as error:
        if not _lost:
            kind = type(error).__name__
            sentence = f"The login configuration could not be read ({kind})."
            lines.say(CONFIGURATION_LOST, sentence, error=kind, exc_info=error)
        _lost = True
        if held is None:
            raise StoreUnavailable(
                "The login configuration could not be read. Has “migrate” been run?"
            ) from error
        kept, now = replace(held, kept=True), monotonic()
        return _fresh_for(kept.at(now), now + max(SHORTEST_RETRY, min(RETRY_SECONDS, conf.refresh_seconds())))
    if _lost:
        lines.say(CONFIGURATION_BACK, "The login configuration can be read again.")
    _lost = False
    return fresh


def _read_where_possible() -> Snapshot:
    return _read() if _may_ask_here() else outside(_read)


def _may_ask_here() -> bool:
    """Django forbids queries in an event loop, and a transaction may see what is long past: then a thread asks."""
    from sessionpersist.models import Revision  # models are loaded after the app registry is ready

    return not in_event_loop() and not may_see_the_past(router.db_for_write(Revision))


def in_event_loop() -> bool:
    """Whether this thread runs one, so that Django refuses to ask a database in it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _read() -> Snapshot:
    # Loaded after the app registry is ready.
    from sessionpersist.models import LoginConfiguration, PendingLogout, Revision

    begun = monotonic()
    alias = router.db_for_write(Revision)
    try:
        with answers_within(conf.timeout_seconds(), connections[alias]):
            rows = Revision.objects.in_force()
            row = LoginConfiguration.objects.using(alias).first()
            ended = PendingLogout.objects.using(alias).known() if rows and rows[0].logouts else []
    except Error:
        connections[alias].close_if_unusable_or_obsolete()
        raise
    read_at = (begun + monotonic()) / 2
    clock = _unix_time(rows[0].database_now) - read_at if rows else 0.0
    known = (
        Known(
            row.pk,
            row.store_settings(),
            _unix_time(row.activates_at),
            row.initial,
            row.place,
            float(row.longest_life or 0),
            row.ends_earlier,
        )
        for row in rows
    )
    # The revision with which everybody was logged out may be drained itself by now.
    floor = rows[0].floor or INITIAL if rows else INITIAL
    snapshot = compose(known, read_at, clock, floor)
    policy = row.policy() if row is not None and row.says_something else initial_policy()
    mixed = bool(rows) and rows[0].mixed
    return replace(snapshot, mixed=mixed, policy=policy, ended=frozenset(ended))


def _unix_time(noted: datetime) -> float:
    """Return a time that the database has noted in seconds."""
    return times.instant(noted).timestamp()


def _as_installed() -> Snapshot:
    """What holds before anybody has saved anything."""
    return replace(compose((), monotonic(), 0.0), policy=initial_policy())


def compose(revisions: Iterable[Known], read_at: float, clock: float, floor: int = INITIAL) -> Snapshot:
    """Build the snapshot of a moment from the revisions; it is fresh until the next one activates, at the longest."""
    snapshot = Snapshot(DEFAULT, tuple(revisions), read_at, clock, 0.0).at(read_at).above(floor)
    if snapshot.current is DEFAULT:
        snapshot = replace(snapshot, current=replace(DEFAULT, settings=initial_settings()))
    chain = (snapshot.current, *snapshot.draining)
    # No session lives on in a store for longer than its life after the switch to the next one.
    now = read_at + clock
    draining = tuple(
        older for newer, older in pairwise(chain) if newer.activates_at > now - older.longest_life
    )
    return _fresh_for(replace(snapshot, draining=draining), read_at + conf.refresh_seconds())


def _fresh_for(snapshot: Snapshot, until: float) -> Snapshot:
    activations = (each.activates_at - snapshot.clock for each in snapshot.pending)
    return replace(snapshot, fresh_until=min(until, *activations, float("inf")))


def _forget() -> None:
    """In a forked child. An override stays: the block that began it goes on there."""
    global _overriding
    _overriding = threading.Lock()
    reset()


forks.in_child(forks.Layer.KNOWLEDGE, _forget)
