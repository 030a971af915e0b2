"""Fixtures of what users see: In-Memory in a folder of its own, and somebody with a password."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.test import Client
from pytest_django import Settings

from tests.account.support import PASSWORD

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@pytest.fixture(autouse=True)
def own_settings(settings: Settings, tmp_path: Path) -> None:
    settings.SESSIONPERSIST = {"MEMORY_DIR": str(tmp_path / "memory"), "TIMEOUT_SECONDS": 2}


@pytest.fixture
def ada(db: None) -> User:
    """A user, not of the staff."""
    from django.contrib.auth.models import User

    return User.objects.create_user("ada", password=PASSWORD)


@pytest.fixture
def logged_in(ada: User) -> Client:
    """Logged in by the form."""
    from tests.account.support import log_in

    return log_in(Client())
