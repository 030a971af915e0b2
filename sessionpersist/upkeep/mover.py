"""Moves what is left in the draining stores of a scope, at the rate that was chosen, beside live traffic."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from sessionpersist import conf
from sessionpersist.handover import draining
from sessionpersist.handover.asking import in_time
from sessionpersist.handover.draining import Draining
from sessionpersist.handover.snapshot import Known
from sessionpersist.models import Revision
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import STORE_EMPTY
from sessionpersist.upkeep.lease import SITE, Holding

STEPS = 10  # a second
TELL_SECONDS = 1.0  # between two notes of how far it is, which are also two looks at the rate that is wanted
AGAIN_SECONDS = 2.0  # before what is left is looked through once more
FASTEST = 16_000  # sessions a second that staff can ask for

Wait = Callable[[float], bool]  # for so many seconds; True where the process is about to end


def has_work(scope: str, known: list[Known]) -> bool:
    """Return whether any of these draining stores is one of the scope that is to be moved. Raises Error."""
    numbers = [each.number for each in known if each.settings.per_node == (scope != SITE)]
    if not numbers or not conf.drain_rate():
        return False
    with in_time(Revision):
        return Revision.objects.filter(pk__in=numbers, drained_at=None).exclude(drain_rate=0).exists()


def move_all(holding: Holding, wait: Wait, meanwhile: Callable[[], None]) -> int:
    """Move what is left in the draining stores of the scope; return how many sessions can't be moved at this moment.
    ``meanwhile`` is called about once in TELL_SECONDS.

    Raises LeaseLost, Error, NotNow, StoreUnavailable; what was moved stays moved.
    """
    stores = [each for each in draining.going_on() if each.per_node == (holding.scope != SITE)]
    return sum(Mover(holding, each, wait, meanwhile).run() for each in stores)


class Mover:
    """Moves the sessions of one store."""

    def __init__(self, holding: Holding, source: Draining, wait: Wait, meanwhile: Callable[[], None]) -> None:
        self.holding, self.source, self.wait, self.meanwhile = holding, source, wait, meanwhile
        source.require = holding.require
        self.moved = 0
        self._rate = 0.0  # that was reached lately
        # When that was last noted, and how many had been moved by then.
        self._told_at, self._told = monotonic(), 0

    def run(self) -> int:
        """Look through the store, again and again while that moves something; return how much is left that can't be
        moved."""
        self.source.left()  # the most that was there is what a progress bar begins with
        while rate := self._tell():
            before = self.moved
            done = self._pass(rate)
            left = self.source.finish() if done else None
            if left == 0:
                self._say_so()
                return 0
            if left and self.moved == before:
                return left
            if self.wait(AGAIN_SECONDS if done else 0):
                return 0
        return 0

    def _say_so(self) -> None:
        if self.moved:
            store = self.source.describe()
            sentence = f"{store} is empty: {self.moved} sessions were moved."
            lines.say(STORE_EMPTY, sentence, store=store, moved=self.moved)

    def _pass(self, rate: float) -> bool:
        """Look through the store once; False where that was left off, for another rate is wanted or the process ends.

        What can't be moved costs time as well: a batch of it counts a little. Between two batches there is as much rest
        as the last one took, so that a store that is slow is left half of its time.
        """
        size = max(1, min(draining.BATCH, int(rate / STEPS)))
        self.source.found, due = None, monotonic()
        batches = self.source.batches(size)
        while True:
            self.holding.require()
            begun = monotonic()
            count = next(batches, None)
            if count is None:
                return True
            self.moved += count
            due = max(due, begun - 1) + max(count, size / STEPS) / rate
            took = monotonic() - begun
            if self._is_interrupted(max(due, monotonic() + took), rate):
                return False

    def _is_interrupted(self, until: float, rate: float) -> bool:
        """Rest until a time of the monotonic clock, and hold the lease meanwhile; True where the process is about to
        end, or another rate is wanted."""
        while True:
            left = until - monotonic()
            if self.wait(max(0.0, min(left, TELL_SECONDS))) or self._wanted(rate) != rate:
                return True
            if left <= TELL_SECONDS:
                return False

    def _wanted(self, rate: float) -> float:
        """Return the rate that is wanted, from a moment ago or asked now."""
        return rate if monotonic() < self._told_at + TELL_SECONDS else self._tell()

    def _tell(self) -> float:
        """Renew the lease, note how far it is, and return the rate that is wanted; 0: it is paused, or over."""
        now = monotonic()
        if (passed := now - self._told_at) >= TELL_SECONDS:
            lately = (self.moved - self._told) / passed
            self._rate = lately if not self._rate else (self._rate + lately) / 2
            self._told_at, self._told = now, self.moved
        self.holding.renew(moves=self.source.number, rate=self._rate)
        self.meanwhile()
        return rate_of(self.source.number)


def rate_of(number: int) -> float:
    """Return how many sessions a second are to be moved out of the store of a revision without anybody asking; 0: none.
    Raises Error."""
    with in_time(Revision):
        chosen = list(
            Revision.objects.filter(pk=number, drained_at=None).values_list("drain_rate", flat=True)
        )
    return next((rate_from(each) for each in chosen), 0.0)


def rate_from(chosen: int | None) -> float:
    """Return the same, of what staff have chosen for it."""
    usual = conf.drain_rate()
    return usual if chosen is None or not usual else float(chosen)


def paused(number: int) -> None:
    """Move nothing out of the store of a revision by itself until somebody says otherwise."""
    _choose(number, 0)


def resumed(number: int) -> None:
    """Go on at DRAIN_RATE."""
    _choose(number, None)


def faster(number: int) -> None:
    """Move twice as many a second, up to FASTEST."""
    _choose(number, max(1, min(int(2 * (rate_of(number) or conf.drain_rate())), FASTEST)))


def _choose(number: int, rate: int | None) -> None:
    """Nothing is noted where DRAIN_RATE is 0: nothing moves by itself, and a rate would hold once it is set again."""
    if conf.drain_rate():
        Revision.objects.filter(pk=number, drained_at=None).update(drain_rate=rate)
