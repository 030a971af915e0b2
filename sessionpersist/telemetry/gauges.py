"""What is as it is now: of this process without asking anybody, and of the site, which costs a question.

What stores and sites are counted by is true wherever it is asked. So only one process of a node tells it (see
``node.py``), or the one that Prometheus happens to ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from threading import Lock
from time import monotonic
from weakref import WeakKeyDictionary

from django.db import Error

from sessionpersist import forks
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import routing, snapshot
from sessionpersist.handover.asking import in_time
from sessionpersist.handover.places import COUNT_AT_MOST
from sessionpersist.models import Lease
from sessionpersist.stores import open_store
from sessionpersist.stores.base import Drainable
from sessionpersist.stores.guarded import GuardedStore, PartedStore
from sessionpersist.upkeep import progress
from sessionpersist.upkeep.progress import Progress

COUNTED_SECONDS = 30.0  # how long a count of this process will do: on a large store it takes its time
UNKNOWN_SECONDS = 5.0  # how long a store that could not be counted is left alone


class Count:
    """How many sessions a store had when it was last counted; None where it could not be, or never was."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._good_until = float("-inf")
        self._counting = Lock()

    def of(self, store: Drainable) -> int | None:
        """Return it. One thread counts; the others meanwhile take what there was."""
        if monotonic() >= self._good_until and self._counting.acquire(blocking=False):
            try:
                self._update(store)
            finally:
                self._counting.release()
        return self.number

    def _update(self, store: Drainable) -> None:
        try:
            self.number = store.count(COUNT_AT_MOST)
        except StoreUnavailable:
            self.number = None
        self._good_until = monotonic() + (UNKNOWN_SECONDS if self.number is None else COUNTED_SECONDS)


_counted: WeakKeyDictionary[Drainable, Count] = WeakKeyDictionary()


def configuration_age() -> float | None:
    """Return how many seconds ago this process has read the configuration; None where it never has."""
    held = snapshot.held()
    return None if held is None else held.age


def open_breakers() -> dict[str, int]:
    """Return how many circuit breakers are open, by the kind of the stores that this process uses."""
    found: dict[str, int] = {}
    for store in _stores_in_use():
        found[store.kind] = found.get(store.kind, 0) + store.open_breakers()
    return found


def live_sessions() -> dict[str, int]:
    """Return how many sessions are live in the store in force, by its kind; nothing where it can't be asked."""
    with suppress(StoreUnavailable):
        return _counts([routing.current_view().current.store])
    return {}


def handover_left() -> dict[str, int]:
    """Return how many sessions are left in the stores used before, by their kind, without those that can't be asked."""
    with suppress(StoreUnavailable):
        return _counts(place.store for place in routing.current_view().sources)
    return {}


def handover_rate() -> dict[str, float]:
    """Return how many sessions a second move by themselves out of the stores used before, by their kind; nothing where
    the site's database can't be asked. It knows of every node."""
    found: dict[str, float] = {}
    with suppress(StoreUnavailable, Error):
        kinds = {place.number: _kind(place.store) for place in routing.current_view().sources}
        for number, each in (_progress(list(kinds)) if kinds else {}).items():
            if (kind := kinds[number]) is not None:
                found[kind] = found.get(kind, 0.0) + each.rate
    return found


def _progress(numbers: list[int]) -> dict[int, Progress]:
    """As ``progress.read``, within TIMEOUT_SECONDS: whoever asks for metrics waits for no database that hangs."""
    with in_time(Lease):
        return progress.read(numbers)


def _kind(store: Drainable) -> str | None:
    """The kind of a store; None for one that can't be opened on this node."""
    return store.kind if isinstance(store, GuardedStore | PartedStore) else None


def reset() -> None:
    """Forget what was counted."""
    _counted.clear()


def _stores_in_use() -> Iterator[GuardedStore | PartedStore]:
    held = snapshot.held()
    for each in () if held is None else (held.current, *held.draining):
        with suppress(StoreUnavailable):
            yield open_store(each.settings)


def _counts(stores: Iterable[Drainable]) -> dict[str, int]:
    found: dict[str, int] = {}
    for store in stores:
        if (kind := _kind(store)) is None:
            continue
        count = _counted.setdefault(store, Count()).of(store)
        if count is not None:
            found[kind] = found.get(kind, 0) + count
    return found


forks.in_child(forks.Layer.KNOWLEDGE, reset)
