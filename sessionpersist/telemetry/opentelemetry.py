"""Metrics as OpenTelemetry has them: instruments of its API. Without an SDK they lead nowhere and cost little."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation, get_meter

from sessionpersist.stores.transactions import outside
from sessionpersist.telemetry import gauges, node
from sessionpersist.telemetry.recorder import (
    AGE,
    BOUNDS,
    BREAKERS,
    DURATION,
    LEFT,
    LIVE,
    METRICS,
    RATE,
    Kind,
    Metric,
)
from sessionpersist.threads import is_ending

Figures = Callable[[], Mapping[str, float]]


class Instruments:
    """A listener that passes on to OpenTelemetry. See ``recorder.Listener``."""

    def __init__(self, meter: Meter | None = None) -> None:
        """``meter`` makes the instruments; by default that of whichever SDK the project sets up, now or later."""
        meter = meter or get_meter("sessionpersist")
        self._counters = {each: _counter(meter, each) for each in METRICS if each.kind is Kind.COUNTER}
        self._histogram = _histogram(meter, DURATION)
        self._of_histogram: dict[tuple[str, ...], dict[str, str]] = {}
        _observe(meter, AGE, _age)
        _observe(meter, BREAKERS, lambda: _observations(gauges.open_breakers))
        _observe(meter, LIVE, lambda: _of_site(gauges.live_sessions))
        _observe(meter, LEFT, lambda: _of_site(gauges.handover_left))
        _observe(meter, RATE, lambda: _of_site(gauges.handover_rate))

    def add(self, metric: Metric, amount: int, labels: tuple[str, ...]) -> None:
        self._counters[metric].add(amount, _attributes(metric, labels))

    def observe(self, seconds: float, labels: tuple[str, ...]) -> None:
        # The attributes of the only histogram; looked up by hand, as a verb waits for this.
        attributes = self._of_histogram.get(labels)
        if attributes is None:
            attributes = self._of_histogram[labels] = _attributes(DURATION, labels)
        self._histogram.record(seconds, attributes)

    def refresh(self) -> None:
        """Gauges are asked for."""


def _attributes(metric: Metric, labels: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(metric.labels, labels, strict=True))


def _counter(meter: Meter, metric: Metric) -> Counter:
    return meter.create_counter(metric.name, metric.unit, metric.description)


def _histogram(meter: Meter, metric: Metric) -> Histogram:
    return meter.create_histogram(
        metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=BOUNDS
    )


def _observe(meter: Meter, metric: Metric, figures: Callable[[], Iterable[Observation]]) -> None:
    def asked(options: CallbackOptions) -> Iterable[Observation]:
        return figures()

    meter.create_observable_gauge(metric.name, [asked], metric.unit, metric.description)


def _age() -> list[Observation]:
    age = gauges.configuration_age()
    return [] if age is None else [Observation(age)]


def _observations(figures: Figures) -> list[Observation]:
    return [Observation(value, {"store": store}) for store, value in figures().items()]


def _of_site(figures: Figures) -> list[Observation]:
    """Return what is true wherever it is asked, so that one process of a node says it. It is asked in a thread of its
    own: connections of the thread that exports would stay open. As the interpreter ends, when an SDK exports for the
    last time, that may not be possible, and nothing is said."""
    if is_ending() or not node.speaks():
        return []
    return outside(lambda: _observations(figures))
