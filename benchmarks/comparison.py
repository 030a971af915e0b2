"""The operations at one place, ours and the rivals' in turns."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.goals import GOAL_SIZE, UNLISTED, goal, goal_across
from benchmarks.operations import OPERATIONS
from benchmarks.places import BARE, OURS, PLACES, Place
from benchmarks.relay import Relay
from benchmarks.timing import Case, Effort, in_turns, ratio, summary

Row = dict[str, Any]
MEASURED = (*OPERATIONS, UNLISTED)
WARM_UP = 6  # runs until connections, scripts and prepared statements are there


def compare(name: str, sizes: Sequence[int], effort: Effort) -> list[Row]:
    """Measure all operations at one place; to be called in a process of its own."""
    with PLACES[name]() as place:
        return [row(name, place, operation, size, effort) for size in sizes for operation in MEASURED]


def across(name: str, delay: float, effort: Effort) -> list[Row]:
    """Measure all operations at one place that is ``delay`` seconds away, there and back; as ``compare``."""
    with PLACES[name](delay=delay) as place:
        rows = [row(name, place, operation, GOAL_SIZE, effort) for operation in MEASURED]
    for each in rows:
        each["delay_ms"] = delay * 1000
        for side, found in each["ratios"].items():
            found["goal"] = goal_across(name, each["operation"], side, delay)
    return rows


def count_trips(name: str) -> dict[str, dict[str, int]]:
    """Return how many round trips each operation takes at one place, by operation and side; as ``compare``."""
    with PLACES[name](delay=0.0) as place:
        if place.relay is None:
            return {}
        return {operation: _trips(place, operation, place.relay) for operation in MEASURED}


def _trips(place: Place, operation: str, relay: Relay) -> dict[str, int]:
    with listing(operation):
        return {side: trips_of(case, relay) for side, case in cases(place, operation, GOAL_SIZE).items()}


def trips_of(case: Case, relay: Relay) -> int:
    """Return the round trips of a case once everything is warm; the most of a few times."""
    counted = []
    for _ in range(WARM_UP + 3):
        prepared, before = case.prepare(), relay.trips
        case.run(prepared)
        counted.append(relay.trips - before)
    return max(counted[WARM_UP:])


def row(name: str, place: Place, operation: str, size: int, effort: Effort) -> Row:
    """Measure one operation with sessions of one size (bytes of JSON)."""
    print(f"  {name:<10} {operation:<7} {size:>6} bytes", file=sys.stderr, flush=True)
    with listing(operation):
        samples = in_turns(cases(place, operation, size), effort)
    rivals = [side for side in samples if side != OURS]
    return {
        "place": name,
        "server": place.server,
        "note": place.note,
        "operation": operation,
        "bytes": size,
        "sides": {side: summary(times) for side, times in samples.items()},
        "ratios": {
            side: {**ratio(samples[OURS], samples[side]), "goal": goal(name, operation, side, size)}
            for side in rivals
        },
    }


def cases(place: Place, operation: str, size: int) -> dict[str, Case]:
    """Return the sides of one comparison by their names."""
    work = OPERATIONS["login" if operation == UNLISTED else operation]
    sides = {side: work(engine, size) for side, engine in place.engines.items()}
    limit = place.bare(size).cases().get(operation)
    return sides | ({BARE: limit} if limit else {})


@contextmanager
def listing(operation: str) -> Iterator[None]:
    """List the sessions of each user meanwhile, which is our default and nothing that the rivals do; or don't."""
    from django.conf import settings

    before = settings.SESSIONPERSIST
    settings.SESSIONPERSIST = {**before, "ROSTER": operation != UNLISTED}
    try:
        yield
    finally:
        settings.SESSIONPERSIST = before
