"""A lease: the right of one process to do the upkeep of a scope, by the clock of the site's database.

There are two kinds of scope: what all nodes share, and the memory of one node. Whoever holds a lease renews it as it
works. One that is killed loses it within ``seconds()``; one that was stopped for as long, or can't reach the database,
finds out before its next step and stops. A step that was under way then ends beside the next holder's, as a step of
``drain_sessions`` does: a lease saves work, and what is safe beside live traffic needs none.
"""

from __future__ import annotations

import os
import secrets
from datetime import timedelta
from time import monotonic
from typing import Any

from django.db.models.functions import Now

from sessionpersist import conf
from sessionpersist.handover import times
from sessionpersist.handover.asking import in_time
from sessionpersist.models import LONGEST_LEASE, Lease

SITE = "site"  # the scope of what all nodes share
SHORTEST = 15.0  # seconds
TIMEOUTS = 5  # that a step may take: it asks a store a few times


class LeaseLost(Exception):
    """This process no longer holds the lease: another may be at work."""


def scope_of_node() -> str:
    """Return the scope of this node's memory."""
    return f"node {conf.node_name()}"


def seconds() -> float:
    """Return how long a lease lasts unless it is renewed: longer than any step takes."""
    return min(max(SHORTEST, TIMEOUTS * conf.timeout_seconds()), LONGEST_LEASE.total_seconds())


class Holding:
    """A lease that this process holds."""

    def __init__(self, scope: str, token: str, until: float) -> None:
        """``until`` is a time on the monotonic clock, before which nobody else can have it."""
        self.scope, self._token, self._until = scope, token, until

    def require(self) -> None:
        """Raise LeaseLost where the lease has not been renewed in time. Asks nobody."""
        if monotonic() >= self._until:
            raise LeaseLost(self.scope)

    def renew(self, **told: Any) -> None:
        """Hold it for longer, and note columns of Lease that say what is being done. Raises LeaseLost, Error."""
        asked, length = monotonic(), seconds()
        with in_time(Lease):
            held = Lease.objects.in_force().filter(pk=self.scope, token=self._token)
            if not held.update(expires_at=Now() + timedelta(seconds=length), **told):
                raise LeaseLost(self.scope)
        self._until = asked + length

    def release(self) -> None:
        """Let others have it at once. Raises Error."""
        with in_time(Lease):
            Lease.objects.filter(pk=self.scope, token=self._token).update(expires_at=Now(), moves=0, rate=0)


def take(scope: str) -> Holding | None:
    """Take the lease of a scope; None where another process holds it. Raises Error."""
    asked, length, token = monotonic(), seconds(), secrets.token_hex(16)
    mine = {"token": token, "node": conf.node_name(), "process": os.getpid(), "moves": 0, "rate": 0}
    with in_time(Lease):
        if not _is_free(scope):
            return None
        free = Lease.objects.free().filter(pk=scope)
        if not free.update(expires_at=Now() + timedelta(seconds=length), **mine):
            return None
    return Holding(scope, token, asked + length)


def cleared_ago(scope: str) -> float:
    """Return how many seconds ago the scope was cleared; infinity: never. Raises Error."""
    with in_time(Lease):
        found = (
            Lease.objects.filter(pk=scope).exclude(cleared_at=None).values_list("cleared_at", Now()).first()
        )
    if found is None:
        return float("inf")
    ago: timedelta = found[1] - found[0]
    return ago.total_seconds()


def _is_free(scope: str) -> bool:
    """Look before anything is written: many processes ask, and a write locks the whole of an SQLite database."""
    if Lease.objects.free().filter(pk=scope).exists():
        return True
    if Lease.objects.filter(pk=scope).exists():
        return False
    Lease.objects.bulk_create([Lease(scope=scope, expires_at=times.beginning())], ignore_conflicts=True)
    return True
