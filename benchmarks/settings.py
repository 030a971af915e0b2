"""The site's settings, with what a benchmark changes: a JSON object in the environment variable BENCHMARK_SETTINGS."""

import json
import os
from typing import Any

from project.settings import *  # noqa: F403 - the site's settings, whatever they are

CHANGES: dict[str, Any] = json.loads(os.environ["BENCHMARK_SETTINGS"])
globals().update(CHANGES)
