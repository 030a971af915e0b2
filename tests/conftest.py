"""What all tests share. First of all the environment, then Django, which reads it; the rest may need both."""

import os
import tempfile
from pathlib import Path

import django
from django.db import connections

# Kept until the interpreter ends, which removes it.
MEMORY = tempfile.TemporaryDirectory(prefix="sessionpersist-tests-")

os.environ |= {
    "DJANGO_SETTINGS_MODULE": "project.settings",
    "ENV_FILE": "",  # a developer's .env is not for tests
    "DEBUG": "true",  # plain HTTP; the test runner turns settings.DEBUG itself off again
    "SECRET_KEY": "for-tests-only-0123456789-abcdefghijklmnopqrstuvwxyz",
    "MEMORY_DIR": MEMORY.name,
}

# Not left to pytest-django, which would do it before this file is read.
django.setup()

# A file: Django never closes a connection to an SQLite database in memory, not even that of a thread that ends.
connections["default"].settings_dict["TEST"]["NAME"] = str(Path(MEMORY.name) / "test.sqlite3")
