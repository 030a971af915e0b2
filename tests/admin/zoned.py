"""Staff use the page for a while, in a process with a time zone of its own, and this prints what they read."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402

from sessionpersist.handover import draining, snapshot  # noqa: E402
from tests.admin.support import PAGE, typed  # noqa: E402


def read(response: Any) -> str:
    """What the page says, and the times that it shows on hover."""
    assert response.status_code == 200
    page: str = response.content.decode()
    return page


JDBC = {"persistence_type": "JDBC", "jdbc_database": "default"}

call_command("migrate", verbosity=0)
client = Client()
client.force_login(User.objects.create_superuser("ada"))
stale = typed(persistence_type="IN_MEMORY")
pages = {"saved": read(client.post(PAGE, typed(**JDBC), follow=True))}
pages["overtaken"] = read(client.post(PAGE, stale))
while snapshot.current().current.settings.type != "JDBC":
    time.sleep(0.1)
pages["moving"] = read(client.get(PAGE))
[store] = draining.going_on()
while store.view.undecided():
    time.sleep(0.1)
client.post(f"{PAGE}drain/{store.number}/")
draining.abandon(store.number)
pages["over"] = read(client.get(PAGE))
now = timezone.now()
pages["now"] = (timezone.localtime(now) if timezone.is_aware(now) else now).isoformat()
json.dump(pages, sys.stdout)
