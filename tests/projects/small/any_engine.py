"""Tests of the project from when it had Django's own engine, on its database. They hold with this one on it too."""

from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from django.test import TestCase, TransactionTestCase


class PageTests(TestCase):
    ada: ClassVar[User]

    @classmethod
    def setUpTestData(cls) -> None:
        cls.ada = User.objects.create_user("ada")

    def test_page_without_a_session(self) -> None:
        for _ in range(3):
            with self.assertNumQueries(0):
                self.client.get("/plain/")

    def test_page_of_a_user_is_one_query_for_the_session_and_one_for_the_user(self) -> None:
        self.client.force_login(self.ada)
        for _ in range(3):
            with self.assertNumQueries(2):
                assert self.client.get("/whoami/").content == b"ada"

    def test_cookie_of_nobody_is_one_query(self) -> None:
        self.client.cookies[settings.SESSION_COOKIE_NAME] = "akeythatnobodyhas"
        with self.assertNumQueries(1):
            self.client.get("/whoami/")


class CommittingTests(TransactionTestCase):
    def test_pages_that_commit(self) -> None:
        self.client.force_login(User.objects.create_user("ada"))
        for path, queries in (("/plain/", 0), ("/whoami/", 2)) * 3:
            with self.assertNumQueries(queries):
                self.client.get(path)
