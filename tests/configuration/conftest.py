"""Fixtures of the configuration's tests.

The app is imported in the fixtures: pytest may read this file before Django is set up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker, Settings


@pytest.fixture(autouse=True)
def own_settings(settings: Settings, tmp_path: Path) -> None:
    """Each test begins with nothing known, and with a store in memory of its own."""
    settings.SESSIONPERSIST = {"MEMORY_DIR": str(tmp_path / "memory"), "ACTIVATION_SECONDS": 0}


@pytest.fixture(scope="module")
def seeded_again(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A test that commits leaves the tables empty; the tests after it find the rows that the migration makes."""
    yield
    from importlib import import_module

    from django.db import connection
    from django.db.migrations.loader import MigrationLoader

    migration = import_module("sessionpersist.migrations.0002_default_configuration")
    with django_db_blocker.unblock(), connection.schema_editor() as editor:
        # Models as a migration sees them: the real ones would append a revision that activates later.
        migration.create_defaults(MigrationLoader(connection).project_state().apps, editor)
