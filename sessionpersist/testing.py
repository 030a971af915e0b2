"""Helpers for the tests of projects that use the app."""

from __future__ import annotations

from typing import Any
from unittest import TestCase

from django.test.utils import TestContextDecorator

from sessionpersist.handover import snapshot
from sessionpersist.handover.snapshot import Snapshot
from sessionpersist.models import LoginConfiguration


class override_login_configuration(TestContextDecorator):  # noqa: N801 - reads like Django's override_settings
    """Put these fields of the Login Configuration in force: at once, in this process, without touching the database.

    It is a context manager, and a decorator for functions and test classes::

        with override_login_configuration(persistence_type="REDIS", redis_host="localhost"):
            client.force_login(user)

    It lasts until it is ended, in all threads; ``enable()`` and ``disable()`` begin and end it by hand. If there are
    several, the one that began last is in force. In a decorated class it is in force from ``setUpClass`` on, so in
    ``setUpTestData``, too.

    Fields that are not given have their defaults. Raises TypeError for a field that does not exist.
    """

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        row = LoginConfiguration(**fields)
        self.settings, self.policy = row.store_settings(), row.policy()
        self._begun: list[Snapshot] = []

    def enable(self) -> None:
        self._begun.append(snapshot.override(self.settings, self.policy))

    def disable(self) -> None:
        snapshot.lift(self._begun.pop())

    def decorate_class(self, cls: type[Any]) -> type[Any]:
        if not issubclass(cls, TestCase):
            raise TypeError(
                "Only subclasses of unittest.TestCase can be decorated; use a fixture for other classes."
            )
        set_up = cls.setUpClass.__func__  # type: ignore[attr-defined] # of the class method

        def set_up_class(inner: type[TestCase]) -> None:
            inner.enterClassContext(self)
            set_up(inner)

        cls.setUpClass = classmethod(set_up_class)  # type: ignore[assignment]
        return cls
