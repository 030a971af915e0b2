"""The settings of the site, in a project that has chosen otherwise about time zones."""

import os

from project.settings import *  # noqa: F403

USE_TZ = os.environ["USE_TZ"] == "true"
