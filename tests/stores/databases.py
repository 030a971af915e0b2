"""Databases that the tests add to the project's while they run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connections

from project.databases import database


@contextmanager
def added_database(alias: str, url: str, **changes: Any) -> Iterator[str]:
    """Have one more database in ``connections``, as if it were in ``settings.DATABASES``."""
    config = database(url, Path("/"))
    config["OPTIONS"] |= changes.pop("OPTIONS", {})
    with imported(alias, config | changes):
        yield alias


@contextmanager
def imported(alias: str, config: dict[str, Any]) -> Iterator[str]:
    """The same with what stands in ``settings.DATABASES``."""
    before = dict(connections.settings)
    connections.settings.update(connections.configure_settings({**before, alias: config}))
    try:
        yield alias
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]
