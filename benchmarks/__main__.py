"""The command line: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.contents import SIZES
from benchmarks.goals import GOAL_SIZE
from benchmarks.machine import machine, versions
from benchmarks.timing import FULL, QUICK

PARTS = ("operations", "dispatch", "scale")
STORES = ("REDIS", "POSTGRESQL", "SQLITE", "MONGODB", "IN_MEMORY")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for, print tables, and write JSON."""
    options = parser().parse_args(arguments)
    report: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "mode": "quick" if options.quick else "full",
        "machine": machine(),
        "versions": versions(),
    }
    print(tables.heading(report))
    for part in options.parts or PARTS:
        report[part] = RUN[part](options)
        print(SHOW[part](report[part]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser("python -m benchmarks", description="Speed, measured side by side.")
    made.add_argument("parts", nargs="*", metavar="part", help=f"which of {', '.join(PARTS)}; all by default")
    made.add_argument("--quick", action="store_true", help="less of everything: under a minute")
    made.add_argument("--store", action="append", choices=STORES, help="one store only; may be repeated")
    made.add_argument("--size", action="append", type=int, help="bytes of a session; may be repeated")
    made.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")
    return made


def operations(options: argparse.Namespace) -> list[dict[str, Any]]:
    from benchmarks.comparison import compare, count_trips

    sizes = options.size or ([GOAL_SIZE] if options.quick else SIZES)
    effort = QUICK if options.quick else FULL
    stores = options.store or STORES
    rows: list[dict[str, Any]] = []
    for store in stores:
        trips = apart(count_trips, store)
        measured = apart(compare, store, sizes, effort)
        rows += [row | {"trips": trips.get(row["operation"], {})} for row in measured]
    return rows


def dispatch(options: argparse.Namespace) -> list[dict[str, Any]]:
    from benchmarks.dispatch import measure

    rows: list[dict[str, Any]] = apart(measure, QUICK if options.quick else FULL)
    return rows


def scale(options: argparse.Namespace) -> list[dict[str, Any]]:
    from benchmarks.scale import FULL_COUNTS, QUICK_COUNTS
    from benchmarks.scale import scale as measure

    counts, effort = (QUICK_COUNTS, QUICK) if options.quick else (FULL_COUNTS, FULL)
    return [row for store in options.store or STORES for row in apart(measure, store, counts, effort)]


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own: Django can be set up only once in each."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


RUN: dict[str, Callable[[argparse.Namespace], Any]] = {
    "operations": operations,
    "dispatch": dispatch,
    "scale": scale,
}
SHOW: dict[str, Callable[[Any], str]] = {
    "operations": tables.operations,
    "dispatch": tables.dispatch,
    "scale": tables.scale,
}

if __name__ == "__main__":
    main()
