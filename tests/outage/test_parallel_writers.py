"""Parallel requests lose nothing: many processes add keys to one session, and every key is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.load import stores
from tests.load.site import ROOT, Site
from tests.servers import Server, require, shared
from tests.sizes import quick_and_long

pytestmark = pytest.mark.xdist_group("load")  # one at a time: they take all that the machine has

PROCESSES, THREADS = 4, 2

WRITER = """
import sys, threading, django
django.setup()
from django.db import connections
from sessionpersist.engine import SessionStore

key, first, last, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

def write(numbers):
    for number in numbers:
        session = SessionStore(key)
        session[f"key-{number}"] = number
        session.save()
    connections.close_all()

workers = [threading.Thread(target=write, args=(range(first + n, last, threads),)) for n in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
"""
CREATE = """
import django
django.setup()
from sessionpersist.engine import SessionStore
session = SessionStore()
session.create()
print(session.session_key)
"""
READ = """
import sys, json, django
django.setup()
from sessionpersist.engine import SessionStore
print(json.dumps(dict(SessionStore(sys.argv[1]).items())))
"""


@pytest.fixture(
    params=["memory", "sqlite", *stores.SERVERS], ids=lambda kind: getattr(kind, "__name__", kind)
)
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


@pytest.mark.parametrize("keys", quick_and_long(400, 2000))
def test_eight_parallel_writers_lose_no_key(site: Site, keys: int) -> None:
    session_key = run(site, CREATE).strip()
    share = keys // PROCESSES
    writers = [
        start(site, WRITER, session_key, str(n * share), str((n + 1) * share), str(THREADS))
        for n in range(PROCESSES)
    ]
    ends = [(writer.communicate(timeout=180)[1], writer.returncode) for writer in writers]
    assert ends == [("", 0)] * PROCESSES
    assert json.loads(run(site, READ, session_key)) == {f"key-{number}": number for number in range(keys)}


def run(site: Site, program: str, *arguments: str) -> str:
    process = start(site, program, *arguments)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output


def start(site: Site, program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=site.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
