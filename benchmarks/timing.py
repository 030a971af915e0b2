"""Timing in turns: every side does the same work in every round, so noise of the machine meets all of them alike."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter_ns
from typing import Any

Samples = list[list[int]]  # nanoseconds: a list a round


@dataclass(frozen=True)
class Case:
    """One thing to be timed: ``prepare`` is not timed, and what it returns is given to ``run``, which is."""

    prepare: Callable[[], Any]
    run: Callable[[Any], Any]


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    repeats: int  # of each side in each round
    warm_up: int = 2  # rounds that don't count
    loads: int = 7  # rounds of whole pages
    seconds: int = 3  # of each side in each of them


FULL = Effort(rounds=60, repeats=15)
SHORT = Effort(rounds=16, repeats=12, loads=3, seconds=1)
QUICK = Effort(rounds=8, repeats=5, warm_up=1, loads=2, seconds=1)


def in_turns(cases: Mapping[str, Case], effort: Effort) -> dict[str, Samples]:
    """Time all cases, in another order each round."""
    samples: dict[str, Samples] = {name: [] for name in cases}
    order = list(cases)
    with collector_off():
        for number in range(-effort.warm_up, effort.rounds):
            random.shuffle(order)
            for name in order:
                times = _times(cases[name], effort.repeats)
                if number >= 0:
                    samples[name].append(times)
    return samples


def _times(case: Case, repeats: int) -> list[int]:
    """Time one side's part of a round; its rubbish is collected before the next side's turn."""
    times = []
    for _ in range(repeats):
        prepared = case.prepare()
        begun = perf_counter_ns()
        case.run(prepared)
        times.append(perf_counter_ns() - begun)
    gc.collect()
    return times


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage collection in the middle of a measurement; what is loaded is not looked at by those in between."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def summary(samples: Samples) -> dict[str, float]:
    """Return median and 99th percentile in microseconds, and how many times were taken."""
    times = sorted(time for each in samples for time in each)
    return {
        "median_us": round(median(times) / 1000, 2),
        "p99_us": round(times[min(len(times) - 1, int(len(times) * 0.99))] / 1000, 2),
        "samples": len(times),
    }


def ratio(ours: Samples, theirs: Samples) -> dict[str, float]:
    """Return the median of the rounds' ratios with its quartiles; a round's ratio is that of its medians."""
    ratios = [median(mine) / median(other) for mine, other in zip(ours, theirs, strict=True)]
    first, middle, third = quantiles(ratios, n=4) if len(ratios) > 1 else (ratios * 3)
    return {"median": round(middle, 3), "q1": round(first, 3), "q3": round(third, 3)}
