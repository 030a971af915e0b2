"""The surroundings of a benchmark: Django set up as the site is in production, on servers of its own."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

PLAIN_HTTP = ("SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE")
LONG = 10_000_000  # more than any benchmark keeps: LocMem forgets sessions beyond 300 by default


def environment(folder: Path, **changes: Any) -> dict[str, str]:
    """Return the environment variables of a site without DEBUG, which would slow both sides down.

    ``changes`` are settings, as JSON holds them; files lie in the folder.
    """
    return {
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "ENV_FILE": "",
        "DEBUG": "false",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "ALLOWED_HOSTS": "*",
        "LOG_LEVEL": "WARNING",
        "DATABASE_URL": f"sqlite:///{folder}/site.sqlite3",
        "BENCHMARK_SETTINGS": json.dumps(changes),
        **dict.fromkeys(PLAIN_HTTP, "false"),
    }


def set_up(folder: Path, **changes: Any) -> None:
    """Set Django up in this process, once."""
    import django

    os.environ.update(environment(folder, **changes))
    django.setup()


def database(url: str) -> dict[str, Any]:
    """Return an entry for DATABASES just as the site makes it of a URL: connections are kept."""
    from project.databases import database as of_site

    return of_site(url, Path("/"))


def cache(backend: str, location: str = "", **options: Any) -> dict[str, Any]:
    """Return an entry for CACHES."""
    return {"BACKEND": backend, "LOCATION": location, "OPTIONS": options}
