"""The world of the exploration, where each request is a coroutine: the code of RoutedStore runs in a greenlet, and
waits wherever it asks a store. It goes on where it stood, and need not be told again what it was answered before, as in
``tests/handover/world.py``."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any, TypeVar, cast

from sessionpersist.awaiting import awaited, wait
from sessionpersist.handover import carrying
from sessionpersist.handover.carrying import Place
from sessionpersist.handover.driving import Call
from sessionpersist.handover.routing import RoutedStore
from sessionpersist.stores.base import Drainable
from tests.handover import world
from tests.handover.explore import at_random, faults
from tests.handover.world import Operation, Process, Rules, View, answered, many

T = TypeVar("T")


class Waits:
    """What a coroutine waits for: an operation of the world, which stops where the scheduler is to choose."""

    def __init__(self, operation: Operation[Any]) -> None:
        self._operation = operation

    def __await__(self) -> Operation[Any]:
        return self._operation


def pause(process: Process) -> Operation[None]:
    """Until the guard time of a process is over."""
    yield process


class AskedByCoroutine:
    """A store as a coroutine meets it; the same for whoever meets the same one."""

    def __init__(self, store: Drainable) -> None:
        self.store = store

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        found = getattr(self.store, verb)
        steps = many if verb.endswith("_many") else answered
        return lambda *given: wait(Waits(steps(Call(found, given, {}))))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AskedByCoroutine) and other.store is self.store

    def __hash__(self) -> int:
        return id(self.store)


class RoutedByCoroutine(world.Routed):
    """RoutedStore in a process, for one verb of a coroutine."""

    def __init__(self, rules: Rules, process: Process) -> None:
        RoutedStore.__init__(self, self._look, self._pause, rules)
        self._process = process

    def run(self, verb: Callable[[RoutedStore], T]) -> Operation[T]:
        return (yield from awaited(verb, self).__await__())

    def _drive(self, rule: Any) -> Any:
        return RoutedStore._drive(self, rule)

    def _look(self) -> carrying.View:
        view: View = copy(self._process.view)
        view.steady_until = math.inf if view.is_steady() else 0.0
        view.current, view.sources = met(view.current), tuple(map(met, view.sources))
        return view

    def _pause(self, seconds: float) -> None:
        wait(Waits(pause(self._process)))


def met(place: Place) -> Place:
    return replace(place, store=cast(Drainable, AskedByCoroutine(place.store)))


class ByCoroutines(Rules):
    """All the rules, in coroutines."""

    Routed = RoutedByCoroutine


def explore(runs: int, seed: int, without: type[Rules] = Rules) -> tuple[int, dict[str, list[str]]]:
    """Explore any plan at random, with a rule left out or none; as ``faults``."""
    explored = type("Explored", (ByCoroutines, without), {"plan": without.plan})()
    return faults(at_random(runs, seed, explored))
