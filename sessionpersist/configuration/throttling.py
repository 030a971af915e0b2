"""What staff may do only so often: try stores out, and guess a password.

Attempts are counted in the admin's log. All processes of the site share it, it needs no table of our own, and every
attempt is on record anyway. An attempt is noted before it is made and counted afterwards, so that those made at the
same moment see each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import router
from django.utils import timezone

from sessionpersist.models import LoginConfiguration

LONGEST_OBJECT = 200  # characters, of the admin's log


@dataclass(frozen=True)
class Limit:
    """At most ``times`` in ``seconds`` for each user. ``name`` stands in the log where others have the id of a row."""

    name: str
    times: int
    seconds: int

    def note(self, user: Any, message: str, about: str) -> LogEntry | None:
        """Note an attempt before it is made. None: it is one too many, must not be made, and is not counted either."""
        entries = LogEntry.objects.using(router.db_for_write(LogEntry))
        page = ContentType.objects.get_for_model(LoginConfiguration)
        whose: dict[str, Any] = {"user_id": user.pk, "content_type": page, "object_id": self.name}
        what = {"object_repr": about[:LONGEST_OBJECT], "action_flag": CHANGE, "change_message": message}
        entry = entries.create(**whose, **what)
        since = timezone.now() - timedelta(seconds=self.seconds)
        if entries.filter(**whose, action_time__gt=since).count() <= self.times:
            return entry
        entry.delete()
        return None


TESTS = Limit("connection-test", 10, 60)
PASSWORDS = Limit("wrong-password", 5, 300)
SHOWN = 20  # attempts, on the page with the history


def latest() -> Sequence[LogEntry]:
    """Return the latest attempts of all users: colleagues notice one that none of them has made."""
    names, page = [TESTS.name, PASSWORDS.name], ContentType.objects.get_for_model(LoginConfiguration)
    entries = LogEntry.objects.filter(object_id__in=names, content_type=page)
    return list(entries.select_related("user")[:SHOWN])
