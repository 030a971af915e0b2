"""Fixtures of the engine's tests: a private folder for In-Memory, one store after the other, and a spy on it.

The app is imported in the fixtures: pytest reads this file before Django is set up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings


@pytest.fixture(autouse=True)
def own_memory(settings: Settings, tmp_path: Path) -> None:
    """In-Memory sessions of each test lie in a folder of its own."""
    settings.SESSIONPERSIST = {"MEMORY_DIR": str(tmp_path / "memory"), "TIMEOUT_SECONDS": 5}


@pytest.fixture
def in_memory() -> Iterator[None]:
    from sessionpersist.testing import override_login_configuration

    with override_login_configuration(persistence_type="IN_MEMORY"):
        yield


@pytest.fixture
def asked(in_memory: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The verbs that the In-Memory store is asked, in order: a round trip each."""
    from sessionpersist.handover import routing
    from tests.engine.support import RecordingStore

    recording = RecordingStore(routing.current_store())
    monkeypatch.setattr(routing, "current_store", lambda: recording)
    return recording.asked
