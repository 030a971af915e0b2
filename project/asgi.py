"""The site for ASGI servers: ``uvicorn project.asgi:application``."""

import os

from django.core.asgi import get_asgi_application
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

application = get_asgi_application()

# Django keeps a connection for the next request of the same thread. On an event loop no request uses that of another:
# each would leave its own behind.
for database in connections.settings.values():
    database["CONN_MAX_AGE"] = 0
