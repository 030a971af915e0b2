"""Times as staff read them, whatever USE_TZ and TIME_ZONE are.

The database of the configuration writes most of them itself, by its own clock (``Now()``). With USE_TZ they come back
aware. Without, they come back naive: from SQLite in UTC, as its clock knows no other zone, and elsewhere in TIME_ZONE.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django.conf import settings
from django.db import connections, router
from django.utils import timezone


def instant(noted: datetime) -> datetime:
    """Return a time that the database has noted as an aware one."""
    if timezone.is_aware(noted):
        return noted
    from sessionpersist.models import Revision  # models are loaded after the app registry is ready

    in_utc = connections[router.db_for_write(Revision)].vendor == "sqlite"
    return noted.replace(tzinfo=UTC) if in_utc else timezone.make_aware(noted)


def local(time: datetime) -> datetime:
    """Return a time as templates and ``date_format`` show it rightly. A naive one is local already."""
    if timezone.is_naive(time):
        return time
    there = timezone.localtime(time)
    return there if settings.USE_TZ else there.replace(tzinfo=None)


def noted(time: datetime) -> datetime:
    """Return a time that the database has noted as it is to be shown."""
    return local(instant(time))


def beginning() -> datetime:
    """Return a time before all others, which the database can be asked about."""
    return datetime(1970, 1, 2, tzinfo=UTC if settings.USE_TZ else None)
