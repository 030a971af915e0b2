"""Tests that the project has since it uses this app."""

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client, SimpleTestCase, TestCase, TransactionTestCase

from sessionpersist.handover import routing
from sessionpersist.models import LoginConfiguration, Node


def in_force() -> str:
    return routing.current_settings().type


def choose(store_type: str) -> None:
    LoginConfiguration(persistence_type=store_type, jdbc_database="default").save()


class WithoutDatabaseTests(SimpleTestCase):
    def test_page_with_a_session_needs_no_database_and_warns_of_nothing(self) -> None:
        with self.assertNoLogs():
            visits = [self.client.get("/visit/").content for _ in range(3)]
        assert visits == [b"1", b"2", b"3"]

    def test_command_that_clears_sessions_needs_no_database(self) -> None:
        with self.assertNoLogs():
            call_command("clearsessions")


def test_fixture_of_pytest_needs_no_database_either(client: Client) -> None:
    """Run by pytest alone, without the mark django_db."""
    assert client.get("/visit/").content == b"1"


class InMemoryTests(TestCase):
    def test_page_of_a_user_is_the_query_for_the_user(self) -> None:
        self.client.force_login(User.objects.create_user("ada"))
        for _ in range(3):
            with self.assertNumQueries(1):
                self.client.get("/whoami/")


class SavingTests(TestCase):
    """Either test may come first: what one has saved is rolled back, and the other begins as if there were no other."""

    def save_and_look(self, store_type: str) -> None:
        assert in_force() == "IN_MEMORY"
        self.client.force_login(ada := User.objects.create_user("ada"))
        choose(store_type)
        assert in_force() == store_type
        with self.assertNumQueries(0):
            assert in_force() == store_type
        assert self.client.get("/whoami/").content.decode() == ada.username

    def test_what_a_test_saves_is_in_force_in_it(self) -> None:
        self.save_and_look("JDBC")

    def test_what_a_test_saves_is_in_force_in_it_alone(self) -> None:
        self.save_and_look("JDBC")


class SavedForTheClassTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        choose("JDBC")

    def test_it_is_in_force_in_the_first_test(self) -> None:
        assert in_force() == "JDBC"

    def test_it_is_in_force_in_the_second_test(self) -> None:
        assert in_force() == "JDBC"
        choose("IN_MEMORY")
        assert in_force() == "IN_MEMORY"

    def test_it_is_in_force_in_the_third_test(self) -> None:
        assert in_force() == "JDBC"


class SavingAndCommittingTests(TransactionTestCase):
    def save_and_look(self) -> None:
        assert in_force() == "IN_MEMORY"
        self.client.get("/visit/")
        choose("JDBC")
        assert self.client.get("/visit/").content == b"2"
        assert in_force() == "JDBC"

    def test_what_a_test_commits_is_in_force_in_it(self) -> None:
        self.save_and_look()

    def test_what_a_test_commits_is_in_force_in_it_alone(self) -> None:
        self.save_and_look()

    def test_no_process_reports_itself(self) -> None:
        for _ in range(3):
            self.client.get("/visit/")
        assert Node.objects.count() == 0
