"""Parallel requests lose nothing: processes with threads, and others with coroutines, add keys to one session, and
every key is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.load import stores
from tests.load.site import Site
from tests.servers import Redis, Server, require, shared
from tests.sizes import long_unless, quick_and_long

pytestmark = pytest.mark.xdist_group("load")  # one at a time: they take all that the machine has

PROCESSES, WRITERS = 4, 2

# One Python, which forks: a start of it takes longer than the writing.
PROGRAM = """
import asyncio, json, os, sys, threading, traceback, warnings
import django
django.setup()
from django.db import connections
from sessionpersist.engine import SessionStore

processes, writers, keys = map(int, sys.argv[1:])

def write(numbers):
    for number in numbers:
        session = SessionStore(key)
        session[f"key-{number}"] = number
        session.save()
    connections.close_all()

async def awrite(numbers):
    for number in numbers:
        session = SessionStore(key)
        await session.aset(f"key-{number}", number)
        await session.asave()

def write_in_threads(numbers):
    workers = [threading.Thread(target=write, args=(numbers[n::writers],)) for n in range(writers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

def write_on_a_loop(numbers):
    async def write_all():
        await asyncio.gather(*(awrite(numbers[n::writers]) for n in range(writers)))
    asyncio.run(write_all())

def in_a_process(action, *arguments):
    if child := os.fork():
        return child
    try:
        action(*arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)

session = SessionStore()
session.create()
key = session.session_key
connections.close_all()  # each process has its own
# Python 3.12 and newer warn that another thread may hold a lock: one watches the deadlines of the store.
warnings.simplefilter("ignore", DeprecationWarning)
ways = [write_in_threads, write_on_a_loop]
children = [in_a_process(ways[n % 2], range(keys)[n::processes]) for n in range(processes)]
for child in children:
    os.waitpid(child, 0)
print(json.dumps(dict(SessionStore(key).items())))
"""


# What is asked of Redis is what Valkey is asked.
PLACES = [
    *("memory", "sqlite"),
    *(pytest.param(server, marks=long_unless(server is not Redis)) for server in stores.SERVERS),
]


@pytest.fixture(params=PLACES, ids=lambda kind: getattr(kind, "__name__", kind))
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    kind: str | type[Server] = request.param
    if isinstance(kind, str):
        fields = {
            "persistence_type": "IN_MEMORY" if kind == "memory" else "JDBC",
            "jdbc_database": stores.ALIAS,
        }
        databases = {stores.ALIAS: f"sqlite:///{tmp_path}/sessions.sqlite3"}
    else:
        require(kind)
        server = shared(kind)
        fields, databases = stores.fields(server), stores.databases(server)
    site = Site(tmp_path, databases, ACTIVATION_SECONDS=0, REFRESH_SECONDS=1, TIMEOUT_SECONDS=10)
    site.migrate()
    site.configure(**fields)
    return site


@pytest.mark.parametrize("keys", quick_and_long(80, 2000))
def test_eight_parallel_writers_lose_no_key(site: Site, keys: int) -> None:
    done = site.python("-c", PROGRAM, *map(str, (PROCESSES, WRITERS, keys)), seconds=180)
    assert (done.stderr, done.returncode) == ("", 0)
    assert json.loads(done.stdout) == {f"key-{number}": number for number in range(keys)}
