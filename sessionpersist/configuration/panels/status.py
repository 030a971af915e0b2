"""What is in force, and what takes over soon."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from typing import Any

from sessionpersist.configuration.store_sentences import store_name
from sessionpersist.handover import times
from sessionpersist.initial import initial_settings
from sessionpersist.models import Revision
from sessionpersist.stores.settings import StoreSettings


@dataclass(frozen=True)
class Status:
    """What is in force: the store, since when, by whose choice; and the store that takes over soon."""

    settings: StoreSettings
    since: datetime | None = None
    chosen_by: str = ""
    number: int = 0
    pending: str = ""
    pending_at: datetime | None = None
    pending_seconds: int = 0
    pending_ends: bool = False  # everybody is logged out then
    place: str = ""  # see Probed.place(); empty for In-Memory, which is another one on each node


def read_status() -> Status:
    """Return what is in force and what is to come."""
    in_force = Revision.objects.in_force()
    if not in_force:
        return Status(initial_settings())
    now, newest = in_force[0].database_now, in_force[-1]
    active = [revision for revision in in_force if revision.activates_at <= now]
    status = _status_since(active[-1]) if active else Status(initial_settings())
    if newest in active:
        return status
    seconds = max(1, ceil((newest.activates_at - now).total_seconds()))
    store = store_name(newest.store_settings())
    at = times.noted(newest.activates_at)
    ends = newest.ends_earlier
    return replace(status, pending=store, pending_at=at, pending_seconds=seconds, pending_ends=ends)


def _status_since(revision: Any) -> Status:
    since = times.noted(revision.activates_at)
    store = revision.store_settings()
    return Status(store, since, revision.saved_by, revision.pk, place=revision.place)
