"""The parts of a run. Each measurement is made in a process of its own: Django can be set up only once in each."""

from __future__ import annotations

import multiprocessing
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks import asgi, clearing, comparison, dispatch, draining, pages, primary, scale
from benchmarks.contents import SIZES
from benchmarks.goals import DELAYS, GOAL_SIZE, LARGE
from benchmarks.timing import FULL, QUICK, SHORT, Effort

STORES = ("REDIS", "POSTGRESQL", "SQLITE", "MONGODB", "IN_MEMORY")
ASYNC = (
    "REDIS",
    "POSTGRESQL",
    "MONGODB",
    "IN_MEMORY",
)  # SQLite is no database for a site of many connections
ACROSS = ("REDIS", "POSTGRESQL", "MONGODB")  # those that a network is in front of

Rows = list[dict[str, Any]]


def operations_part(options: Namespace) -> Rows:
    rows: Rows = []
    for store in options.store or STORES:
        trips = apart(comparison.count_trips, store)
        measured = apart(comparison.compare, store, sizes(options, store), effort(options))
        rows += [row | {"trips": trips.get(row["operation"], {})} for row in measured]
    return rows


def sizes(options: Namespace, store: str) -> Sequence[int]:
    """Return the bytes of the sessions that are measured on a store."""
    if options.size or options.quick:
        return options.size or [GOAL_SIZE]
    if options.docs:
        return [GOAL_SIZE, LARGE] if store == "REDIS" else [GOAL_SIZE]
    return SIZES


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
            rows += apart(comparison.across, store, delay, effort_across(options))
            page = apart(pages.serve, store, effort_across(options), delay=delay)
            rows.append(page | {"operation": "page", "delay_ms": delay * 1000})
    return rows


def requests_part(options: Namespace) -> Rows:
    stores = options.store or (STORES[:1] if options.quick else STORES)
    return [apart(pages.serve, store, effort(options)) for store in stores]


def asgi_part(options: Namespace) -> Rows:
    usual = ASYNC[:1] if options.quick else ASYNC
    stores = [each for each in options.store or usual if each in ASYNC]
    return [row for store in stores for row in apart(asgi.serve, store, effort(options))]


PARTS: dict[str, Callable[[Namespace], Rows]] = {
    "operations": operations_part,
    "requests": requests_part,
    "asgi": asgi_part,
    "network": network_part,
    "dispatch": dispatch_part,
    "scale": scale_part,
    "draining": draining_part,
    "clearing": clearing_part,
    "primary": primary_part,
}
QUICK_PARTS = (
    "operations",
    "dispatch",
    "requests",
    "asgi",
)  # what a quick run has time for, unless others are named
DOCS_PARTS = ("operations", "requests", "asgi", "network", "dispatch", "draining", "clearing")


def effort(options: Namespace) -> Effort:
    """Return how much is to be measured."""
    return QUICK if options.quick else SHORT if options.docs else FULL


def effort_across(options: Namespace) -> Effort:
    """Return the same for stores that are a network away, which take longer and vary less."""
    return QUICK if options.docs else effort(options)


def apart(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **options).result()
