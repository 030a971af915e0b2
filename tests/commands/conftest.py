"""Fixtures of the commands' tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings


@pytest.fixture(autouse=True)
def own_settings(settings: Settings, tmp_path: Path) -> None:
    """Each test begins with nothing known, and with a store in memory of its own."""
    settings.SESSIONPERSIST = {"MEMORY_DIR": str(tmp_path / "memory"), "TIMEOUT_SECONDS": 5}
