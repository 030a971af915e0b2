"""Whole requests: a page for a logged-in user from the site under gunicorn, with our engine and with Django's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from types import MappingProxyType
from typing import Any

from benchmarks.goals import goal_of_pages
from benchmarks.load import Served, load
from benchmarks.places import DJANGO_REDIS, LOCMEM, OURS, TMPFS, folder, jdbc, mongodb_backend, reached
from benchmarks.surroundings import LONG, cache, database, environment
from benchmarks.timing import Effort
from tests.load.clients import COOKIE, Browser
from tests.load.site import Node, Site
from tests.load.stores import fields
from tests.servers import MongoDB, Postgres, Valkey

CONNECTIONS = 8
PAGE = "/whoami/"  # asks for the session and for the user, which is one query to the site's database on both sides
DB_ENGINE, CACHE_ENGINE, FILE_ENGINE = (
    f"django.contrib.sessions.backends.{name}" for name in ("db", "cache", "file")
)
ROUTER = "benchmarks.settings.SessionsInMongoDB"
MAKE_TABLE = """
from django.contrib.sessions.models import Session
from django.db import connections
with connections["mongodb"].schema_editor() as editor:
    editor.create_model(Session)
connections["mongodb"].database["django_session"].create_index("session_key", name="by_key")
"""

Row = dict[str, Any]


@dataclass
class Setting:
    """One comparison: what to choose in the Login Configuration, and the settings of sites with engines of Django's."""

    fields: dict[str, Any]
    rivals: dict[str, dict[str, Any]]
    databases: dict[str, Any] = field(default_factory=dict)
    workers: int = 2
    prepare: str = ""


@contextmanager
def memory(here: Path, delay: float | None = None) -> Iterator[Setting]:
    """One worker each: what is in LocMem is in no other worker."""
    locmem = {"SESSION_ENGINE": CACHE_ENGINE, "CACHES": {"default": cache(LOCMEM, MAX_ENTRIES=LONG)}}
    files = {"SESSION_ENGINE": FILE_ENGINE, "SESSION_FILE_PATH": str(here)}
    rivals: dict[str, dict[str, Any]] = {"LocMem": locmem, "file engine": files}
    yield Setting({"persistence_type": "IN_MEMORY"}, rivals, workers=1)


@contextmanager
def redis(here: Path, delay: float | None = None) -> Iterator[Setting]:
    with reached(Valkey(), delay) as (server, _):
        caches = {"default": cache(DJANGO_REDIS, server.url)}
        rivals = {"django-redis": {"SESSION_ENGINE": CACHE_ENGINE, "CACHES": caches}}
        yield Setting(fields(server), rivals)


@contextmanager
def postgresql(here: Path, delay: float | None = None) -> Iterator[Setting]:
    """The users are in PostgreSQL, too."""
    with reached(Postgres(), delay) as (server, _):
        databases = {"default": database(server.url)}
        yield Setting(jdbc("default"), {"db engine": {"SESSION_ENGINE": DB_ENGINE}}, databases)


@contextmanager
def sqlite(here: Path, delay: float | None = None) -> Iterator[Setting]:
    yield Setting(jdbc("default"), {"db engine": {"SESSION_ENGINE": DB_ENGINE}})


@contextmanager
def mongodb(here: Path, delay: float | None = None) -> Iterator[Setting]:
    """The rival's sessions are in MongoDB, by a router; the users of both are in SQLite."""
    with reached(MongoDB(), delay) as (server, _):
        databases = {
            "default": database(f"sqlite:///{here}/site.sqlite3"),
            "mongodb": mongodb_backend(server),
        }
        rival = {"SESSION_ENGINE": DB_ENGINE, "DATABASES": databases, "DATABASE_ROUTERS": [ROUTER]}
        yield Setting(fields(server), {"db engine (MongoDB)": rival}, prepare=MAKE_TABLE)


SETTINGS: dict[str, Callable[[Path, float | None], AbstractContextManager[Setting]]] = {
    "REDIS": redis,
    "POSTGRESQL": postgresql,
    "SQLITE": sqlite,
    "MONGODB": mongodb,
    "IN_MEMORY": memory,
}


def serve(name: str, effort: Effort, *, delay: float | None = None) -> Row:
    """Measure one store, which is ``delay`` seconds away: all sites run, and are loaded in turns."""
    print(f"  {name:<10} pages under gunicorn", file=sys.stderr, flush=True)
    with prepared(name, SETTINGS[name], delay) as (setting, sites), ExitStack() as nodes:
        running = {
            each: nodes.enter_context(Node(of, f"node-{number}", setting.workers))
            for number, (each, of) in enumerate(sites.items())
        }
        served = in_turns(running, effort)
    return {"place": name, "workers": setting.workers, **summary(served, partial(goal_of_pages, name))}


@contextmanager
def prepared(
    name: str,
    made: Callable[[Path, float | None], AbstractContextManager[Setting]],
    delay: float | None = None,
    others: Mapping[str, dict[str, Any]] = MappingProxyType({}),
    **common: Any,
) -> Iterator[tuple[Setting, dict[str, Site]]]:
    """The sites of one comparison, on stores that run meanwhile: ours, the rivals', and the ``others``. ``common`` are
    settings of all of them."""
    with folder(TMPFS if name == "IN_MEMORY" else None) as here, made(here, delay) as setting:
        if setting.databases:
            common = {"DATABASES": setting.databases, **common}
        ours = site(here, **common)
        rivals = {
            each: site(here, **{**common, **changes})
            for each, changes in {**setting.rivals, **others}.items()
        }
        ours.manage("migrate", "--no-input")
        if setting.prepare:
            rivals[next(iter(rivals))].manage("shell", "-c", setting.prepare)
        ours.configure(**setting.fields)
        ours.manage("drain_sessions", "--abandon", "--no-input")
        yield setting, {OURS: ours, **rivals}


def site(here: Path, **changes: Any) -> Site:
    """A site of production, whose database is an SQLite file in the folder unless the settings say otherwise."""
    return Site(here, None, **environment(here, **changes), ACTIVATION_SECONDS="0")


def in_turns(nodes: dict[str, Node], effort: Effort) -> dict[str, list[Served]]:
    """Load the nodes in turns, each after a login and a warm-up that does not count."""
    cookies = {name: log_in(node) for name, node in nodes.items()}
    served: dict[str, list[Served]] = {name: [] for name in nodes}
    for number in range(-1, effort.loads):
        for name, node in nodes.items():
            result = load(node.url + PAGE, [cookies[name]] * CONNECTIONS, effort.seconds)
            if number >= 0:
                served[name].append(result)
    return served


def log_in(node: Node) -> str:
    """Log a user in, see that every worker knows it, and return the cookie."""
    browser = Browser([node.url])
    browser.post("/login/someone/")
    for _ in range(10):
        answer = browser.get(PAGE)
        assert answer.body["user"] == "someone", answer
    return f"{COOKIE}={browser.cookie}"


def summary(served: dict[str, list[Served]], goal: Callable[[str], float | None]) -> Row:
    """Return medians of the rounds, and the ratios of ours by theirs with their quartiles (pages: more is better) and
    the goal for each rival."""
    return {
        "sides": {
            name: {
                "per_second": round(median(each.per_second for each in results), 1),
                "p99_ms": round(median(each.p99_ms for each in results), 2),
            }
            for name, results in served.items()
        },
        "ratios": {
            name: {**compared(served[OURS], results), "goal": goal(name)}
            for name, results in served.items()
            if name != OURS
        },
    }


def compared(ours: list[Served], theirs: list[Served]) -> dict[str, float]:
    """Return the median of the rounds' ratios with its quartiles."""
    ratios = [mine.per_second / other.per_second for mine, other in zip(ours, theirs, strict=True)]
    first, middle, third = quantiles(ratios, n=4)
    return {"median": round(middle, 3), "q1": round(first, 3), "q3": round(third, 3)}
