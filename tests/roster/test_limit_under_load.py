"""One user who logs in at several processes at once, of which some are killed: the limit holds at every moment."""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.load.logins import DRAWN, GONE, LIVE, MOVED, Event, events
from tests.load.places import Place, places
from tests.load.site import Site
from tests.load.warm import TalkingProcess, warm
from tests.sizes import quick_and_long

pytestmark = pytest.mark.xdist_group("load")

PROCESSES = 5
USER = "5eaf00d"
REFRESH, ACTIVATION, GUARD = 0.7, 1.4, 0.5  # seconds
KINDS = ["In-Memory", "Valkey", "PostgreSQL", "MariaDB", "MongoDB"]
# What is found out at the end, in a process of its own: the keys that are live, and what the roster says.
LOOK = """
import json, sys, django
django.setup()
from django.contrib.auth import SESSION_KEY
from sessionpersist import sessions
from sessionpersist.engine import SessionStore
from sessionpersist.handover import routing
from sessionpersist.roster import records
from sessionpersist.roster.entering import run
from sessionpersist.session.sealing import stored_key
user, *keys = json.load(sys.stdin)
def live():
    return [key for key in keys if SessionStore(key).get(SESSION_KEY) == user]
before, listed = live(), run(records.read(routing.current_store(), records.Owner.of(user)))
named = {key for entry in listed.entries for key in entry.keys}
newest = SessionStore()
newest[SESSION_KEY] = user
newest.save()
keys.append(newest.session_key)
print(json.dumps({
    "before": before, "unlisted": [key for key in before if stored_key(key) not in named],
    "newest": newest.session_key, "after": live(), "listed": len(sessions.of(user)),
}))
"""


class Effort(NamedTuple):
    """How long it takes, how many processes are killed meanwhile, how many sessions the user may have, and how many
    seconds a process waits between two things that it does."""

    seconds: float
    kills: int
    limit: int
    pause: float = 0.0


class Logins:
    """The processes in which the user logs in."""

    def __init__(self, site: Site, pause: float) -> None:
        self.site, self.pause, self.journals = site, pause, list[Path]()
        self.running = [self.start() for _ in range(PROCESSES)]

    def start(self) -> TalkingProcess:
        journal = self.site.folder / f"journal-{len(self.journals)}"
        self.journals.append(journal)
        command = ["-m", "tests.load.logins", str(journal), USER, journal.name, str(self.pause)]
        return warm().talk(command, {**self.site.environment, "NODE_NAME": "one"})

    def wait(self) -> None:
        for each in self.running:
            assert each.stdout.readline() == "ready\n"

    def kill_one(self) -> None:
        """As when a machine loses its power, at whatever it was doing; another one starts."""
        self.running.pop(0).kill()
        self.running.append(self.start())

    def stop(self) -> None:
        for each in self.running:
            assert each.finish() == 0

    def events(self) -> list[Event]:
        return [event for journal in self.journals for event in events(journal)]


def logins_of(found: Iterable[Event]) -> dict[str, str]:
    """By each key, the first that its login had."""
    before = {event.key: event.before for event in found if event.what == MOVED}

    def first(key: str) -> str:
        while key in before:
            key = before[key]
        return key

    return {event.key: first(event.key) for event in found}


def most_at_once(found: list[Event]) -> int:
    """How many logins were surely live at one moment: each from the end of the first look that found it so to the
    beginning of the last."""
    of, spans = logins_of(found), defaultdict[str, list[Event]](list)
    for event in found:
        if event.what == LIVE:
            spans[of[event.key]].append(event)
    changes: list[tuple[float, int]] = []
    for seen in spans.values():
        begun, over = min(event.done for event in seen), max(event.begun for event in seen)
        if begun < over:
            changes += [(begun, 1), (over, -1)]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def revived(found: list[Event]) -> list[str]:
    """The keys under which a session was found that had been found to be gone before. A look at a key before its first
    save finds nothing, either."""
    first_live = {event.key: 0.0 for event in found}
    for event in sorted(found, key=lambda each: each.done, reverse=True):
        if event.what == LIVE:
            first_live[event.key] = event.done
    gone = defaultdict[str, float](lambda: float("inf"))
    for event in found:
        if event.what == GONE and event.begun > first_live[event.key] > 0:
            gone[event.key] = min(gone[event.key], event.done)
    return [event.key for event in found if event.what == LIVE and event.begun > gone[event.key]]


def look(site: Site, found: list[Event]) -> dict[str, Any]:
    keys = sorted({event.key for event in found if event.what == DRAWN})
    return dict(json.loads(site._python("-c", LOOK, standard_input=json.dumps([USER, *keys]))))


def check(site: Site, logins: Logins, limit: int) -> None:
    found = logins.events()
    assert sum(event.what == LIVE for event in found) > 50
    assert most_at_once(found) <= limit
    assert revived(found) == []
    state = look(site, found)
    assert state["unlisted"] == []
    of = logins_of(found)
    assert len({of[key] for key in state["before"]}) <= limit
    assert state["newest"] in state["after"]
    assert len({of.get(key, key) for key in state["after"]}) == state["listed"] <= limit


def place_of(kind: str, prefix: str) -> Place:
    if kind == "In-Memory":
        return Place(kind, {"persistence_type": "IN_MEMORY"}, lambda: 0)
    [found] = places([kind], prefix)
    return found


def site_of(walk: list[Place], folder: Path, limit: int) -> Site:
    databases = {alias: url for place in walk for alias, url in place.databases.items()}
    site = Site(
        folder,
        databases,
        REFRESH_SECONDS=REFRESH,
        ACTIVATION_SECONDS=ACTIVATION,
        KEY_PREFIX=folder.name,
        TIMEOUT_SECONDS=5,
    )
    site.migrate()
    site.configure(max_sessions=limit, **walk[0].fields)
    time.sleep(ACTIVATION + GUARD)
    return site


def run(site: Site, effort: Effort, switches: list[Place]) -> None:
    seconds, kills, limit, pause = effort
    logins, chance = Logins(site, pause), random.Random(seconds)
    logins.wait()
    until, steps = time.monotonic() + seconds, kills + len(switches)
    for number in range(steps):
        time.sleep(seconds / (steps + 1) * chance.uniform(0.5, 1.0))
        if number % max(1, steps // max(1, len(switches))) == 0 and switches:
            site.configure(**switches.pop(0).fields)
        else:
            logins.kill_one()
    time.sleep(max(0.0, until - time.monotonic()))
    logins.stop()
    check(site, logins, limit)


# What a list needs of a store is in the contract of stores; the quick tests have two stores, below.
@pytest.mark.long
@pytest.mark.parametrize(
    "effort", [Effort(1.5, 2, limit=1, pause=0.02), Effort(60.0, 60, limit=2)], ids=["short", "long"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_no_more_than_the_limit_live_at_any_moment(tmp_path: Path, kind: str, effort: Effort) -> None:
    place = place_of(kind, tmp_path.name)
    run(site_of([place], tmp_path, effort.limit), effort, [])


@pytest.mark.parametrize(
    "effort", quick_and_long(Effort(6.0, 2, limit=1, pause=0.12), Effort(60.0, 30, limit=2))
)
def test_no_more_than_the_limit_live_while_the_store_is_switched(tmp_path: Path, effort: Effort) -> None:
    first, second = (place_of(kind, tmp_path.name) for kind in ("Valkey", "PostgreSQL"))
    site = site_of([first, second], tmp_path, effort.limit)
    run(site, effort, [second, first])
