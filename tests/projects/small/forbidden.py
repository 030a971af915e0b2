"""Tests that may not ask the database, and sessions that are in it."""

import pytest
from django.test import Client, SimpleTestCase, TestCase

from sessionpersist.testing import override_login_configuration

in_database = override_login_configuration(persistence_type="JDBC", jdbc_database="default")


class WithoutDatabaseTests(SimpleTestCase):
    @in_database
    def test_page_with_a_session_fails_as_django_says_and_no_outage_is_noted(self) -> None:
        for _ in range(9):
            with (
                self.assertNoLogs("sessionpersist"),
                pytest.raises(AssertionError, match="not allowed in SimpleTestCase"),
            ):
                self.client.get("/visit/")


class WithDatabaseTests(TestCase):
    @in_database
    def test_page_with_a_session_works(self) -> None:
        assert self.client.get("/visit/").content == b"1"


def test_of_pytest_fails_as_it_says(client: Client) -> None:
    with in_database:
        for _ in range(9):
            with pytest.raises(RuntimeError, match="django_db"):
                client.get("/visit/")
