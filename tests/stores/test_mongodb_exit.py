"""As a process ends, its client of MONGODB is closed, in forked children too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import MongoDB, require, shared

ROOT = Path(__file__).resolve().parents[2]

VISIT = """
import os, sys
import django
django.setup()
from sessionpersist.stores import open_store
from sessionpersist.stores.settings import MongoSettings
database, host, port, source, user, password = sys.argv[1:]
store = open_store(MongoSettings(database, host, int(port), user, password, source))
store.get("0" * 64)
"""
IN_A_CHILD_TOO = """
child = os.fork()
store.get("0" * 64)
if child == 0:
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(VISIT, id="alone", marks=pytest.mark.long),
        pytest.param(VISIT + IN_A_CHILD_TOO, id="forked"),
    ],
)
def test_process_ends_without_an_unclosed_client(code: str) -> None:
    require(MongoDB)
    server = shared(MongoDB)
    where = (server.database, server.host, server.port, server.auth_source, server.username, server.password)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code, *map(str, where)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
