"""Fixtures of the page's tests: In-Memory in a folder of its own, and somebody who may use the page.

The app is imported in the fixtures: pytest reads this file before Django is set up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.test import Client
from pytest_django import DjangoDbBlocker, Settings

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@pytest.fixture(autouse=True)
def own_settings(settings: Settings, tmp_path: Path) -> None:
    settings.SESSIONPERSIST = {"MEMORY_DIR": str(tmp_path / "memory"), "TIMEOUT_SECONDS": 2}


@pytest.fixture
def staff(db: None) -> User:
    """May change the Login Configuration, and nothing else."""
    from tests.admin.support import create_staff

    return create_staff("ada", "change_loginconfiguration")


@pytest.fixture
def browser(staff: User) -> Client:
    """``staff``, logged in, with Django's CSRF check out of the way."""
    client = Client()
    client.force_login(staff)
    return client


@pytest.fixture
def committing_browser(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, own_settings: None
) -> Iterator[Client]:
    """The same without a TestCase around it, which would forbid databases that a test adds to the project."""
    from tests.admin.support import create_staff, start_over

    with django_db_blocker.unblock():
        start_over()
        client = Client()
        client.force_login(create_staff("ada", "change_loginconfiguration"))
        yield client
        start_over()
