"""A real In-Memory store that fails on command: for what a server can't be made to show at a given moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import routing, snapshot
from sessionpersist.handover.carrying import Place, View
from sessionpersist.stores.base import Probed
from sessionpersist.stores.breaker import Breaker
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.memory import MemoryStore
from sessionpersist.stores.settings import MemorySettings
from tests.stores.verbs import OF_A_REQUEST

VERBS = OF_A_REQUEST | {"count", "clear_expired"}


class FlakyStore(MemoryStore):
    """``down`` fails every verb; ``broken_before`` and ``broken_after`` fail that many, before or after they act."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "flaky", 2.0)
        self.down = False
        self.broken_before = self.broken_after = 0
        self.calls: list[str] = []
        self.breaker: Breaker | None = None  # that of the site

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in VERBS:
            return found

        def verb(*arguments: Any, **options: Any) -> Any:
            self.calls.append(name)
            if self.down:
                raise StoreUnavailable("The store is down, by command.")
            if self.broken_before:
                self.broken_before -= 1
                raise StoreUnavailable("The connection was lost.", connection_lost=True)
            answer = found(*arguments, **options)
            if self.broken_after:
                self.broken_after -= 1
                raise StoreUnavailable("The connection was lost.", connection_lost=True)
            return answer

        return verb


class FixedView(View):
    """One store, of which everybody is sure."""

    stale = False
    steady_until = float("inf")

    def __init__(self, store: Probed) -> None:
        self.guarded = GuardedStore(store, "The flaky store")
        super().__init__(Place(self.guarded, 0, 0))

    @property
    def ended(self) -> frozenset[str]:  # type: ignore[override]
        """What this process knows to be logged out."""
        known = snapshot.held()
        return frozenset() if known is None else known.ended

    def undecided(self) -> float:
        return 0.0


@contextmanager
def flaky_site(folder: Path) -> Iterator[FlakyStore]:
    """Have every session in a store that fails on command."""
    store = FlakyStore(folder)
    with site_on(store) as breaker:
        store.breaker = breaker
        yield store


@contextmanager
def site_on(store: Probed) -> Iterator[Breaker]:
    """Have every session in this store, behind a breaker as in real life, and without a policy."""
    view, known = FixedView(store), snapshot.override(MemorySettings())
    before, routing.current_store = routing.current_store, lambda: routing.RoutedStore(lambda: view)
    try:
        yield view.guarded.breaker
    finally:
        routing.current_store = before
        snapshot.lift(known)
