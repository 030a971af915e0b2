"""The login form: a box to tick where staff have set “remember me”, and the same form in JSON."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from sessionpersist.account import wishes
from sessionpersist.account.forms import RememberLoginForm
from sessionpersist.configuration.logins import NOTE
from sessionpersist.testing import override_login_configuration
from tests.account.support import JSON, PASSWORD, log_in

pytestmark = pytest.mark.django_db


def page(client: Client) -> str:
    return client.get("/login/").content.decode()


def in_json(client: Client, **data: str) -> dict[str, Any]:
    answer = client.post("/login/", data, headers=JSON) if data else client.get("/login/", headers=JSON)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_there_is_a_box_where_remember_days_is_set(client: Client) -> None:
    with override_login_configuration(remember_days=30):
        assert "Keep me logged in on this device for 30 days" in page(client)
    with override_login_configuration(remember_days=1):
        assert "Keep me logged in on this device for 1 day<" in page(client)


def test_there_is_none_where_it_is_not(client: Client) -> None:
    assert 'type="checkbox"' not in page(client)
    assert "Keep me" not in page(client)


@pytest.mark.parametrize(
    ("days", "sent", "wish"),
    [(30, {"remember": "on"}, True), (30, {}, False), (None, {"remember": "on"}, None)],
)
def test_the_form_leaves_what_was_ticked_for_the_login(
    ada: User, days: int | None, sent: dict[str, str], wish: bool | None
) -> None:
    request = RequestFactory().post("/login/")
    with override_login_configuration(remember_days=days):
        form = RememberLoginForm(request, {"username": "ada", "password": PASSWORD, **sent})
        assert form.is_valid()
    assert wishes.found(request, ada) == wishes.Wish(str(ada.pk), wish, by_password=True)


def test_what_it_leaves_is_for_that_user_alone(ada: User) -> None:
    request = RequestFactory().post("/login/")
    assert RememberLoginForm(request, {"username": "ada", "password": PASSWORD}).is_valid()
    assert wishes.found(request, User(pk=ada.pk + 1)) is None


def test_a_wrong_password_leaves_nothing(ada: User) -> None:
    request = RequestFactory().post("/login/")
    assert not RememberLoginForm(request, {"username": "ada", "password": "wrong"}).is_valid()
    assert wishes.found(request, ada) is None


def test_the_form_works_without_a_request(ada: User) -> None:
    form = RememberLoginForm(None, {"username": "ada", "password": PASSWORD})
    assert form.is_valid()
    assert form.get_user() == authenticate(username="ada", password=PASSWORD)


def test_the_session_notes_that_the_password_was_entered_though_its_user_is_not_of_the_staff(
    ada: User,
) -> None:
    note = log_in(Client()).session[NOTE]
    assert note["user"] == str(ada.pk)
    assert note["password"] == note["login"]


def test_a_login_without_a_form_notes_nothing(ada: User, client: Client) -> None:
    client.force_login(ada)
    assert NOTE not in client.session


class TestInJson:
    def test_the_fields_are_described(self) -> None:
        with override_login_configuration(remember_days=7):
            found = in_json(Client())
        assert [(field["name"], field["type"]) for field in found["fields"]] == [
            ("username", "text"),
            ("password", "password"),
            ("remember", "checkbox"),
        ]
        assert found["fields"][0]["autocomplete"] == "username"
        assert found["csrf"]
        assert not found["done"]

    def test_a_login_is_done_and_the_session_is_the_users(self, ada: User) -> None:
        client = Client()
        assert in_json(client, username="ada", password=PASSWORD) == {"done": True}
        assert "You are logged in as" in client.get("/").content.decode()

    def test_a_wrong_password_is_an_error_and_is_not_sent_back(self, ada: User) -> None:
        found = in_json(Client(), username="ada", password="wrong-pw")
        assert "Please enter a correct username and password." in found["errors"][0]
        assert [field["value"] for field in found["fields"]] == ["ada", ""]
        assert not found["done"]

    def test_a_field_that_is_missing_has_its_error(self, ada: User) -> None:
        found = in_json(Client(), username="ada", password="")
        assert found["fields"][1]["errors"] == ["This field is required."]

    def test_a_login_without_a_csrf_token_is_refused(self, ada: User) -> None:
        client = Client(enforce_csrf_checks=True)
        answer = client.post("/login/", {"username": "ada", "password": PASSWORD}, headers=JSON)
        assert answer.status_code == 403
        assert "sessionid" not in client.cookies
