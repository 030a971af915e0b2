"""The site's settings, with what a benchmark changes: a JSON object in the environment variable BENCHMARK_SETTINGS."""

import json
import os
from typing import Any

from project.settings import *  # noqa: F403 - the site's settings, whatever they are
from project.settings import MIDDLEWARE as OF_SITE

CHANGES: dict[str, Any] = json.loads(os.environ["BENCHMARK_SETTINGS"])
globals().update(CHANGES)

# With an engine of Django's the middleware is Django's, too.
if CHANGES.get("SESSION_ENGINE", "").startswith("django."):
    MIDDLEWARE = [
        each.replace("sessionpersist.middleware", "django.contrib.sessions.middleware") for each in OF_SITE
    ]

if any(each["ENGINE"].endswith(".mysql") for each in CHANGES.get("DATABASES", {}).values()):
    from project.mysql import provide_driver

    provide_driver()
