"""The site of the load tests, for servers of every kind. Its upkeep is in a hurry: it looks more often, and a lease is
short."""

import django
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler

django.setup(set_prefix=False)

from sessionpersist.upkeep import daemons, lease  # noqa: E402 - now that Django is set up

daemons.LOOK_SECONDS = 0.3
daemons.SOON_SECONDS = 0.1
daemons.REREAD_SECONDS = daemons.IDLE_SECONDS = 0.5
lease.SHORTEST, lease.TIMEOUTS = 3.0, 0
wsgi, asgi = WSGIHandler(), ASGIHandler()
