"""Django's ``clearsessions``, with a sentence in the place of a traceback where the store can't be asked."""

from __future__ import annotations

from typing import Any

from django.contrib.sessions.management.commands import clearsessions

from sessionpersist import conf
from sessionpersist.handover import snapshot
from sessionpersist.management.base import SessionCommand, read_configuration


class Command(SessionCommand, clearsessions.Command):
    def handle(self, **options: Any) -> None:
        # Not in a test, which may have no database, nor where it is known already.
        if snapshot.held() is None and not conf.tests_are_quiet():
            read_configuration()
        super().handle(**options)
