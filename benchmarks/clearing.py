"""``clearsessions`` over many expired sessions while others write: what those wait, and what is locked how long."""

from __future__ import annotations

import itertools
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.filling import fill, readable_keys
from benchmarks.goals import LOCK_MS
from benchmarks.places import folder, jdbc, ours
from benchmarks.surroundings import database, set_up
from tests.servers import MariaDB, Postgres, Server

WRITERS = 4
LIVE = 20_000  # sessions that must not be touched
CALM_SECONDS = 3.0  # during which the writers have the server for themselves
FULL_EXPIRED, QUICK_EXPIRED = 500_000, 20_000
SERVERS: dict[str, type[Server]] = {"PostgreSQL": Postgres, "MariaDB": MariaDB}

Row = dict[str, Any]


def clear(name: str, expired: int) -> Row:
    """Measure on one server; to be called in a process of its own."""
    print(f"  {name:<10} clearsessions, {expired:,} expired", file=sys.stderr, flush=True)
    with folder() as here, SERVERS[name]() as server:
        patient = {"TIMEOUT_SECONDS": 30}  # for filling: a write of 500 rows may meet a checkpoint
        set_up(here, DATABASES={"default": database(server.url)}, SESSIONPERSIST=patient)
        with ours(jdbc("default")):
            store = _fill(expired)
            with writing(here) as results:
                time.sleep(CALM_SECONDS)
                (here / "clearing.begun").touch()
                cleared, statements = _clear()
            calm, meanwhile = _waits(results)
            row = {
                "server": name,
                "expired": expired,
                "live": LIVE,
                "live_left": store.count(),
                "goal": LOCK_MS,
            }
            return {**row, **cleared, "calm": calm, "meanwhile": meanwhile, "plan": _plan(statements)}


def _fill(expired: int) -> Any:
    from sessionpersist.handover import routing

    store = routing.current_view().current.store
    fill(store, LIVE)
    fill(store, expired, expired=True, first=LIVE)
    return store


def _clear() -> tuple[Row, dict[str, Any]]:
    """Run the command, and time each statement: it holds its locks no longer than it runs, in autocommit.

    Returns the times, and the parameters of one statement of each kind.
    """
    from django.core.management import call_command
    from django.db import connection

    times: list[float] = []
    statements: dict[str, Any] = {}

    def timed(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        begun = time.perf_counter()
        try:
            return execute(sql, parameters, many, context)
        finally:
            if sql.lstrip().startswith(("DELETE", "SELECT")) and "storedsession" in sql:
                times.append((time.perf_counter() - begun) * 1000)
                statements.setdefault(sql, parameters)

    begun = time.perf_counter()
    with connection.execute_wrapper(timed):
        call_command("clearsessions")
    row = {
        "seconds": round(time.perf_counter() - begun, 2),
        "statements": len(times),
        "statement_median_ms": round(median(times), 2),
        "statement_longest_ms": round(max(times), 2),
    }
    return row, statements


def _plan(statements: dict[str, Any]) -> dict[str, Any]:
    """How the server finds what it deletes; with as many expired rows there as are in most of the statements."""
    from django.db import connection

    from sessionpersist.handover import routing

    fill(routing.current_view().current.store, 2 * LIVE, expired=True, first=10 * LIVE)
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("ANALYZE TABLE sessionpersist_storedsession")
            cursor.fetchall()
        else:
            cursor.execute("ANALYZE sessionpersist_storedsession")
        lines = []
        for sql in list(statements)[:2]:  # what finds, and what deletes, where those are two
            cursor.execute(f"EXPLAIN {sql}", statements[sql])
            lines += [" ".join(str(each) for each in row) for row in cursor.fetchall()]
    scan = any("Seq Scan on sessionpersist" in line or " ALL " in line for line in lines)
    return {"lines": lines, "full_scan": scan}


@contextmanager
def writing(here: Path) -> Iterator[list[Future[Any]]]:
    """Writers in processes of their own, until the block ends; each result is its waits, before and after."""
    keys = readable_keys(LIVE)
    with ProcessPoolExecutor(WRITERS, multiprocessing.get_context("spawn")) as pool:
        results = [pool.submit(write, str(here), number, keys[number::WRITERS]) for number in range(WRITERS)]
        while len(list(here.glob("*.ready"))) < WRITERS and not any(each.done() for each in results):
            time.sleep(0.05)
        yield results
        (here / "clearing.over").touch()


def write(here: str, number: int, keys: list[str]) -> tuple[list[float], list[float]]:
    """Change live sessions one after the other; return how long each save took, in milliseconds."""
    import django

    django.setup()
    from sessionpersist.engine import SessionStore

    begun, over = (Path(here) / f"clearing.{name}" for name in ("begun", "over"))
    calm: list[float] = []
    meanwhile: list[float] = []
    with ours(jdbc("default")):
        (Path(here) / f"{number}.ready").touch()
        for key, visits in zip(itertools.cycle(keys), itertools.count()):
            session = SessionStore(key)
            session["visits"] = visits
            clearing, start = begun.exists(), time.perf_counter()
            session.save()
            (meanwhile if clearing else calm).append((time.perf_counter() - start) * 1000)
            if over.exists():
                return calm, meanwhile
    raise AssertionError("unreachable")


def _waits(results: list[Future[Any]]) -> list[dict[str, float]]:
    """Median, 99th percentile and worst of all writers' saves: without and with the command."""
    both = zip(*(each.result() for each in results), strict=True)
    return [_spread(sorted(time for each in waits for time in each)) for waits in both]


def _spread(times: list[float]) -> dict[str, float]:
    return {
        "saves": len(times),
        "median_ms": round(median(times), 2),
        "p99_ms": round(times[int(len(times) * 0.99)], 2),
        "worst_ms": round(times[-1], 2),
    }
