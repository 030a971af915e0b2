"""A process that serves nothing but websockets is a node, too, and does the upkeep.

Django sends no ``request_started`` for them. So it is noticed by their sessions, in a process that has loaded an ASGI
application: commands and workers of task queues have none.
"""

from __future__ import annotations

import sys

APPLICATION = "django.core.asgi"  # the module of get_asgi_application(), which nothing else imports


def note_use() -> None:
    """A session is used outside the requests of our middleware. Waits for nothing, and never raises."""
    if APPLICATION not in sys.modules:
        return
    from django.core.handlers.asgi import ASGIHandler  # the engine may be imported before the apps are ready

    from sessionpersist.handover import nodes
    from sessionpersist.upkeep import threads

    threads.begin(ASGIHandler)
    nodes.report(aside=True)
