"""Numbers and times as people read them."""

from __future__ import annotations

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from sessionpersist.handover.draining import Left


def grouped(number: int) -> str:
    """Write a number as people read it: 20,000."""
    return number_format(number, force_grouping=True)


def left_in_words(left: Left) -> str:
    """Say how many sessions are left, such as “12,345” or “at least 50,000”."""
    count = grouped(left.count)
    return _("at least {count}").format(count=count) if left.more else count


def ago(seconds: float) -> str:
    """Say how long ago something was."""
    if seconds < 60:
        return _("{seconds} s ago").format(seconds=int(seconds))
    return _("{minutes} min ago").format(minutes=int(seconds // 60))
