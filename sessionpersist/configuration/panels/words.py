"""Numbers and times as people read them."""

from __future__ import annotations

from datetime import datetime
from math import ceil

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from sessionpersist.handover.draining import Left

MINUTE, HOUR, DAY = 60, 3600, 86_400
LONG_AGO = 60 * DAY  # from then on a date says more than a number of days


def grouped(number: int) -> str:
    """Write a number as people read it: 20,000."""
    return number_format(number, force_grouping=True)


def left_in_words(left: Left) -> str:
    """Say how many sessions are left, such as “12,345” or “at least 50,000”."""
    count = grouped(left.count)
    return _("at least {count}").format(count=count) if left.more else count


def ago(seconds: float, at: datetime | None = None) -> str:
    """Say how long ago something was; where that is very long and ``at`` is given, its date."""
    if seconds < MINUTE:
        return _("{seconds} s ago").format(seconds=int(seconds))
    if seconds < HOUR:
        return _("{minutes} min ago").format(minutes=int(seconds // MINUTE))
    if seconds < DAY:
        return _("{hours} h ago").format(hours=int(seconds // HOUR))
    if at is not None and seconds >= LONG_AGO:
        return date_format(_local(at), "DATE_FORMAT")
    days = int(seconds // DAY)
    return ngettext("{days} day ago", "{days} days ago", days).format(days=days)


def until(seconds: float) -> str:
    """Say in how long something will be."""
    if seconds < MINUTE:
        return _("in {seconds} s").format(seconds=ceil(seconds))
    if seconds < HOUR:
        return _("in {minutes} min").format(minutes=ceil(seconds / MINUTE))
    return _("in {hours} h").format(hours=ceil(seconds / HOUR))


def exactly(at: datetime) -> str:
    """Say when something was to the second, with the time zone."""
    local = _local(at)
    date, time = date_format(local, "DATE_FORMAT"), date_format(local, "H:i:s")
    return _("{date}, {time} {zone}").format(date=date, time=time, zone=local.tzname())


def _local(at: datetime) -> datetime:
    return timezone.localtime(timezone.make_aware(at) if timezone.is_naive(at) else at)
