"""The settings of a site that ran on another engine before: README's snippet, with what a test says."""

import os

from tests.load.settings import *  # noqa: F403

SESSIONPERSIST = {**SESSIONPERSIST, "ADOPT_FROM": os.environ["ADOPT_FROM"]}  # noqa: F405
if location := os.environ.get("CACHE_URL"):
    CACHES = {"default": {"BACKEND": os.environ["CACHE_BACKEND"], "LOCATION": location}}
