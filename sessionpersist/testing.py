"""For the tests of projects that use the app."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from django.test.utils import TestContextDecorator

from sessionpersist import snapshot
from sessionpersist.models import LoginConfiguration


class override_login_configuration(TestContextDecorator):  # noqa: N801 - reads like Django's override_settings
    """Have these fields of the Login Configuration in force: at once, in this process, without touching the database.

    A context manager, and a decorator for functions and test classes::

        with override_login_configuration(persistence_type="REDIS", redis_host="localhost"):
            client.force_login(user)

    Fields that are not given have their defaults. Raises TypeError for a field that does not exist.
    """

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        self.settings = LoginConfiguration(**fields).store_settings()
        self._entered: list[AbstractContextManager[None]] = []

    def enable(self) -> None:
        override = snapshot.overridden(self.settings)
        override.__enter__()
        self._entered.append(override)

    def disable(self) -> None:
        self._entered.pop().__exit__(None, None, None)
