"""Fixtures of the configuration's tests.

The app is imported in the fixtures: pytest may read this file before Django is set up.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings


@pytest.fixture(autouse=True)
def own_settings(settings: Settings, tmp_path: Path) -> None:
    """Each test begins with nothing known, and with a store in memory of its own."""
    settings.SESSIONPERSIST = {"MEMORY_DIR": str(tmp_path / "memory"), "ACTIVATION_SECONDS": 0}
