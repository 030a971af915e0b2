"""A process in which one user logs in again and again, beside others, and what it saw of that.

``python -m tests.load.logins JOURNAL USER SEED PAUSE`` runs until its standard input is closed, or it is killed. It
does something each PAUSE seconds, and appends to JOURNAL a line for each thing that it has seen: what, the key, and
between which two moments of the machine's clock. A key is written down before anything is stored under it.
"""

from __future__ import annotations

import random
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import django

DRAWN, LIVE, GONE, MOVED = "drawn", "live", "gone", "moved"
KEPT = 6  # sessions that a process goes on using, whoever has ended them


class Event(NamedTuple):
    """``moved``: the session under ``before`` is to go on under ``key``."""

    what: str
    key: str
    begun: float
    done: float
    before: str = ""

    @classmethod
    def read(cls, line: str) -> Event:
        what, key, begun, done, *before = line.split()
        return cls(what, key, float(begun), float(done), *before)


def events(journal: Path) -> list[Event]:
    """What is in a journal. The last line of a process that was killed may be half of one."""
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    return [Event.read(line) for line in lines if line.endswith("\n")]


class Process:
    def __init__(self, journal: Path, user: str, seed: str) -> None:
        from sessionpersist import engine

        self.user, self.random = user, random.Random(seed)
        self.journal = journal.open("a", buffering=1)
        self.keys: list[str] = []
        self.moving = ""
        draw = engine.new_key

        def drawn() -> str:
            key = draw()
            now = time.monotonic()
            self.note(DRAWN, key, now)
            if self.moving:
                self.note(MOVED, key, now, self.moving)
            return key

        engine.new_key = drawn

    def note(self, what: str, key: str, begun: float, *before: str) -> None:
        self.journal.write(" ".join((what, key, repr(begun), repr(time.monotonic()), *before)) + "\n")

    def log_in(self) -> None:
        """As Django does it: a key for nobody first."""
        from django.contrib.auth import SESSION_KEY as USER_ID

        from sessionpersist.engine import SessionStore

        session = SessionStore()
        session.cycle_key()
        session[USER_ID] = self.user
        begun = time.monotonic()
        session.save()
        self.note(LIVE, str(session.session_key), begun)
        self.keys = [*self.keys[-KEPT:], str(session.session_key)]

    def visit(self) -> None:
        self._use(lambda session: None)

    def change(self) -> None:
        def change(session: object) -> None:
            session["number"] = self.random.random()  # type: ignore[index]
            session.save()  # type: ignore[attr-defined]

        self._use(change)

    def cycle(self) -> None:
        self._use(lambda session: session.cycle_key())  # type: ignore[attr-defined]

    def log_out(self) -> None:
        self._use(lambda session: session.flush(), ends=True)  # type: ignore[attr-defined]

    def _use(self, use: Callable[[object], None], *, ends: bool = False) -> None:
        from django.contrib.auth import SESSION_KEY as USER_ID

        from sessionpersist.engine import SessionStore

        if not self.keys:
            return
        key = self.moving = self.random.choice(self.keys)
        session, begun = SessionStore(key), time.monotonic()
        live = session.get(USER_ID) == self.user
        self.note(LIVE if live else GONE, key, begun)
        if live:
            begun = time.monotonic()
            use(session)
            if ends:
                self.note(GONE, key, begun)
            elif session.session_key != key:
                self.note(LIVE, str(session.session_key), begun)
                self.keys.append(str(session.session_key))
        self.moving = ""

    def step(self) -> None:
        from django.contrib.sessions.backends.base import UpdateError

        from sessionpersist.exceptions import StoreUnavailable

        weights = {self.log_in: 5, self.visit: 6, self.change: 3, self.cycle: 2, self.log_out: 1}
        [action] = self.random.choices(list(weights), list(weights.values()))
        try:
            action()
        except (UpdateError, StoreUnavailable):  # ended by another login, or a switch took too long
            self.moving = ""


def main() -> None:
    django.setup()
    journal, user, seed, pause = sys.argv[1:]
    process = Process(Path(journal), user, seed)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not select.select([sys.stdin], [], [], float(pause))[0]:
        process.step()


if __name__ == "__main__":
    main()
