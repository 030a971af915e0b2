"""The operations at one place, ours and the rivals' in turns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.goals import goal
from benchmarks.operations import OPERATIONS
from benchmarks.places import BARE, OURS, PLACES, Place
from benchmarks.timing import Case, Effort, in_turns, ratio, summary

Row = dict[str, Any]


def compare(name: str, sizes: Sequence[int], effort: Effort) -> list[Row]:
    """Measure all operations at one place; to be called in a process of its own."""
    with PLACES[name]() as place:
        return [row(name, place, operation, size, effort) for size in sizes for operation in OPERATIONS]


def row(name: str, place: Place, operation: str, size: int, effort: Effort) -> Row:
    """Measure one operation with sessions of one size (bytes of JSON)."""
    print(f"  {name:<10} {operation:<7} {size:>6} bytes", file=sys.stderr, flush=True)
    samples = in_turns(cases(place, operation, size), effort)
    rivals = [side for side in samples if side != OURS]
    return {
        "place": name,
        "server": place.server,
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
    sides = {side: OPERATIONS[operation](engine, size) for side, engine in place.engines.items()}
    limit = place.bare(size).cases().get(operation)
    return sides | ({BARE: limit} if limit else {})
