"""Logouts that the store did not answer: written down in the site's database, and carried out once the store is back.

Until then the session is none for all processes: each reads what is written down with its snapshot, this one at once,
the others within REFRESH_SECONDS. Only where that database is down, too, is a logout a 503.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import islice

from django.db import Error, connections, router
from django.db.models.functions import Now

from sessionpersist import conf
from sessionpersist.awaiting import in_thread
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import routing, snapshot
from sessionpersist.stores.deadlines import answers_within
from sessionpersist.stores.transactions import is_committed, outside

TOGETHER = 100  # that a process carries out after one request

_carried_out: set[str] = set()  # by this process, of those that it still knows of


def write_down(stored_key: str) -> None:
    """Note that a session was logged out. Raises StoreUnavailable where the database can't be asked.

    What a request writes may be rolled back; this must not be, so in a transaction it takes a connection of its own.
    """
    from sessionpersist.models import PendingLogout  # models are loaded after the app registry is ready

    alias = router.db_for_write(PendingLogout)
    try:
        in_thread(_write_and_know, alias, stored_key)
    except Error as error:
        raise StoreUnavailable(
            "A logout could be noted neither in the store nor in the site's database."
        ) from error


def _write_and_know(alias: str, stored_key: str) -> None:
    if is_committed(alias):
        _write(alias, stored_key)
    else:
        outside(lambda: _write(alias, stored_key))
    snapshot.note_ended(stored_key)


def _write(alias: str, stored_key: str) -> None:
    from sessionpersist.models import PendingLogout, Revision  # loaded after the app registry is ready

    life = timedelta(seconds=snapshot.current().current.longest_life)
    with answers_within(conf.timeout_seconds(), connections[alias]):
        # What is read with the snapshot is read with the revisions; a process that serves has begun them long ago.
        Revision.objects.begin()
        PendingLogout.objects.bulk_create(
            [PendingLogout(stored_key=stored_key, ends_at=Now() + life)], ignore_conflicts=True
        )


def carry_out(known: snapshot.Snapshot) -> None:
    """Have the store delete some of the sessions that were logged out while it was down; stop where it still is.

    Where each node has a store of its own, what is noted stays: the session may be in the memory of any of them.
    """
    from sessionpersist.models import PendingLogout  # models are loaded after the app registry is ready

    _carried_out.intersection_update(known.ended)
    for key in islice(known.ended - _carried_out, TOGETHER):
        try:
            routing.current_store().delete(key)
        except StoreUnavailable:
            break  # it is noted by its breaker, and tried with a later request
        _carried_out.add(key)
    per_node = any(each.settings.per_node for each in (known.current, *known.draining))
    if _carried_out and not per_node:
        PendingLogout.objects.filter(pk__in=_carried_out).delete()
        snapshot.expire()


def forget_over() -> None:
    """Delete what would be over by now anyhow."""
    from sessionpersist.models import PendingLogout  # models are loaded after the app registry is ready

    PendingLogout.objects.filter(ends_at__lte=Now()).delete()
