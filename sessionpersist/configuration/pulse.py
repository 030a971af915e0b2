"""Whether the store in force works, for the page: a read with each look, and every verb when staff ask for that.

A look costs the store one read and writes nothing. However many people have the page open, a process asks at most once
in ``LIFE_SECONDS``; what it shows says how old it is.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from django.utils import timezone

from sessionpersist.configuration import probing
from sessionpersist.handover import times
from sessionpersist.stores import open_store
from sessionpersist.stores.probe import Step, timed
from sessionpersist.stores.settings import StoreSettings

LIFE_SECONDS = 1.0
WARNINGS_LIFE_SECONDS = 60.0  # they cost several questions, and change seldom


@dataclass(frozen=True)
class Pulse:
    """What came of one look: a read, and what staff should know of a store that works."""

    settings: StoreSettings
    read: Step
    warnings: Sequence[str]
    warned_at: float  # this and the next on the monotonic clock
    taken_at: float
    at: datetime

    @property
    def seconds(self) -> float:
        """How old it is."""
        return monotonic() - self.taken_at


@dataclass(frozen=True)
class Report:
    """What came of trying every verb of the store in force."""

    settings: StoreSettings
    steps: Sequence[Step]
    taken_at: float
    at: datetime

    @property
    def works(self) -> bool:
        return probing.failure(self.steps) is None

    @property
    def tried(self) -> str:
        """What was tried, for staff."""
        return self.settings.describe()


_pulse: Pulse | None = None
_report: Report | None = None


def take(settings: StoreSettings) -> Pulse:
    """Return whether this store answers, from a moment ago or asked now. Never raises for a broken store."""
    global _pulse
    last = _pulse if _pulse is not None and _pulse.settings == settings else None
    if last is None or last.seconds >= LIFE_SECONDS:
        last = _pulse = _look(settings, last)
    return last


def check(settings: StoreSettings) -> Report:
    """Try every verb of this store, as Test connection does. Never raises for a broken store."""
    global _report
    last = _report
    if last is None or last.settings != settings or monotonic() - last.taken_at >= LIFE_SECONDS:
        steps = probing.probe(settings)
        last = _report = Report(settings, steps, monotonic(), times.local(timezone.now()))
    return last


def reset() -> None:
    """Forget what was found. After settings changed, in tests."""
    global _pulse, _report
    _pulse = _report = None


def _look(settings: StoreSettings, last: Pulse | None) -> Pulse:
    hidden = probing.secrets_of(settings)
    read = timed("Read", lambda: _read(settings), hidden)
    taken_at, at = monotonic(), times.local(timezone.now())
    warnings, warned_at = (last.warnings, last.warned_at) if last else ((), float("-inf"))
    if read.ok and taken_at - warned_at >= WARNINGS_LIFE_SECONDS:
        found: list[str] = []
        timed("Warnings", lambda: found.extend(open_store(settings).store.warnings()), hidden)
        warnings, warned_at = found, taken_at
    return Pulse(settings, read, warnings, warned_at, taken_at, at)


def _read(settings: StoreSettings) -> None:
    """Ask for a session that nobody has. What counts is that there is an answer."""
    open_store(settings).get(secrets.token_hex(32))
