"""Clears expired sessions where the server does not do so by itself: JDBC and In-Memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from time import monotonic

from django.db.models.functions import Now

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover.asking import in_time
from sessionpersist.handover.snapshot import Known
from sessionpersist.models import Lease
from sessionpersist.stores import open_store
from sessionpersist.stores.base import Drainable
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import EXPIRED_CLEARED
from sessionpersist.upkeep.lease import SITE, Holding

RENEW_SECONDS = 3.0
FORGOTTEN = timedelta(days=1)  # a lease of a node that is gone

Wait = Callable[[float], bool]
Unfinished = dict[Drainable, Iterator[int]]  # what clears a store, where there was no time for all of it


def clear_all(
    holding: Holding, known: Iterable[Known], wait: Wait, seconds: float, unfinished: Unfinished
) -> bool:
    """Clear the stores of the scope for about so many seconds, and note that it is done; False where there was no time
    for all of it. What is ``unfinished`` then goes on where it was the next time: MariaDB, for one, first looks for all
    that has expired. Raises LeaseLost, Error, and StoreUnavailable once the other stores have had their turn."""
    failed: StoreUnavailable | None = None
    give_up = monotonic() + seconds
    for each in known:
        if each.settings.per_node == (holding.scope != SITE):
            try:
                if not _clear(holding, each, wait, give_up, unfinished):
                    return False
            except StoreUnavailable as error:
                failed = error
    if holding.scope == SITE:
        with in_time(Lease):
            Lease.objects.filter(expires_at__lt=Now() - FORGOTTEN).delete()
    holding.renew(cleared_at=Now())
    if failed is not None:
        raise failed
    return True


def _clear(holding: Holding, known: Known, wait: Wait, give_up: float, unfinished: Unfinished) -> bool:
    """Clear one store, batch by batch, with as much rest after each as it took; False where that was left off: the
    process is about to end, or it is a time of the monotonic clock."""
    begun, renewed, cleared, done = monotonic(), monotonic(), 0, True
    store = open_store(known.settings)
    batches = unfinished.pop(store, None) or store.clearing()
    for count in batches:
        cleared += count
        holding.require()
        if monotonic() >= renewed + RENEW_SECONDS:
            holding.renew()
            renewed = monotonic()
        if wait(monotonic() - begun) or monotonic() >= give_up:
            unfinished[store] = batches
            done = False
            break
        begun = monotonic()
    if cleared:
        name = known.settings.describe()
        sentence = f"{cleared} expired sessions were cleared from {name}."
        lines.say(EXPIRED_CLEARED, sentence, store=name, cleared=cleared)
    return done
