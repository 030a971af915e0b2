"""Run by Django's own test runner, as the project's tests."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.test import Client, TestCase

from sessionpersist import sessions
from sessionpersist.testing import override_login_configuration


class Neighbours(TestCase):
    def setUp(self) -> None:
        self.ada = User.objects.create_user("ada", "ada@example.org", "secret")
        self.boss = User.objects.create_superuser("boss", "boss@example.org", "secret")
        for user in (self.ada, self.boss):  # who may have the primary key of somebody in the test before
            sessions.end_all(user)

    def log_in(self, name: str) -> Client:
        client = Client()
        client.post("/accounts/login/", {"login": name, "password": "secret"})
        return client

    def assert_is(self, client: Client, name: str) -> None:
        assert client.get("/who/").content.decode() == name

    def test_logins_and_logouts_of_allauth_are_listed(self) -> None:
        one, other = self.log_in("ada"), self.log_in("ada")
        assert len(sessions.of(self.ada)) == 2
        one.post("/accounts/logout/")
        self.assert_is(one, "AnonymousUser")
        self.assert_is(other, "ada")
        assert len(sessions.of(self.ada)) == 1

    def test_a_login_of_allauth_that_is_refused_is_completed_on_our_page(self) -> None:
        with override_login_configuration(max_sessions=1, at_limit="REFUSE"):
            one, other = self.log_in("ada"), self.log_in("ada")
            self.assert_is(other, "AnonymousUser")
            [listed] = sessions.of(self.ada)
            done = other.post("/account/sessions/limit/", {"id": listed.id})
            assert (done.status_code, done["Location"]) == (302, "/who/")
            self.assert_is(one, "AnonymousUser")
            self.assert_is(other, "ada")

    def test_whoever_acts_as_a_user_is_listed_as_that_user_until_they_stop(self) -> None:
        self.log_in("ada")
        staff = self.log_in("boss")
        staff.post("/hijack/acquire/", {"user_pk": self.ada.pk})
        self.assert_is(staff, "ada")
        assert (len(sessions.of(self.ada)), len(sessions.of(self.boss))) == (2, 0)
        staff.post("/hijack/release/")
        self.assert_is(staff, "boss")
        assert (len(sessions.of(self.ada)), len(sessions.of(self.boss))) == (1, 1)
