"""Django's ``clearsessions``, with a sentence in the place of a traceback where the store can't be asked."""

from __future__ import annotations

from typing import Any

from django.contrib.sessions.management.commands import clearsessions

from sessionpersist.handover import quiet, snapshot
from sessionpersist.management.base import SessionCommand, read_configuration


class Command(SessionCommand, clearsessions.Command):
    def handle(self, **options: Any) -> None:
        # Not in a test, which may have no database, nor where it is known already.
        if snapshot.held() is None and not quiet.is_on():
            read_configuration()
        super().handle(**options)
