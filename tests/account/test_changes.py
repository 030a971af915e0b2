"""A new password, an account that is switched off or deleted: the user's other sessions end, and say why."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from sessionpersist import sessions
from sessionpersist.engine import SessionStore
from sessionpersist.middleware import SessionMiddleware
from sessionpersist.session.reasons import Reason
from sessionpersist.testing import override_login_configuration

pytestmark = pytest.mark.django_db

NEW = "another-pass-word-2"


@pytest.fixture
def ada() -> User:
    return User.objects.create_superuser("ada", password="a-pass-word-1")


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def key_of(client: Client) -> str:
    return str(client.cookies[settings.SESSION_COOKIE_NAME].value)


def reason_of(client: Client) -> Reason | None:
    session = SessionStore(key_of(client))
    return None if session.load() else session.ended_reason


def change_password(user: User) -> None:
    user.set_password(NEW)
    user.save()


def test_a_new_password_ends_all_sessions_of_the_user_and_of_no_other(ada: User) -> None:
    mine, others = [logged_in(ada), logged_in(ada)], logged_in(User.objects.create_user("bob"))
    change_password(ada)
    assert [reason_of(client) for client in mine] == [Reason.PASSWORD_CHANGED] * 2
    assert sessions.of(ada) == []
    assert SessionStore(key_of(others)).load()


def test_the_one_in_which_it_was_changed_goes_on(ada: User) -> None:
    here, there = logged_in(ada), logged_in(ada)
    fields = {"old_password": "a-pass-word-1", "new_password1": NEW, "new_password2": NEW}
    assert here.post("/admin/password_change/", fields).status_code == 302
    assert here.get("/admin/").status_code == 200
    assert reason_of(there) is Reason.PASSWORD_CHANGED
    assert [each.current for each in sessions.of(ada, current=SessionStore(key_of(here)))] == [True]


@pytest.mark.django_db(transaction=True)
def test_so_does_one_that_the_view_has_put_into_its_request(ada: User) -> None:
    """As allauth does for apps, whose requests name their session in a header and come with no cookie. The change may
    be committed after the view has taken it back."""
    here, there = logged_in(ada), logged_in(ada)

    def view(request: HttpRequest) -> HttpResponse:
        with transaction.atomic():
            own, request.session, request.user = request.session, SessionStore(key_of(here)), ada
            change_password(ada)
            update_session_auth_hash(request, ada)
            request.session.save()
            key, request.session = request.session.session_key, own
        return HttpResponse(key)

    response: Any = SessionMiddleware(view)(RequestFactory().post("/"))
    assert SessionStore(response.content.decode()).load()
    assert reason_of(there) is Reason.PASSWORD_CHANGED


def test_staff_who_change_the_password_of_another_user_stay(ada: User) -> None:
    bob = User.objects.create_user("bob")
    staff, theirs = logged_in(ada), logged_in(bob)
    fields = {"password1": NEW, "password2": NEW, "usable_password": "true"}
    assert staff.post(f"/admin/auth/user/{bob.pk}/password/", fields).status_code == 302
    assert staff.get("/admin/").status_code == 200
    assert reason_of(theirs) is Reason.PASSWORD_CHANGED


def test_an_account_that_is_switched_off_has_no_sessions_left(ada: User) -> None:
    client = logged_in(ada)
    ada.is_active = False
    ada.save(update_fields=["is_active"])
    assert reason_of(client) is Reason.ACCOUNT_OFF


@pytest.mark.django_db(transaction=True)
def test_a_user_who_is_deleted_has_none_either(ada: User) -> None:
    client = logged_in(ada)
    ada.delete()
    assert reason_of(client) is Reason.ACCOUNT_OFF


def by_a_queryset(user: User) -> None:
    User.objects.filter(pk=user.pk).update(first_name="Ada")


def another_field(user: User) -> None:
    user.first_name = "Ada"
    user.save()


def a_login(user: User) -> None:
    user.save(update_fields=["last_login"])


def a_newer_hash(user: User) -> None:
    """As Django has it where PASSWORD_HASHERS has changed."""
    newer = ["django.contrib.auth.hashers.ScryptPasswordHasher", *settings.PASSWORD_HASHERS]
    with override_settings(PASSWORD_HASHERS=newer):
        assert user.check_password("a-pass-word-1")
    user.refresh_from_db()
    assert user.password.startswith("scrypt")


@pytest.mark.parametrize("change", [by_a_queryset, another_field, a_login, a_newer_hash])
def test_any_other_change_ends_none(ada: User, change: Callable[[User], None]) -> None:
    logged_in(ada)
    change(ada)
    assert len(sessions.of(ada)) == 1


@pytest.mark.parametrize("password", [make_password(NEW), make_password(None)], ids=["another", "none"])
def test_a_hash_that_is_written_by_itself_ends_them(ada: User, password: str) -> None:
    client = logged_in(ada)
    ada.password = password
    ada.save(update_fields=["password"])
    assert reason_of(client) is Reason.PASSWORD_CHANGED


def test_what_is_rolled_back_ends_none(ada: User) -> None:
    logged_in(ada)
    with transaction.atomic():
        change_password(ada)
        assert len(sessions.of(ada)) == 1
        transaction.set_rollback(True)
    assert len(sessions.of(ada)) == 1


def test_a_login_pays_no_query_for_it(ada: User) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        ada.save(update_fields=["last_login"])
    assert len(queries) == 1


def test_where_nothing_is_listed_nobody_looks(ada: User, settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ROSTER": False}
    sessions.are_listed()  # reads what is configured
    with CaptureQueriesContext(connection) as queries:
        change_password(ada)
    assert len(queries) == 1


def test_a_store_that_is_down_keeps_nobody_from_a_new_password(
    ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    nobody_there = {"persistence_type": "REDIS", "redis_host": "127.0.0.1", "redis_port": 1}
    with override_login_configuration(**nobody_there), caplog.at_level(logging.ERROR, "sessionpersist"):
        change_password(ada)
    ada.refresh_from_db()
    assert ada.check_password(NEW)
    assert "could not be ended" in caplog.text
