"""A site whose sessions have been moved away from Valkey, and what has become of them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from sessionpersist.stores.base import Record, new_version
from tests.load.site import Node, Site
from tests.stores.contract import a_key, a_record

PATIENCE = 40.0  # seconds; on a quiet machine it takes two or three


def some(number: int, revision: int) -> dict[str, Record]:
    """Return sessions that were saved under a revision."""
    version = new_version(revision)
    return {a_key(): a_record(str(n).encode(), life=600_000)._replace(version=version) for n in range(number)}


def ask(site: Site, statement: str, *parameters: object) -> list[Any]:
    """Ask the site's database, an SQLite file."""
    with closing(sqlite3.connect(site.file, timeout=10)) as database, database:
        return database.execute(statement, parameters).fetchall()


def newest(site: Site) -> int:
    """Return the number of the newest revision."""
    [(number,)] = ask(site, "SELECT max(id) FROM sessionpersist_revision")
    return int(number)


def mover(site: Site) -> int:
    """Return which process is moving sessions; 0: none."""
    found = ask(site, "SELECT process FROM sessionpersist_lease WHERE moves > 0")
    return int(found[0][0]) if found else 0


def is_over(site: Site) -> bool:
    """Return whether all handovers have ended."""
    [(going_on,)] = ask(site, "SELECT count(*) FROM sessionpersist_revision WHERE drained_at IS NULL")
    return int(going_on) == 1


def wait_for(condition: Callable[[], Any], *nodes: Node, seconds: float = PATIENCE) -> Any:
    """Return what a condition says once it is true."""
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up, [node.log.read_text() for node in nodes]
        time.sleep(0.05)
    return found
