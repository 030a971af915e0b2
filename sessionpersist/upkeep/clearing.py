"""Clears expired sessions where the server does not do so by itself: JDBC and In-Memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from time import monotonic

from django.db.models.functions import Now

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover.asking import in_time
from sessionpersist.handover.snapshot import Known
from sessionpersist.models import Lease
from sessionpersist.stores import open_store
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import EXPIRED_CLEARED
from sessionpersist.upkeep.lease import SITE, Holding

RENEW_SECONDS = 3.0
FORGOTTEN = timedelta(days=1)  # a lease of a node that is gone

Wait = Callable[[float], bool]


def clear_all(holding: Holding, known: Iterable[Known], wait: Wait) -> None:
    """Clear the stores of the scope, and note that. Raises LeaseLost, Error, and StoreUnavailable once the other stores
    have had their turn."""
    failed: StoreUnavailable | None = None
    for each in known:
        if each.settings.per_node == (holding.scope != SITE):
            try:
                _clear(holding, each, wait)
            except StoreUnavailable as error:
                failed = error
    if holding.scope == SITE:
        with in_time(Lease):
            Lease.objects.filter(expires_at__lt=Now() - FORGOTTEN).delete()
    holding.renew(cleared_at=Now())
    if failed is not None:
        raise failed


def _clear(holding: Holding, known: Known, wait: Wait) -> None:
    """Clear one store, batch by batch, with as much rest after each as it took."""
    begun, renewed, cleared = monotonic(), monotonic(), 0
    for count in open_store(known.settings).clearing():
        cleared += count
        holding.require()
        if monotonic() >= renewed + RENEW_SECONDS:
            holding.renew()
            renewed = monotonic()
        if wait(monotonic() - begun):
            return
        begun = monotonic()
    if cleared:
        store = known.settings.describe()
        sentence = f"{cleared} expired sessions were cleared from {store}."
        lines.say(EXPIRED_CLEARED, sentence, store=store, cleared=cleared)
