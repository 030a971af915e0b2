"""Tests of a run that begins each of them with a store of its own choice."""

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import User
from django.test import SimpleTestCase, TestCase
from django.test.runner import DiscoverRunner

from sessionpersist.handover import routing
from sessionpersist.models import LoginConfiguration
from sessionpersist.testing import LoginConfigurationRunnerMixin, override_login_configuration

FIELDS: dict[str, Any] = {"persistence_type": "JDBC", "jdbc_database": "default", "idle_minutes": 7}


class Runner(LoginConfigurationRunnerMixin, DiscoverRunner):
    login_configuration: ClassVar[Mapping[str, Any]] = FIELDS


@pytest.fixture(scope="session")
def login_configuration_of_run() -> Mapping[str, Any]:
    return FIELDS


def in_force() -> str:
    return routing.current_settings().type


class WithoutDatabaseTests(SimpleTestCase):
    def test_it_is_in_force_and_asks_nothing(self) -> None:
        with self.assertNoLogs():
            assert in_force() == "JDBC"

    def test_another_can_be(self) -> None:
        with override_login_configuration(persistence_type="IN_MEMORY"):
            assert in_force() == "IN_MEMORY"
            assert self.client.get("/visit/").content == b"1"
        assert in_force() == "JDBC"


class SavingTests(TestCase):
    def test_what_a_test_saves_is_in_force_in_it(self) -> None:
        LoginConfiguration(persistence_type="IN_MEMORY").save()
        assert in_force() == "IN_MEMORY"

    def test_the_next_one_begins_as_all_do(self) -> None:
        assert in_force() == "JDBC"
        self.client.force_login(User.objects.create_user("ada"))
        with self.assertNumQueries(2):
            assert self.client.get("/whoami/").content == b"ada"


def test_fixture_of_pytest_puts_fields_in_force(login_configuration: Any) -> None:
    login_configuration(persistence_type="IN_MEMORY")
    assert in_force() == "IN_MEMORY"


def test_fixture_of_pytest_ends_with_its_test() -> None:
    assert in_force() == "JDBC"
