"""What the run-time dispatch costs: a verb through snapshot, routing, handover (none is going on) and breaker (closed),
less the same verb of the store behind them, which answers at once."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any
from unittest.mock import patch

from benchmarks.goals import DISPATCH_US
from benchmarks.places import folder
from benchmarks.surroundings import set_up
from benchmarks.timing import Case, Effort, in_turns

CALLS = 500  # in one measurement: a single one is shorter than the clock is precise


def measure(effort: Effort) -> list[dict[str, Any]]:
    """Return the microseconds that the dispatch adds to each verb; to be called in a process of its own."""
    with folder() as here:
        set_up(here)
        from sessionpersist import stores
        from sessionpersist.handover import routing
        from sessionpersist.testing import override_login_configuration

        instant = instant_store()
        with patch.object(stores, "build_store", lambda settings: instant), override_login_configuration():
            routed = routing.current_store
            return [
                {"verb": verb, "added_us": _added(effort, instant, routed, verb, given), "goal": DISPATCH_US}
                for verb, given in calls().items()
            ]


def calls() -> dict[str, tuple[Any, ...]]:
    """The verbs that requests use, with what they are given."""
    from sessionpersist.stores.base import Record

    record = Record(b"payload", 2, 0, 0)
    return {
        "get": ("key",),
        "create": ("key", record),
        "replace": ("key", record, 1),
        "touch": ("key", 0),
        "delete": ("key",),
    }


def instant_store() -> Any:
    """A store whose answers are ready."""
    from sessionpersist import conf
    from sessionpersist.stores.base import Outcome, Record
    from sessionpersist.stores.memory import MemoryStore

    record = Record(b"payload", 1, 0, 0)

    class InstantStore(MemoryStore):
        def get(self, key: str) -> Record:
            return record

        def create(self, key: str, record: Record) -> bool:
            return True

        def replace(self, key: str, record: Record, expected: int) -> Outcome:
            return Outcome.SAVED

        def touch(self, key: str, expires_at: int) -> bool:
            return True

        def delete(self, key: str, version: int | None = None) -> bool:
            return True

    return InstantStore(conf.memory_dir(), "benchmark", 1.0)


def _added(
    effort: Effort, instant: Any, routed: Callable[[], Any], verb: str, arguments: tuple[Any, ...]
) -> float:
    def direct() -> None:
        for _ in range(CALLS):
            getattr(instant, verb)(*arguments)

    def dispatched() -> None:
        for _ in range(CALLS):
            getattr(routed(), verb)(*arguments)

    cases = {"direct": loop(direct), "dispatched": loop(dispatched)}
    samples = in_turns(cases, effort)
    middle = {name: median(time for each in times for time in each) for name, times in samples.items()}
    return round((middle["dispatched"] - middle["direct"]) / CALLS / 1000, 3)


def loop(run: Callable[[], None]) -> Case:
    """A case that needs no preparation."""
    return Case(lambda: None, lambda _: run())
