"""``drain_sessions`` from Valkey to PostgreSQL: how many sessions a second, and in how much memory.

The command runs as staff run it, in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.filling import fill
from benchmarks.goals import DRAIN_PER_SECOND, DRAIN_SPREAD
from benchmarks.places import folder, jdbc
from benchmarks.surroundings import database, set_up
from tests.load.stores import fields
from tests.servers import Postgres, Valkey

ROOT = Path(__file__).resolve().parents[1]
FULL_COUNTS, QUICK_COUNTS = (10_000, 100_000), (2_000, 10_000)

Row = dict[str, Any]


def drain(counts: tuple[int, int]) -> list[Row]:
    """Drain few sessions, then many: the memory must not grow with them. To be called in a process of its own."""
    with folder() as here, Valkey() as valkey, Postgres() as postgres:
        at_once = {"ACTIVATION_SECONDS": 0, "GUARD_SECONDS": 0.05, "TIMEOUT_SECONDS": 30}
        set_up(here, DATABASES={"default": database(postgres.url)}, SESSIONPERSIST=at_once)
        _manage("migrate", "--no-input", "--verbosity", "0")
        return [_drain(fields(valkey), count) for count in counts]


def _drain(valkey: dict[str, Any], count: int) -> Row:
    """Begin in Valkey with nothing to drain, switch to PostgreSQL, and drain."""
    print(f"  drain of {count:,} sessions", file=sys.stderr, flush=True)
    _choose(valkey)
    _manage("drain_sessions", "--abandon", "--no-input")
    _fill(count)
    _choose(jdbc("default"))
    row = {"sessions": count, **_timed(count)}
    return {**row, "goal": DRAIN_PER_SECOND, "goal_mib": DRAIN_SPREAD}


def _choose(chosen: dict[str, Any]) -> None:
    from sessionpersist.models import LoginConfiguration

    configuration = LoginConfiguration.get_solo()
    for name, value in chosen.items():
        setattr(configuration, name, value)
    configuration.save(saved_by="benchmark")
    time.sleep(0.2)  # beyond the guard time


def _fill(count: int) -> None:
    """Under other keys each time: what an earlier drain brought to PostgreSQL is still there."""
    from sessionpersist.handover import routing, snapshot

    snapshot.expire()
    view = routing.current_view()
    fill(view.current.store, count, first=10 * count, revision=view.number)


def _timed(count: int) -> Row:
    """Run the command; time it from its first line, which it prints when it has counted, to its end."""
    command = [sys.executable, "manage.py", "drain_sessions"]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        begun = time.perf_counter()
        text = first + process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    ended = time.perf_counter()
    if process.returncode or f"{count:,} sessions moved" not in text:
        raise RuntimeError(f"The drain did not do what it should: {text}")
    return {
        "seconds": round(ended - begun, 2),
        "seconds_with_start": round(ended - started, 2),
        "per_second": round(count / (ended - begun)),
        "peak_mib": round(usage.ru_maxrss / 1024, 1),
    }


def _manage(*arguments: str) -> None:
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, check=True, capture_output=True)
