"""A process that serves nothing but websockets is a node, too, and does the upkeep.

Django sends no ``request_started`` for them. So it is noticed by their sessions, in a process that has loaded an ASGI
application. Commands and workers of task queues have none; a worker of Channels (``manage.py runworker``) has one, as
its consumers serve users, and is a node where they use sessions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache

APPLICATION = "django.core.asgi"  # the module of get_asgi_application(), which nothing else imports


def note_use() -> None:
    """A session is used outside the requests of our middleware. Waits for nothing, and never raises."""
    if APPLICATION in sys.modules:
        _note()()


@cache
def _note() -> Callable[[], None]:
    """Import what this takes once: the engine may be imported before the apps are ready."""
    from django.core.handlers.asgi import ASGIHandler

    from sessionpersist.handover import nodes
    from sessionpersist.upkeep import daemons

    def note() -> None:
        if nodes.is_due():
            daemons.begin(ASGIHandler)
            nodes.report(aside=True)

    return note
