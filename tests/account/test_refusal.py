"""A login that the limit refuses, and the page that offers to end another session."""

from __future__ import annotations

from collections.abc import Iterator
from time import time
from typing import Any

import pytest
from django.contrib.auth import views
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from sessionpersist import sessions
from sessionpersist.account import refusal
from sessionpersist.testing import override_login_configuration
from tests.account.support import DESKTOP, JSON, PASSWORD, PHONE, is_logged_in, log_in, text_of

pytestmark = pytest.mark.django_db

LIMIT = reverse("sessionpersist:limit")


@pytest.fixture(autouse=True)
def one_each() -> Iterator[None]:
    with override_login_configuration(max_sessions=1, at_limit="REFUSE"):
        yield


@pytest.fixture
def laptop(ada: User) -> Client:
    return log_in(Client(headers={"User-Agent": DESKTOP}))


@pytest.fixture
def phone(laptop: Client) -> Client:
    """Refused."""
    client = Client(headers={"User-Agent": PHONE})
    answer = send(client)
    assert (answer.status_code, answer["Location"]) == (303, LIMIT)
    return client


def send(client: Client, **more: Any) -> Any:
    return client.post("/login/", {"username": "ada", "password": PASSWORD, **more})


def only_id(user: User) -> str:
    [session] = sessions.of(user)
    return session.id


def test_the_page_lists_the_sessions_and_nobody_is_logged_in(laptop: Client, phone: Client) -> None:
    text = text_of(phone.get(LIMIT))
    assert "You are logged in on too many devices" in text
    assert "Firefox" in text
    assert "Safari" not in text
    assert is_logged_in(laptop)
    assert not is_logged_in(phone)


def test_once_one_has_ended_the_login_is_completed(laptop: Client, phone: Client, ada: User) -> None:
    answer = phone.post(LIMIT, {"id": only_id(ada)})
    assert answer["Location"] == "/"
    assert is_logged_in(phone)
    assert not is_logged_in(laptop)


def test_it_leads_to_where_the_login_was_to_lead(laptop: Client, ada: User) -> None:
    phone = Client()
    send(phone, next="/account/sessions/")
    assert phone.post(LIMIT, {"id": only_id(ada)})["Location"] == "/account/sessions/"


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "/.//evil.example/", "/a/..//evil.example/"])
def test_it_leads_to_no_other_site(laptop: Client, ada: User, elsewhere: str) -> None:
    phone = Client()
    send(phone, next=elsewhere)
    assert phone.post(LIMIT, {"id": only_id(ada)})["Location"] == "/"


def test_without_an_end_it_is_refused_again(laptop: Client, phone: Client) -> None:
    assert phone.post(LIMIT, {"id": "0123456789abcdef"})["Location"] == LIMIT
    assert is_logged_in(laptop)
    assert not is_logged_in(phone)


def test_where_there_is_room_meanwhile_it_needs_no_end(laptop: Client, phone: Client) -> None:
    laptop.post("/logout/")
    assert "Log in to go on" in text_of(phone.get(LIMIT))
    assert phone.post(LIMIT)["Location"] == "/"
    assert is_logged_in(phone)


def test_a_login_that_broke_off_a_moment_ago_is_in_nobodys_way(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed, and may be about to be saved for all that anybody can know."""
    with monkeypatch.context() as patched:
        patched.delattr(views.LoginView, "get_default_redirect_url")
        assert send(Client(raise_request_exception=False)).status_code == 500
    phone = Client()
    assert send(phone)["Location"] == LIMIT
    text = text_of(phone.get(LIMIT))
    assert "was broken off" in text
    assert "these devices" not in text
    assert phone.post(LIMIT)["Location"] == "/"
    assert is_logged_in(phone)


def test_it_ends_no_session_that_nobody_has_chosen(laptop: Client, phone: Client) -> None:
    assert phone.post(LIMIT)["Location"] == LIMIT
    assert is_logged_in(laptop)


def test_it_is_good_for_one_login(laptop: Client, phone: Client, ada: User) -> None:
    phone.post(LIMIT, {"id": only_id(ada)})
    assert refusal.PENDING not in phone.session
    phone.post("/logout/")
    assert phone.post(LIMIT)["Location"] == "/login/"
    assert not is_logged_in(phone)


def test_a_node_whose_clock_is_behind_completes_it(
    laptop: Client, phone: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal, "time", lambda: time() - 2)
    assert "too many devices" in text_of(phone.get(LIMIT))
    assert phone.post(LIMIT, {"id": only_id(ada)})["Location"] == "/"
    assert is_logged_in(phone)


def test_it_is_good_for_ten_minutes(
    laptop: Client, phone: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = only_id(ada)
    monkeypatch.setattr(refusal, "time", lambda: time() + 601)
    assert phone.get(LIMIT)["Location"] == "/login/"
    assert phone.post(LIMIT, {"id": chosen})["Location"] == "/login/"
    assert is_logged_in(laptop)


def test_to_be_refused_again_prolongs_nothing(
    laptop: Client, phone: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = phone.session[refusal.PENDING]["since"]
    monkeypatch.setattr(refusal, "time", lambda: time() + 300)
    phone.post(LIMIT)
    assert phone.session[refusal.PENDING]["since"] == before


def test_to_enter_the_password_again_is_a_new_proof(phone: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    before = phone.session[refusal.PENDING]["since"]
    monkeypatch.setattr(refusal, "time", lambda: time() + 300)
    assert "no-store" in send(phone)["Cache-Control"]
    assert phone.session[refusal.PENDING]["since"] >= before + 300


@pytest.mark.parametrize("change", [{"is_active": False}, {"password": "another"}])
def test_who_may_not_log_in_any_more_or_has_another_password_does_not(
    laptop: Client, phone: Client, ada: User, change: dict[str, Any]
) -> None:
    chosen = only_id(ada)
    User.objects.filter(pk=ada.pk).update(**change)
    assert phone.post(LIMIT, {"id": chosen})["Location"] == "/login/"
    assert not is_logged_in(phone)


@pytest.mark.parametrize("others", [True, False])
def test_it_is_over_once_all_sessions_of_the_user_have_ended(
    laptop: Client, phone: Client, ada: User, others: bool
) -> None:
    sessions.end_all(ada, but=laptop.session if others else None)
    assert phone.get(LIMIT)["Location"] == "/login/"
    assert phone.post(LIMIT, {"id": "any"})["Location"] == "/login/"
    assert not is_logged_in(phone)
    assert is_logged_in(laptop) is others


def test_refused_after_all_sessions_have_ended_it_can_be_completed(
    phone: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions.end_all(ada)
    log_in(Client())
    monkeypatch.setattr(refusal, "time", lambda: time() + 2)
    send(phone)
    assert phone.post(LIMIT, {"id": only_id(ada)})["Location"] == "/"
    assert is_logged_in(phone)


@pytest.mark.parametrize("address", ["/login/", "/by-hand/"])
def test_a_session_that_somebody_else_knew_before_is_left_behind(
    laptop: Client, ada: User, settings: Settings, address: str
) -> None:
    settings.ROOT_URLCONF = "tests.account.by_hand"
    planted = Client()
    session = planted.session
    session["shop"] = 1
    session.save()
    known = str(session.session_key)
    planted.cookies["sessionid"] = known
    phone = Client()
    phone.cookies["sessionid"] = known
    answer = phone.post(address, {"username": "ada", "password": PASSWORD})
    assert (answer.status_code, answer["Location"]) == (303, LIMIT)
    assert phone.cookies["sessionid"].value != known
    assert planted.get(LIMIT)["Location"] == "/login/"
    assert not is_logged_in(phone)
    phone.post(LIMIT, {"id": only_id(ada)})
    assert is_logged_in(phone)


def test_only_the_sessions_of_that_user_can_be_ended(phone: Client, ada: User) -> None:
    bob = User.objects.create_user("bob", password=PASSWORD)
    theirs = log_in(Client(), "bob")
    assert phone.post(LIMIT, {"id": only_id(bob)})["Location"] == LIMIT
    assert is_logged_in(theirs)


def test_who_has_entered_no_password_is_sent_to_the_login(client: Client, laptop: Client) -> None:
    assert client.get(LIMIT)["Location"] == "/login/"
    assert client.post(LIMIT, {"id": "0123456789abcdef"})["Location"] == "/login/"


def test_it_takes_a_token(laptop: Client, phone: Client, ada: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = phone.cookies
    assert strict.post(LIMIT, {"id": only_id(ada)}).status_code == 403
    assert is_logged_in(laptop)


def test_what_was_ticked_counts_for_the_login_that_is_completed(ada: User) -> None:
    with override_login_configuration(max_sessions=1, at_limit="REFUSE", remember_days=30):
        log_in(Client())
        phone = Client()
        send(phone, remember="on")
        phone.post(LIMIT, {"id": only_id(ada)})
        assert phone.cookies["sessionid"]["max-age"] > 29 * 86_400


def test_the_login_of_the_admin_is_refused_in_the_same_way(laptop: Client, ada: User) -> None:
    User.objects.filter(pk=ada.pk).update(is_staff=True)
    phone, address = Client(), reverse("admin:login")
    answer = phone.post(address, {"username": "ada", "password": PASSWORD, "next": "/admin/"})
    assert answer["Location"] == LIMIT
    assert phone.post(LIMIT, {"id": only_id(ada)})["Location"] == "/admin/"


def test_clients_of_an_api_are_told(laptop: Client) -> None:
    answer = Client().post("/login/", {"username": "ada", "password": PASSWORD}, headers=JSON)
    assert answer.status_code == 403
    assert answer.json()["error"] == "session_limit_reached"


def test_a_project_without_our_pages_has_one_that_says_what_to_do(laptop: Client, settings: Settings) -> None:
    settings.ROOT_URLCONF = "tests.account.without_pages"
    answer = send(Client())
    assert answer.status_code == 403
    assert "Log out on one of your other devices" in text_of(answer)


class TestSingleSignOn:
    """A middleware logs its user in at each request, before any view."""

    @pytest.fixture(autouse=True)
    def sign_on(self, settings: Settings) -> None:
        after = settings.MIDDLEWARE.index("django.contrib.auth.middleware.AuthenticationMiddleware") + 1
        sign_on = "django.contrib.auth.middleware.RemoteUserMiddleware"
        settings.MIDDLEWARE = [*settings.MIDDLEWARE[:after], sign_on, *settings.MIDDLEWARE[after:]]
        settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.RemoteUserBackend"]

    @pytest.fixture
    def laptop(self, ada: User) -> Client:
        client = Client(REMOTE_USER="ada")
        assert is_logged_in(client)
        return client

    @pytest.fixture
    def phone(self, laptop: Client) -> Client:
        """Django takes what a middleware raises for a crash, and tells the test client so."""
        return Client(REMOTE_USER="ada", raise_request_exception=False)

    def test_a_page_leads_to_ours_which_is_shown(self, phone: Client) -> None:
        answer = phone.get("/account/sessions/")
        assert (answer.status_code, answer["Location"]) == (303, LIMIT)
        for _ in range(2):
            assert "You are logged in on too many devices" in text_of(phone.get(LIMIT))

    def test_once_one_has_ended_the_page_is_shown_that_was_asked_for(self, phone: Client, ada: User) -> None:
        phone.get("/account/sessions/?page=2")
        assert phone.post(LIMIT, {"id": only_id(ada)})["Location"] == "/account/sessions/?page=2"
        assert is_logged_in(phone)

    def test_without_an_end_it_is_refused_again(self, laptop: Client, phone: Client) -> None:
        phone.get("/")
        assert phone.post(LIMIT, {"id": "0123456789abcdef"})["Location"] == LIMIT
        assert is_logged_in(laptop)

    def test_it_takes_a_token(self, laptop: Client, phone: Client, ada: User) -> None:
        phone.get("/")
        strict = Client(REMOTE_USER="ada", raise_request_exception=False, enforce_csrf_checks=True)
        strict.cookies = phone.cookies
        assert strict.post(LIMIT, {"id": only_id(ada)}).status_code == 403
        assert is_logged_in(laptop)

    def test_clients_of_an_api_are_told(self, phone: Client) -> None:
        answer = phone.get("/", headers=JSON)
        assert (answer.status_code, answer.json()["error"]) == (403, "session_limit_reached")


def test_a_view_that_answers_a_refusal_itself_does(laptop: Client, settings: Settings) -> None:
    settings.ROOT_URLCONF = "tests.account.by_hand"
    answer = Client().get("/refused-by-the-view/")
    assert (answer.status_code, text_of(answer)) == (409, "not here")


def test_a_relative_address_leads_where_the_login_page_would_have_led(phone: Client, ada: User) -> None:
    assert send(phone, next="foo").status_code == 303
    answer = phone.post(LIMIT, {"id": only_id(ada)})
    assert (answer.status_code, answer["Location"]) == (302, "/login/foo")
    assert is_logged_in(phone)


def test_a_refused_login_is_forgotten_when_somebody_else_logs_in(
    laptop: Client, phone: Client, ada: User
) -> None:
    User.objects.create_user("grace", password=PASSWORD)
    assert phone.post("/login/", {"username": "grace", "password": PASSWORD}).status_code == 302
    answer = phone.get(LIMIT)
    assert (answer.status_code, answer["Location"]) == (302, "/login/")
    assert phone.post(LIMIT, {"id": only_id(ada)}).status_code == 302
    assert is_logged_in(laptop)
    assert phone.session["_auth_user_id"] != str(ada.pk)
