"""Whole requests: a page for a logged-in user from the site under gunicorn, with our engine and with Django's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.load import generator, load
from benchmarks.places import DJANGO_REDIS, LOCMEM, OURS, folder, jdbc, mongodb_backend, reached
from benchmarks.surroundings import LONG, cache, database, environment
from tests.load.clients import COOKIE, Browser
from tests.load.site import Node, Site
from tests.load.stores import fields
from tests.servers import MongoDB, Postgres, Valkey

PAGE = "/whoami/"  # asks for the session and for the user, which is one query to the site's database on both sides
DB_ENGINE, CACHE_ENGINE = (f"django.contrib.sessions.backends.{name}" for name in ("db", "cache"))
ROUNDS, SECONDS = (7, 3), (3, 1)  # full and quick; of each side
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
    """One comparison: what to choose in the Login Configuration, and what a site with an engine of Django's has."""

    fields: dict[str, Any]
    rival: str
    rival_settings: dict[str, Any]
    databases: dict[str, Any] = field(default_factory=dict)
    workers: int = 2
    prepare: str = ""


@contextmanager
def memory(here: Path, delay: float | None = None) -> Iterator[Setting]:
    """One worker each: what is in LocMem is in no other worker."""
    rival = {"SESSION_ENGINE": CACHE_ENGINE, "CACHES": {"default": cache(LOCMEM, MAX_ENTRIES=LONG)}}
    yield Setting({"persistence_type": "IN_MEMORY"}, "LocMem", rival, workers=1)


@contextmanager
def redis(here: Path, delay: float | None = None) -> Iterator[Setting]:
    with reached(Valkey(), delay) as (server, _):
        caches = {"default": cache(DJANGO_REDIS, server.url)}
        yield Setting(fields(server), "django-redis", {"SESSION_ENGINE": CACHE_ENGINE, "CACHES": caches})


@contextmanager
def postgresql(here: Path, delay: float | None = None) -> Iterator[Setting]:
    """The users are in PostgreSQL, too."""
    with reached(Postgres(), delay) as (server, _):
        databases = {"default": database(server.url)}
        yield Setting(jdbc("default"), "db engine", {"SESSION_ENGINE": DB_ENGINE}, databases)


@contextmanager
def sqlite(here: Path, delay: float | None = None) -> Iterator[Setting]:
    yield Setting(jdbc("default"), "db engine", {"SESSION_ENGINE": DB_ENGINE})


@contextmanager
def mongodb(here: Path, delay: float | None = None) -> Iterator[Setting]:
    """The rival's sessions are in MongoDB, by a router; the users of both are in SQLite."""
    with reached(MongoDB(), delay) as (server, _):
        databases = {
            "default": database(f"sqlite:///{here}/site.sqlite3"),
            "mongodb": mongodb_backend(server),
        }
        rival = {"SESSION_ENGINE": DB_ENGINE, "DATABASES": databases, "DATABASE_ROUTERS": [ROUTER]}
        yield Setting(fields(server), "db engine (MongoDB)", rival, prepare=MAKE_TABLE)


SETTINGS: dict[str, Callable[[Path, float | None], AbstractContextManager[Setting]]] = {
    "REDIS": redis,
    "POSTGRESQL": postgresql,
    "SQLITE": sqlite,
    "MONGODB": mongodb,
    "IN_MEMORY": memory,
}


def serve(name: str, *, quick: bool, delay: float | None = None) -> Row:
    """Measure one store, which is ``delay`` seconds away: both sites run, and are loaded in turns."""
    print(f"  {name:<10} pages under gunicorn", file=sys.stderr, flush=True)
    with folder() as here, SETTINGS[name](here, delay) as setting:
        common = {"DATABASES": setting.databases} if setting.databases else {}
        ours, rival = site(here, **common), site(here, **{**common, **setting.rival_settings})
        ours.manage("migrate", "--no-input")
        if setting.prepare:
            rival.manage("shell", "-c", setting.prepare)
        ours.configure(**setting.fields)
        ours.manage("drain_sessions", "--abandon", "--no-input")
        with Node(ours, "ours", setting.workers) as one, Node(rival, "rival", setting.workers) as other:
            served = in_turns({OURS: one, setting.rival: other}, quick=quick)
    return {"place": name, "generator": generator(), "workers": setting.workers, **summary(served)}


def site(here: Path, **changes: Any) -> Site:
    """A site of production, whose database is an SQLite file in the folder unless the settings say otherwise."""
    return Site(here, None, **environment(here, **changes), ACTIVATION_SECONDS="0")


def in_turns(nodes: dict[str, Node], *, quick: bool) -> dict[str, list[Any]]:
    """Load the nodes in turns, each after a login and a short warm-up that does not count."""
    cookies = {name: log_in(node) for name, node in nodes.items()}
    served: dict[str, list[Any]] = {name: [] for name in nodes}
    for number in range(-1, ROUNDS[quick]):
        for name, node in nodes.items():
            result = load(node.url + PAGE, cookies[name], SECONDS[quick])
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


def summary(served: dict[str, list[Any]]) -> Row:
    """Return medians of the rounds, and the ratios of ours by theirs with their quartiles (pages: more is better)."""
    ours, theirs = served.values()
    ratios = [mine.per_second / other.per_second for mine, other in zip(ours, theirs, strict=True)]
    first, middle, third = quantiles(ratios, n=4)
    return {
        "sides": {
            name: {
                "per_second": round(median(each.per_second for each in results), 1),
                "p99_ms": round(median(each.p99_ms for each in results), 2),
            }
            for name, results in served.items()
        },
        "ratio": {"median": round(middle, 3), "q1": round(first, 3), "q3": round(third, 3), "goal": None},
    }
