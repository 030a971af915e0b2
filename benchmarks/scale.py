"""Few sessions and many in the same server, the same operations in turns; and what a session takes there."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.comparison import Row
from benchmarks.filling import fill, readable_keys
from benchmarks.goals import GOAL_SIZE, MILLION_BY_TEN_THOUSAND
from benchmarks.operations import ON_KEPT, OPERATIONS, Engine
from benchmarks.places import OURS, PLACES, Place
from benchmarks.timing import Case, Effort, in_turns, ratio, summary

FULL_COUNTS, QUICK_COUNTS = (10_000, 1_000_000), (1_000, 20_000)


def scale(name: str, counts: tuple[int, int], effort: Effort) -> list[Row]:
    """Measure our engine at one place with few and with many sessions; to be called in a process of its own."""
    with PLACES[name]() as place:
        few, many = Site("few", place.fields), Site("many", place.others)
        few.use()
        fill(few.store(), counts[0])
        before = place.used()
        many.use()
        fill(many.store(), counts[1])
        taken = round((place.used() - before) / counts[1])
        sites = dict(zip(map(str, counts), (few, many), strict=True))
        return [
            {"place": name, "server": place.server, "bytes_per_session": taken, **row}
            for row in _rows(name, place, sites, effort)
        ]


class Site:
    """One of two sites that keep their sessions apart in one server. The one in ``use`` is that of this process."""

    _in_use: Any = None

    def __init__(self, prefix: str, fields: dict[str, Any]) -> None:
        from sessionpersist.testing import override_login_configuration

        self.prefix, self._override = prefix, override_login_configuration(**fields)

    def use(self) -> None:
        """Have this site's store in force, and open."""
        from django.conf import settings

        from sessionpersist.handover import routing

        if Site._in_use is self:
            return
        if Site._in_use is not None:
            Site._in_use._override.disable()
        Site._in_use = self
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "KEY_PREFIX": self.prefix}
        self._override.enable()
        routing.current_view()

    def store(self) -> Any:
        """The store itself, for filling."""
        from sessionpersist.handover import routing

        return routing.current_view().current.store


def _rows(name: str, place: Place, sites: dict[str, Site], effort: Effort) -> Iterator[Row]:
    few, many = sites
    for operation in OPERATIONS:
        print(f"  {name:<10} {operation:<7} {many:>9} sessions", file=sys.stderr, flush=True)
        cases = {
            count: _case(place.engines[OURS], operation, site, int(count)) for count, site in sites.items()
        }
        samples = in_turns(cases, effort)
        yield {
            "operation": operation,
            "sides": {count: summary(times) for count, times in samples.items()},
            "ratio": {**ratio(samples[many], samples[few]), "goal": MILLION_BY_TEN_THOUSAND},
        }


def _case(engine: Engine, operation: str, site: Site, count: int) -> Case:
    """An operation on a site, on sessions from anywhere among the many where it is one on sessions that are there."""
    site.use()
    if operation in ON_KEPT:
        case = ON_KEPT[operation](engine, GOAL_SIZE, _anywhere(readable_keys(count)))
    else:
        case = OPERATIONS[operation](engine, GOAL_SIZE)

    def prepare() -> Any:
        site.use()
        return case.prepare()

    return Case(prepare, case.run)


def _anywhere(keys: list[str]) -> Iterator[str]:
    while True:
        yield random.choice(keys)
