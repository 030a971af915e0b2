"""The parts of a run. Each measurement is made in a process of its own: Django can be set up only once in each."""

from __future__ import annotations

import multiprocessing
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

from benchmarks import clearing, comparison, dispatch, draining, pages, primary, scale, tables
from benchmarks.contents import SIZES
from benchmarks.goals import DELAYS, GOAL_SIZE
from benchmarks.timing import FULL, QUICK, Effort

STORES = ("REDIS", "POSTGRESQL", "SQLITE", "MONGODB", "IN_MEMORY")
ACROSS = ("REDIS", "POSTGRESQL", "MONGODB")  # those that a network is in front of

Rows = list[dict[str, Any]]


class Part(NamedTuple):
    """One part: how it is measured, and how its figures are shown."""

    run: Callable[[Namespace], Rows]
    show: Callable[[Rows], str]


def operations_part(options: Namespace) -> Rows:
    sizes = options.size or ([GOAL_SIZE] if options.quick else SIZES)
    rows: Rows = []
    for store in options.store or STORES:
        trips = apart(comparison.count_trips, store)
        measured = apart(comparison.compare, store, sizes, effort(options))
        rows += [row | {"trips": trips.get(row["operation"], {})} for row in measured]
    return rows


def dispatch_part(options: Namespace) -> Rows:
    rows: Rows = apart(dispatch.measure, effort(options))
    return rows


def scale_part(options: Namespace) -> Rows:
    counts = scale.QUICK_COUNTS if options.quick else scale.FULL_COUNTS
    return [
        row for store in options.store or STORES for row in apart(scale.scale, store, counts, effort(options))
    ]


def clearing_part(options: Namespace) -> Rows:
    expired = clearing.QUICK_EXPIRED if options.quick else clearing.FULL_EXPIRED
    available = [name for name, server in clearing.SERVERS.items() if not server.available()]
    return [apart(clearing.clear, name, expired) for name in available]


def draining_part(options: Namespace) -> Rows:
    rows: Rows = apart(draining.drain, draining.QUICK_COUNTS if options.quick else draining.FULL_COUNTS)
    return rows


def primary_part(options: Namespace) -> Rows:
    rows: Rows = apart(primary.measure, primary.QUICK_COUNTS if options.quick else primary.FULL_COUNTS)
    return rows


def network_part(options: Namespace) -> Rows:
    """Stores that are a network away: the operations, and whole pages."""
    stores = [each for each in options.store or STORES if each in ACROSS]
    rows: Rows = []
    for delay in DELAYS:
        for store in stores:
            rows += apart(comparison.across, store, delay, effort(options))
            page = apart(pages.serve, store, quick=options.quick, delay=delay)
            rows.append(page | {"operation": "page", "delay_ms": delay * 1000})
    return rows


def requests_part(options: Namespace) -> Rows:
    stores = options.store or (STORES[:1] if options.quick else STORES)
    return [apart(pages.serve, store, quick=options.quick) for store in stores]


PARTS = {
    "operations": Part(operations_part, tables.operations),
    "dispatch": Part(dispatch_part, tables.dispatch),
    "requests": Part(requests_part, tables.requests),
    "network": Part(network_part, tables.network),
    "scale": Part(scale_part, tables.scale),
    "clearing": Part(clearing_part, tables.clearing),
    "draining": Part(draining_part, tables.draining),
    "primary": Part(primary_part, tables.primary),
}

QUICK_PARTS = ("operations", "dispatch", "requests")  # what a quick run has time for, unless others are named


def effort(options: Namespace) -> Effort:
    """Return how much is to be measured."""
    return QUICK if options.quick else FULL


def apart(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **options).result()
