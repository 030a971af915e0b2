"""The site's settings, with what a benchmark changes: a JSON object in the environment variable BENCHMARK_SETTINGS."""

import json
import os
from typing import Any

from project.settings import MIDDLEWARE as OF_SITE
from tests.load.settings import *  # noqa: F403 - the site's settings, whatever they are, with the pages that are loaded

CHANGES: dict[str, Any] = json.loads(os.environ["BENCHMARK_SETTINGS"])
globals().update(CHANGES)

# With an engine of Django's the middleware is Django's, too.
if CHANGES.get("SESSION_ENGINE", "").startswith("django."):
    MIDDLEWARE = [
        each.replace("sessionpersist.middleware", "django.contrib.sessions.middleware")
        for each in CHANGES.get("MIDDLEWARE", OF_SITE)
    ]

if any(each["ENGINE"].endswith(".mysql") for each in CHANGES.get("DATABASES", {}).values()):
    from project.mysql import provide_driver

    provide_driver()


class SessionsInMongoDB:
    """A router: Django's sessions are in the database "mongodb", everything else where it is."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "mongodb" if model._meta.app_label == "sessions" else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return None if db == "default" else False
