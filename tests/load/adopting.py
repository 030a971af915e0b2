"""The settings of a site that ran on another engine before, as docs/how-to/existing-site.md has them."""

import os

from tests.load.settings import *  # noqa: F403

SESSIONPERSIST = {**SESSIONPERSIST, "ADOPT_FROM": os.environ["ADOPT_FROM"]}  # noqa: F405
if location := os.environ.get("CACHE_URL"):
    CACHES = {"default": {"BACKEND": os.environ["CACHE_BACKEND"], "LOCATION": location}}
