"""Helpers for the tests of projects that use the app."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar
from unittest import TestCase

from django.test.runner import DiscoverRunner
from django.test.utils import TestContextDecorator

from sessionpersist import initial
from sessionpersist.handover import snapshot
from sessionpersist.handover.snapshot import Snapshot
from sessionpersist.models import LoginConfiguration
from sessionpersist.session.policy import FIELDS
from sessionpersist.upkeep.daemons import Upkeep
from sessionpersist.upkeep.lease import SITE, scope_of_node


class override_login_configuration(TestContextDecorator):  # noqa: N801 - reads like Django's override_settings
    """Put these fields of the Login Configuration in force: at once, in this process, without touching the database.

    It is a context manager, and a decorator for functions and test classes::

        with override_login_configuration(persistence_type="REDIS", redis_host="localhost"):
            client.force_login(user)

    It lasts until it is ended, in all threads; ``enable()`` and ``disable()`` begin and end it by hand. If there are
    several, the one that began last is in force. In a decorated class it is in force from ``setUpClass`` on, so in
    ``setUpTestData``, too.

    Fields that are not given have their defaults. Raises TypeError for a field that does not exist, and ValueError for
    time-outs and limits that the page would refuse.
    """

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        row = _checked(fields)
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


def _checked(fields: dict[str, Any]) -> LoginConfiguration:
    """Return a configuration with these fields. Raises TypeError, and ValueError for a policy that can't be saved."""
    configuration = LoginConfiguration(**fields)
    policy = {name: fields[name] for name in FIELDS if name in fields}
    if wrong := list(initial.problems(policy)):
        raise ValueError(" ".join(wrong))
    return configuration


def do_upkeep() -> None:
    """Do once, now and in this thread, what a site does by itself: move what is left in an old store, and clear expired
    sessions. In a test nothing of this happens otherwise.

    Raises StoreUnavailable, and NotNow where a switch is not over yet.
    """
    for scope in (SITE, scope_of_node()):
        Upkeep(scope).work()


@contextmanager
def login_configuration_of_run(**fields: Any) -> Iterator[None]:
    """Begin each test with these fields of the Login Configuration in force, in the place of ``INITIAL``.

    A test can still override them, or save others. Asks no database. Raises TypeError for a field that does not exist,
    and ValueError for time-outs and limits that the page would refuse.
    """
    _checked(fields)
    initial.replace_for_run(fields)
    snapshot.reset()
    try:
        yield
    finally:
        initial.replace_for_run(None)
        snapshot.reset()


class LoginConfigurationRunnerMixin(DiscoverRunner):
    """A test runner of Django's that begins each test with ``login_configuration`` in force::

        class Runner(LoginConfigurationRunnerMixin, DiscoverRunner):
            login_configuration = {"persistence_type": "JDBC", "jdbc_database": "default"}

    Processes of ``--parallel`` have it where they are forked. Where they are spawned, as on macOS, they only know
    ``INITIAL`` of the settings.
    """

    login_configuration: ClassVar[Mapping[str, Any]] = {}

    def setup_test_environment(self, **options: Any) -> None:
        super().setup_test_environment(**options)
        self._of_run = ExitStack()
        self._of_run.enter_context(login_configuration_of_run(**self.login_configuration))

    def teardown_test_environment(self, **options: Any) -> None:
        self._of_run.close()
        super().teardown_test_environment(**options)
