"""Async pages under uvicorn, one worker: with our engine, with Django's, and with no session at all.

The session middleware is the only one, and the views ask for a session and for nothing else, so that what is compared
is what sessions cost under ASGI.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Self

from benchmarks.goals import goal_of_async_pages
from benchmarks.load import Served, load
from benchmarks.pages import SETTINGS, Row, Setting, postgresql, prepared, summary
from benchmarks.timing import Effort
from tests.load.clients import COOKIE, Browser
from tests.load.site import AsgiNode, Node

CONNECTIONS = 64
WITHOUT = "no sessions"
PAGES = ("read", "save")
WARM_UP = 0.3  # seconds
LOOKS = 0.01  # seconds between two looks at how many threads there are
LEAN: dict[str, Any] = {
    "MIDDLEWARE": ["sessionpersist.middleware.SessionMiddleware"],
    "ROOT_URLCONF": "benchmarks.views",
    "SILENCED_SYSTEM_CHECKS": ["admin.E408", "admin.E409"],  # which want more middleware
}
POOL = {"min_size": 32, "max_size": 32}  # connections to PostgreSQL


class AsyncNode(AsgiNode):
    application = "benchmarks.views:application"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid


@contextmanager
def pooled(here: Path, delay: float | None = None) -> Iterator[Setting]:
    """PostgreSQL with Django's pool, as Django advises under ASGI: each request has a thread of its own, and else a
    connection of its own, too."""
    with postgresql(here, delay) as setting:
        setting.databases["default"] |= {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": POOL}}
        yield setting


@dataclass
class Used:
    """What a server used while a page of it was asked for: the most threads that it had at a time, and, for a page, µs
    of a processor."""

    threads: int = 0
    cpu_us: list[float] = field(default_factory=list)

    def note(self, watch: Watch, pages: float) -> None:
        self.threads = max(self.threads, watch.threads)
        self.cpu_us.append(watch.cpu_seconds * 1_000_000 / pages)


def serve(name: str, effort: Effort) -> list[Row]:
    """Measure one store; all sites run, and are loaded in turns."""
    print(f"  {name:<10} pages under uvicorn", file=sys.stderr, flush=True)
    made = pooled if name == "POSTGRESQL" else SETTINGS[name]
    others: dict[str, dict[str, Any]] = {WITHOUT: {"MIDDLEWARE": []}}
    with prepared(name, made, others=others, **LEAN) as (_, sites), ExitStack() as stack:
        nodes = {
            each: stack.enter_context(AsyncNode(of, f"node-{number}"))
            for number, (each, of) in enumerate(sites.items())
        }
        cookies = {
            each: [""] * CONNECTIONS if each == WITHOUT else begun(node) for each, node in nodes.items()
        }
        found = {page: in_turns(page, nodes, cookies, effort) for page in PAGES}
    return [row(name, page, *each) for page, each in found.items()]


def in_turns(
    page: str, nodes: dict[str, AsyncNode], cookies: dict[str, list[str]], effort: Effort
) -> tuple[dict[str, list[Served]], dict[str, Used]]:
    """Load the nodes in turns, each after a warm-up that does not count."""
    served: dict[str, list[Served]] = {name: [] for name in nodes}
    used = {name: Used() for name in nodes}
    for number in range(-1, effort.loads):
        for name, node in nodes.items():
            url = f"{node.url}/{'static-page' if name == WITHOUT else page}/"
            if number < 0:
                load(url, cookies[name], WARM_UP)
                continue
            with Watch(node.pid) as watch:
                result = load(url, cookies[name], effort.seconds)
            served[name].append(result)
            used[name].note(watch, result.per_second * effort.seconds)
    return served, used


def row(name: str, page: str, served: dict[str, list[Served]], used: dict[str, Used]) -> Row:
    """Return what is said of one page."""
    found = summary(served, partial(goal_of_async_pages, name))
    for side, each in used.items():
        found["sides"][side] |= {"threads": each.threads, "cpu_us": round(median(each.cpu_us))}
    return {"place": name, "page": page, **found}


def begun(node: Node) -> list[str]:
    """Begin a session for each connection, and return their cookies."""
    browsers = [Browser([node.url]) for _ in range(CONNECTIONS)]
    for each in browsers:
        assert each.get("/begin/").status == 200
    return [f"{COOKIE}={each.cookie}" for each in browsers]


class Watch:
    """What a process uses while the block runs: ``threads`` at most, and ``cpu_seconds`` of all of them."""

    def __init__(self, pid: int) -> None:
        self.threads = 0
        self.cpu_seconds = 0.0
        self._folder = Path(f"/proc/{pid}")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self.cpu_seconds = -self._cpu_seconds()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        self.cpu_seconds += self._cpu_seconds()

    def _look(self) -> None:
        while not self._over.wait(LOOKS):
            self.threads = max(self.threads, len(list((self._folder / "task").iterdir())))

    def _cpu_seconds(self) -> float:
        _, _, fields = (self._folder / "stat").read_text().rpartition(")")
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
