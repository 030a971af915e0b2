"""What somebody is told whose session is over."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from sessionpersist import sessions
from sessionpersist.session.reasons import Reason
from sessionpersist.testing import override_login_configuration
from tests.account.support import JSON, is_logged_in, log_in, text_of

pytestmark = pytest.mark.django_db

COOKIE = "sessionid_ended"
HERE = reverse("sessionpersist:sessions")  # a page for users


def shown_at_login(client: Client) -> str:
    """The reason that the login page shows, "" for none."""
    text = text_of(client.get("/login/"))
    return text.partition('role="status">')[2].partition("<")[0]


class TestLoginPage:
    @pytest.mark.parametrize("reason", [Reason.BY_USER, Reason.BY_STAFF, Reason.PASSWORD_CHANGED])
    def test_it_says_why_after_a_page_for_users_has_led_there(
        self, logged_in: Client, ada: User, reason: Reason
    ) -> None:
        sessions.end_all(ada, reason=reason)
        assert logged_in.get(HERE)["Location"] == f"/login/?next={HERE}"
        assert shown_at_login(logged_in) == reason.text

    def test_it_says_why_to_whoever_goes_there_at_once(self, logged_in: Client, ada: User) -> None:
        sessions.end_all(ada, reason=Reason.BY_STAFF)
        assert shown_at_login(logged_in) == Reason.BY_STAFF.text

    def test_it_says_that_another_device_has_taken_the_place(self, ada: User) -> None:
        with override_login_configuration(max_sessions=1):
            laptop, phone = log_in(Client()), log_in(Client())
            assert shown_at_login(laptop) == Reason.SIGNED_IN_ELSEWHERE.text
            assert is_logged_in(phone)

    def test_of_a_session_that_is_simply_not_there_it_says_what_is_likely(self, ada: User) -> None:
        client = Client()
        client.cookies["sessionid"] = "a" * 32
        with override_login_configuration(idle_minutes=30):
            assert shown_at_login(client) == Reason.IDLE.text
        other = Client()
        other.cookies["sessionid"] = "a" * 32
        assert shown_at_login(other) == Reason.EXPIRED.text

    def test_it_says_nothing_to_whoever_has_logged_out(self, logged_in: Client) -> None:
        logged_in.post("/logout/")
        assert COOKIE not in logged_in.cookies
        assert shown_at_login(logged_in) == ""

    def test_it_says_nothing_to_a_visitor(self, client: Client) -> None:
        assert shown_at_login(client) == ""
        assert COOKIE not in client.cookies

    def test_after_the_next_login_the_reason_is_forgotten(self, logged_in: Client, ada: User) -> None:
        sessions.end_all(ada, reason=Reason.BY_STAFF)
        logged_in.get(HERE)
        assert logged_in.cookies[COOKIE].value == str(int(Reason.BY_STAFF))
        log_in(logged_in)
        assert logged_in.cookies[COOKIE].value == ""
        assert is_logged_in(logged_in)

    @pytest.mark.parametrize("forged", ["", "abc", "-1", "²", "1" * 5000, "<script>"])
    def test_what_is_no_reason_is_none(self, client: Client, forged: str) -> None:
        client.cookies[COOKIE] = forged
        assert shown_at_login(client) == ""

    def test_a_reason_of_a_later_release_is_one_that_is_unknown(self, client: Client) -> None:
        client.cookies[COOKIE] = "250"
        assert shown_at_login(client) == Reason.UNKNOWN.text


def test_the_cookie_has_the_flags_of_the_session_cookie_and_is_never_for_scripts(
    logged_in: Client, ada: User, settings: Settings
) -> None:
    sessions.end_all(ada)
    settings.SESSION_COOKIE_SECURE, settings.SESSION_COOKIE_SAMESITE = True, "Strict"
    settings.SESSION_COOKIE_HTTPONLY, settings.SESSION_COOKIE_PATH = False, "/account/"
    cookie = logged_in.get(HERE).cookies[COOKIE]
    flags = ("secure", "httponly", "samesite", "path", "max-age")
    assert [cookie[flag] for flag in flags] == [True, True, "Strict", "/account/", 600]


class TestInterrupted:
    """A session that is ended while its page is being made."""

    @pytest.fixture(autouse=True)
    def addresses(self, settings: Settings) -> None:
        settings.ROOT_URLCONF = "tests.account.by_hand"

    @pytest.mark.parametrize("address", ["/overtaken/", "/overtaken-in-the-view/"])
    def test_a_page_leads_to_the_login_which_says_why(self, logged_in: Client, address: str) -> None:
        answer = logged_in.get(f"{address}?page=2")
        assert answer.status_code == 303
        assert answer["Location"] == f"/login/?next={address.replace('/', '%2F')}%3Fpage%3D2"
        assert logged_in.cookies["sessionid"].value == ""
        assert shown_at_login(logged_in) == Reason.BY_USER.text

    @pytest.mark.parametrize("address", ["/overtaken/", "/overtaken-in-the-view/"])
    def test_a_client_of_an_api_is_told_so(self, logged_in: Client, address: str) -> None:
        answer = logged_in.get(address, headers=JSON)
        assert answer.status_code == 401
        assert answer.json() == {
            "error": "session_ended",
            "reason": "by_user",
            "message": str(Reason.BY_USER.text),
        }

    @pytest.mark.parametrize("address", ["/overtaken/", "/overtaken-in-the-view/"])
    def test_a_form_that_was_sent_is_answered_by_a_page_that_is_nobodys(
        self, logged_in: Client, address: str
    ) -> None:
        answer = logged_in.post(address)
        text = text_of(answer)
        assert answer.status_code == 403
        assert str(Reason.BY_USER.text) in text
        assert "what nobody may read" not in text
        assert "Log out" not in text
        assert logged_in.cookies["sessionid"].value == ""
        assert answer["Cache-Control"] == "no-store"

    def test_another_session_that_a_view_could_not_save_logs_nobody_out(self, logged_in: Client) -> None:
        with pytest.raises(UpdateError):
            logged_in.get("/another/")
        assert is_logged_in(logged_in)
