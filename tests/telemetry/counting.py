"""A site whose processes count for Prometheus."""

from __future__ import annotations

from pathlib import Path

from tests.load import stores as places
from tests.load.site import Site
from tests.servers import Valkey, require, shared


def a_site_that_counts(home: Path, database: int) -> Site:
    """Its sessions are in that database of the shared Valkey."""
    require(Valkey)
    (folder := home / "counted").mkdir()
    site = Site(
        home,
        DJANGO_SETTINGS_MODULE="tests.telemetry.settings",
        PROMETHEUS_MULTIPROC_DIR=folder,
        REFRESH_SECONDS=1,
        ACTIVATION_SECONDS=0,
    )
    site.migrate()
    site.configure(**places.fields(shared(Valkey)), redis_database=database)
    return site
