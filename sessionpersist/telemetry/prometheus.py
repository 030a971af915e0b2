"""Metrics as Prometheus has them, right under several worker processes where PROMETHEUS_MULTIPROC_DIR is set.

Each process then writes what it counts to a file of its own in that folder, and whichever is asked adds up. Gauges of a
process that has ended do not count. Figures of the site (sessions that are live, or left in a store used before) are
asked for by the process that is asked, once, and are in no file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from sessionpersist.telemetry import gauges
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

PREFIX = "sessionpersist_"
READ = "sessionpersist_configuration_read"  # when a process has read it, in Unix time: told as an age


class Instruments:
    """A listener that counts for Prometheus. See ``recorder.Listener``."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self._counters = {each: _made(Counter, each, own) for each in METRICS if each.kind is Kind.COUNTER}
        self._histogram = _made(Histogram, DURATION, own, buckets=BOUNDS)
        self._of_histogram: dict[tuple[str, ...], Any] = {}
        self._breakers = _made(Gauge, BREAKERS, own, multiprocess_mode="livesum")
        self._kinds = set[str]()  # of the stores that this process has told of
        # Each process by itself: one that has not read it yet has a 0 in its file, which would be the lowest.
        self._read = Gauge(READ, AGE.description, registry=own, multiprocess_mode="liveall")

    def add(self, metric: Metric, amount: int, labels: tuple[str, ...]) -> None:
        counter = self._counters[metric]
        (counter.labels(*labels) if labels else counter).inc(amount)

    def observe(self, seconds: float, labels: tuple[str, ...]) -> None:
        child = self._of_histogram.get(labels)  # looked up by hand, as a verb waits for this
        if child is None:
            child = self._of_histogram[labels] = self._histogram.labels(*labels)
        child.observe(seconds)

    def refresh(self) -> None:
        age = gauges.configuration_age()
        if age is not None:
            self._read.set(time.time() - age)
        open_breakers = gauges.open_breakers()
        self._kinds.update(open_breakers)
        for store in tuple(self._kinds):  # a store that is out of use has none
            self._breakers.labels(store).set(open_breakers.get(store, 0))


class Collector:
    """What Prometheus is told: what all processes of this node have counted, and the figures of the site."""

    def __init__(self, instruments: Instruments) -> None:
        self.instruments = instruments

    def collect(self) -> Iterator[Family]:
        self.instruments.refresh()
        for each in self._counted():
            if each.name == READ:
                yield from _age(each)
            elif each.name.startswith(PREFIX):
                yield each
        yield _family(LIVE, gauges.live_sessions())
        yield _family(LEFT, gauges.handover_left())
        yield _family(RATE, gauges.handover_rate())

    def _counted(self) -> Iterator[Family]:
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            yield from self.instruments.registry.collect()
            return
        forget_ended(Path(folder))
        yield from MultiProcessCollector(None, folder).collect()  # type: ignore[no-untyped-call]


def forget_ended(folder: Path) -> None:
    """Have gauges of processes that are gone count no more, though nobody has said so (``child_exit`` of gunicorn)."""
    pids = {path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*.db")}
    for pid in filter(str.isdecimal, pids):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another process was faster
                mark_process_dead(int(pid), str(folder))  # type: ignore[no-untyped-call]
        except PermissionError:
            pass  # it is there, and another user's


def _made(kind: type[Any], metric: Metric, registry: CollectorRegistry, **options: Any) -> Any:
    return kind(metric.prometheus_name, metric.description, metric.labels, registry=registry, **options)


def _family(metric: Metric, figures: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.prometheus_name, metric.description, labels=metric.labels)
    for store, figure in figures.items():
        family.add_metric([store], figure)
    return family


def _age(read: Family) -> Iterator[GaugeMetricFamily]:
    """Return the age of the oldest configuration that a process goes by; nothing where none has read it."""
    if values := [each.value for each in read.samples if each.value]:
        age = max(0.0, time.time() - min(values))
        yield GaugeMetricFamily(AGE.prometheus_name, AGE.description, value=age)
