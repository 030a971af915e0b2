"""Imported as the fresh environment starts: everything that a project without the extras does not have."""

import sys

for name in ("redis", "django_redis", "pymongo", "bson", "psycopg", "orjson", "environ", "tests", "project"):
    sys.modules[name] = None  # type: ignore[assignment] # an import of it fails
