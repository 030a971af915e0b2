"""Imported as the fresh environment starts: everything that a project without the extras does not have."""

import sys

DRIVERS = ("redis", "django_redis", "pymongo", "bson", "psycopg")
for name in (*DRIVERS, "orjson", "zstandard", "environ", "tests", "project"):
    sys.modules[name] = None  # type: ignore[assignment] # an import of it fails
