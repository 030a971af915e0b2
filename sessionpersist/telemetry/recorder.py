"""The one place that is told what happens, and passes it on to whoever listens: OpenTelemetry, Prometheus, or nobody.

Where nobody listens a verb pays for one look at an empty tuple. No label ever holds a session, a user or an address:
each has a handful of values, all of which are written down in the code.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import METRIC_FAILED

QUIET_SECONDS = 60.0  # between two lines of the log about a listener that fails


class Kind(enum.Enum):
    """How a metric is measured."""

    COUNTER = "it only grows"
    HISTOGRAM = "how often it was how much"
    GAUGE = "as it is now"


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric: its name in OpenTelemetry, its unit in UCUM, what it says, and its labels.

    Each is itself alone: to compare their names would take longer than all else that a verb pays for."""

    name: str
    kind: Kind
    unit: str
    description: str
    labels: tuple[str, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """The name that it has in Prometheus, as OpenTelemetry defines it; without the ``_total`` of a counter."""
        unit = "_seconds" if self.unit == "s" else "_per_second" if self.unit.endswith("/s") else ""
        return self.name.replace(".", "_") + unit


DURATION = Metric(
    "sessionpersist.store.operation.duration",
    Kind.HISTOGRAM,
    "s",
    "How long a verb of the session store took, with a second try where there was one.",
    ("store", "verb", "outcome"),
)
RETRIES = Metric(
    "sessionpersist.store.retries",
    Kind.COUNTER,
    "{call}",
    "Calls that were made once more, on a new connection.",
    ("store", "verb"),
)
BREAKERS = Metric(
    "sessionpersist.store.breakers.open",
    Kind.GAUGE,
    "{breaker}",
    "Circuit breakers that are open, of the stores in use.",
    ("store",),
)
MERGES = Metric(
    "sessionpersist.session.merges",
    Kind.COUNTER,
    "{merge}",
    "Saves that were merged with what a parallel request had saved.",
)
STARTED = Metric("sessionpersist.session.started", Kind.COUNTER, "{session}", "Logins.")
ENDED = Metric(
    "sessionpersist.session.ended",
    Kind.COUNTER,
    "{session}",
    "Sessions that somebody ended, by the reason; one that expires is not counted.",
    ("reason",),
)
LIVE = Metric(
    "sessionpersist.sessions.live",
    Kind.GAUGE,
    "{session}",
    "Live sessions in the store in force; the counting ends at 50,000. In-Memory: on this node.",
    ("store",),
)
MOVED = Metric(
    "sessionpersist.handover.moved",
    Kind.COUNTER,
    "{session}",
    "Sessions that were brought over from a store used before, other than by the requests of their users.",
)
LEFT = Metric(
    "sessionpersist.handover.left",
    Kind.GAUGE,
    "{session}",
    "Sessions that are still in a store used before; the counting ends at 50,000. In-Memory: on this node.",
    ("store",),
)
RATE = Metric(
    "sessionpersist.handover.rate",
    Kind.GAUGE,
    "{session}/s",
    "How many sessions a second move by themselves out of a store used before, of late, by all processes that do.",
    ("store",),
)
AGE = Metric(
    "sessionpersist.configuration.age",
    Kind.GAUGE,
    "s",
    "How long ago this process has read the configuration; of several processes, the longest.",
)
METRICS = (DURATION, RETRIES, BREAKERS, MERGES, STARTED, ENDED, LIVE, MOVED, LEFT, RATE, AGE)

# Upper bounds in seconds: In-Memory answers in microseconds, a time-out takes seconds.
BOUNDS = (
    0.00001,
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.5,
    1,
    2.5,
    5,
)


class Listener(Protocol):
    """Whoever passes metrics on. It may be called by any thread, and must not wait for anything."""

    def add(self, metric: Metric, amount: int, labels: tuple[str, ...]) -> None:
        """Count."""

    def observe(self, seconds: float, labels: tuple[str, ...]) -> None:
        """Note a value of DURATION, the only histogram."""

    def refresh(self) -> None:
        """What ``gauges.py`` says of this process may be another by now: see there."""


listeners: tuple[Listener, ...] = ()
_quiet_until = 0.0


def listen(listener: Listener) -> None:
    """Have it hear of everything from now on; once, however often it is asked for."""
    global listeners
    if listener not in listeners:
        listeners = (*listeners, listener)


def leave(listener: Listener) -> None:
    """Have it hear of nothing more."""
    global listeners
    listeners = tuple(each for each in listeners if each is not listener)


def add(metric: Metric, *labels: str, amount: int = 1) -> None:
    """Count something, such as a login."""
    for each in listeners:
        try:
            each.add(metric, amount, labels)
        except Exception as error:  # noqa: BLE001 - no request fails because it can't be counted
            _note_failure(error)


def operation(store: str, verb: str, outcome: str, seconds: float) -> None:
    """Note that a verb of a store has been called, and what came of it."""
    for each in listeners:
        try:
            each.observe(seconds, (store, verb, outcome))
        except Exception as error:  # noqa: BLE001 - see add()
            _note_failure(error)


def refresh() -> None:
    """What this process knows, or how its stores are, has changed."""
    for each in listeners:
        try:
            each.refresh()
        except Exception as error:  # noqa: BLE001 - see add()
            _note_failure(error)


def _note_failure(error: Exception) -> None:
    """Say once a minute that metrics are missing."""
    global _quiet_until
    if (now := monotonic()) >= _quiet_until:
        _quiet_until = now + QUIET_SECONDS
        kind = type(error).__name__
        lines.say(METRIC_FAILED, f"A metric could not be noted ({kind}).", error=kind, exc_info=error)
