"""The site with the pages of ``urls``: the same for its nodes and its commands, which share a memory."""

import os

from project.settings import *  # noqa: F403

ROOT_URLCONF = os.environ.get("PAGES", "tests.load.urls")
# A login costs half a second of work on purpose, otherwise.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
