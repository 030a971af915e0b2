"""Users who count their visits through the engine while servers fail: what is lost, what is wrong, and for how long."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any, Self

from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable

PAUSE = 0.02  # seconds between two visits


@dataclass
class Visitor:
    """One user. A visit that failed may have been counted or not; one that was answered has been."""

    key: str = ""
    answered: int = 0
    tried: int = 0
    successes: list[float] = field(default_factory=list)  # when, in monotonic seconds
    failures: list[float] = field(default_factory=list)
    lost: int = 0  # visits that were answered, and are not in the session any more
    wrong: list[str] = field(default_factory=list)

    def served_after(self, moment: float) -> float:
        """When a visit succeeded after that moment."""
        return min((at for at in self.successes if at > moment), default=float("inf"))

    def come(self) -> None:
        session = SessionStore()
        session["visits"] = 0
        session.save()
        self.key = str(session.session_key)

    def visit(self) -> None:
        try:
            session = SessionStore(self.key)
            visits = session.get("visits")
            if session.session_key != self.key or visits is None:
                self.wrong.append("anonymous")
                return
            if visits < self.answered:
                self.lost += self.answered - visits
                self.answered = visits
            elif visits > self.tried:
                self.wrong.append(f"{visits} visits of {self.tried}")
            self.tried = visits + 1
            session["visits"] = visits + 1
            session.save()
        except StoreUnavailable:
            self.failures.append(monotonic())
        except Exception as error:
            self.wrong.append(f"{type(error).__name__}: {error}")
        else:
            self.answered = visits + 1
            self.successes.append(monotonic())


class Load:
    """Visitors who keep coming, a thread each, inside the context."""

    def __init__(self, count: int = 10) -> None:
        self.visitors = [Visitor() for _ in range(count)]
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in self.visitors]

    def __enter__(self) -> Self:
        for each in self.visitors:
            each.come()
        for thread in self._threads:
            thread.start()
        sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, visitor: Visitor) -> None:
        while not self._stopped.is_set():
            visitor.visit()
            self._stopped.wait(PAUSE)

    @property
    def lost(self) -> int:
        return sum(each.lost for each in self.visitors)

    @property
    def wrong(self) -> list[str]:
        return [text for each in self.visitors for text in each.wrong]

    @property
    def failures(self) -> int:
        return sum(len(each.failures) for each in self.visitors)

    def first_success(self, since: float) -> float:
        """How many seconds after that moment the last of those who met a failure was served again."""
        met = [(each, [at for at in each.failures if at >= since]) for each in self.visitors]
        return max((each.served_after(failed[0]) - since for each, failed in met if failed), default=0.0)

    def wait_until_served(self, since: float, seconds: float = 30) -> None:
        """Return once everybody who met a failure has been served after it, for a second."""
        give_up = monotonic() + seconds
        while self.first_success(since) == float("inf") and monotonic() < give_up:
            sleep(0.1)
        sleep(1)

    def report(self, what: str, since: float, engine: float) -> dict[str, Any]:
        """Print what came of it, and return it: ``engine`` is how long the servers took themselves."""
        found = {
            "lost": self.lost,
            "wrong": len(self.wrong),
            "failures": self.failures,
            "first success": round(self.first_success(since), 1),
            "engine": round(engine, 1),
        }
        told = ", ".join(f"{name} {value}" for name, value in found.items())
        sys.stdout.write(f"\n{what}: {told}\n")
        return found
