"""How long a session still lasts, as an open page asks it, and the tag that puts the script into a page."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.urls import reverse
from pytest_django import Settings

from sessionpersist.account import timeout
from sessionpersist.session.reasons import Reason
from sessionpersist.testing import override_login_configuration
from tests.account.support import JSON, is_logged_in, log_in
from tests.engine.behaviour.time_outs import Clock, put_forward

pytestmark = pytest.mark.django_db

REMAINING, STAY = reverse("sessionpersist:remaining"), reverse("sessionpersist:stay")
MINUTE = 60_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return put_forward(monkeypatch)


def remaining(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get(REMAINING).json()
    return found


def stay(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.post(STAY).json()
    return found


def is_nearly(milliseconds: int, minutes: float) -> bool:
    return minutes * MINUTE - 5000 < milliseconds <= minutes * MINUTE


class TestRemaining:
    def test_it_is_the_time_until_the_session_has_been_idle_for_too_long(
        self, logged_in: Client, clock: Clock
    ) -> None:
        with override_login_configuration(idle_minutes=30):
            logged_in.get("/")
            assert is_nearly(remaining(logged_in)["left"], 30)
            clock.passes(20 * MINUTE)
            assert is_nearly(remaining(logged_in)["left"], 10)
            assert remaining(logged_in)["extends"]

    def test_asking_is_not_using(self, logged_in: Client, clock: Clock) -> None:
        with override_login_configuration(idle_minutes=30):
            logged_in.get("/")
            for _ in range(3):
                clock.passes(9 * MINUTE)
                assert remaining(logged_in)["user"]
            clock.passes(4 * MINUTE)
            assert remaining(logged_in)["user"] == ""

    def test_to_stay_is(self, logged_in: Client, clock: Clock) -> None:
        with override_login_configuration(idle_minutes=30):
            logged_in.get("/")
            clock.passes(29 * MINUTE)
            assert is_nearly(stay(logged_in)["left"], 30)
            clock.passes(29 * MINUTE)
            assert is_nearly(remaining(logged_in)["left"], 1)

    def test_no_use_puts_off_the_longest_time(self, ada: User, clock: Clock) -> None:
        with override_login_configuration(idle_minutes=60, absolute_hours=1):
            client = log_in(Client())
            clock.passes(45 * MINUTE)
            found = stay(client)
            assert is_nearly(found["left"], 15)
            assert not found["extends"]

    def test_whoever_is_logged_out_is_told_why(self, logged_in: Client, clock: Clock) -> None:
        with override_login_configuration(idle_minutes=30):
            logged_in.get("/")
            clock.passes(31 * MINUTE)
            found = remaining(logged_in)
        assert found["user"] == ""
        assert found["reason"] == Reason.IDLE.text

    def test_to_stay_in_a_session_that_is_over_is_no_error_and_brings_nobody_back(
        self, logged_in: Client, clock: Clock
    ) -> None:
        with override_login_configuration(idle_minutes=30):
            logged_in.get("/")
            clock.passes(31 * MINUTE)
            assert stay(logged_in)["user"] == ""
            assert "You are not logged in" in logged_in.get("/").content.decode()

    def test_to_stay_in_one_that_has_ended_a_moment_ago_says_why(
        self, logged_in: Client, clock: Clock, settings: Settings
    ) -> None:
        settings.ROOT_URLCONF = "tests.account.by_hand"
        with override_login_configuration(idle_minutes=30):
            logged_in.get("/")
            clock.passes(29 * MINUTE)
            answer = logged_in.post("/stay-overtaken/", headers=JSON)
        assert answer.status_code == 401
        assert (answer.json()["error"], answer.json()["reason"]) == ("session_ended", "by_user")
        assert not is_logged_in(logged_in)

    def test_the_token_is_one_that_is_kept_in_the_session_too(self, ada: User, settings: Settings) -> None:
        settings.CSRF_USE_SESSIONS = True
        client = Client(enforce_csrf_checks=True)
        client.force_login(ada)
        token = remaining(client)["csrf"]
        assert client.post(STAY, headers={"X-CSRFToken": token}).status_code == 200
        assert "csrf" not in remaining(Client())

    def test_nothing_ends_it_without_a_policy(self, logged_in: Client) -> None:
        assert remaining(logged_in)["left"] is None

    def test_nobody_has_no_time_and_gets_no_session(self, client: Client) -> None:
        found = remaining(client)
        assert (found["user"], found["reason"]) == ("", "")
        assert "sessionid" not in client.cookies

    def test_a_user_has_one_opaque_name_and_another_has_another(self, ada: User, client: Client) -> None:
        bob = User.objects.create_user("bob")
        laptop, phone = log_in(Client()), log_in(Client())
        client.force_login(bob)
        names = [remaining(each)["user"] for each in (laptop, phone, client)]
        assert names[0] == names[1] != names[2]
        assert re.fullmatch("[0-9a-f]{16}", names[0])

    def test_to_stay_takes_a_post_with_the_token_that_was_told(self, ada: User) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(ada)
        assert client.get(STAY).status_code == 405
        assert client.post(STAY).status_code == 403
        token = remaining(client)["csrf"]
        assert client.post(STAY, headers={"X-CSRFToken": token}).status_code == 200

    def test_no_cache_keeps_the_answer(self, logged_in: Client) -> None:
        assert "no-store" in logged_in.get(REMAINING)["Cache-Control"]


@pytest.mark.parametrize("name", ["status", "progress"])
def test_what_the_page_of_staff_asks_by_itself_is_no_use(ada: User, clock: Clock, name: str) -> None:
    User.objects.filter(pk=ada.pk).update(is_staff=True, is_superuser=True)
    address = reverse(f"admin:sessionpersist_loginconfiguration_{name}")
    with override_login_configuration(idle_minutes=30):
        client = log_in(Client())
        for expected in (200, 200, 302):
            clock.passes(11 * MINUTE)
            assert client.get(address).status_code == expected


class TestTag:
    def test_a_page_of_a_user_has_the_script_and_what_it_needs(self, logged_in: Client) -> None:
        with override_login_configuration(idle_minutes=30):
            page = logged_in.get("/").content.decode()
        assert 'src="/static/sessionpersist/account/timeout.js"' in page
        assert f'data-remaining="{REMAINING}"' in page
        assert f'data-user="{remaining(logged_in)["user"]}"' in page
        assert 'data-warning="120000"' in page

    def test_nothing_of_it_is_inline(self, logged_in: Client) -> None:
        with override_login_configuration(idle_minutes=30):
            page = logged_in.get("/").content.decode()
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script>", page)

    def test_there_is_nothing_for_nobody(self, client: Client) -> None:
        with override_login_configuration(idle_minutes=30):
            assert "sp-timeout" not in client.get("/").content.decode()

    def test_there_is_nothing_without_a_time_out(self, logged_in: Client) -> None:
        assert "sp-timeout" not in logged_in.get("/").content.decode()

    def test_a_project_without_our_pages_has_its_own_and_is_told_once(
        self, logged_in: Client, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.ROOT_URLCONF = "tests.account.without_pages"
        timeout._say_what_is_missing.cache_clear()
        with override_login_configuration(idle_minutes=30):
            pages = [logged_in.get("/timed/") for _ in range(2)]
        assert [(page.status_code, page.content) for page in pages] == [(200, b"page: ")] * 2
        assert caplog.text.count("include('sessionpersist.urls')") == 1

    def test_no_session_is_read_for_it_without_a_time_out(self) -> None:
        request = RequestFactory().get("/")  # without a session it would fail
        assert (
            Template("{% load sessionpersist %}{% session_timeout %}").render(Context({"request": request}))
            == ""
        )

    @pytest.mark.parametrize("context", [{}, {"request": RequestFactory().get("/")}])
    def test_an_error_page_without_a_request_or_a_session_has_nothing_of_it(
        self, context: dict[str, Any]
    ) -> None:
        page = Template("{% load sessionpersist %}{% session_timeout %}{% session_ended_reason %}")
        with override_login_configuration(idle_minutes=30):
            assert page.render(Context(context)) == ""

    @pytest.mark.parametrize(
        ("idle", "wished", "expected"),
        [
            (None, None, 120_000),
            (240, None, 120_000),
            (20, None, 120_000),
            (10, None, 60_000),
            (1, None, 20_000),
            (30, 300, 300_000),
            (30, 5, 20_000),
        ],
    )
    def test_it_warns_two_minutes_before_or_a_tenth_of_the_time_and_never_less_than_20_seconds(
        self, idle: int | None, wished: int | None, expected: int
    ) -> None:
        with override_login_configuration(idle_minutes=idle):
            assert timeout.warning_before(wished) == expected


class TestRemember:
    """What is ticked in the form counts for the session."""

    def test_who_ticked_the_box_has_a_cookie_that_stays(self, ada: User) -> None:
        with override_login_configuration(remember_days=30):
            cookie = log_in(Client(), remember="on").cookies["sessionid"]
        assert 29 * 86_400 < cookie["max-age"] <= 30 * 86_400

    def test_who_did_not_has_one_that_ends_with_the_browser(self, ada: User) -> None:
        with override_login_configuration(remember_days=30):
            assert log_in(Client()).cookies["sessionid"]["max-age"] == ""

    def test_who_logs_in_again_without_is_remembered_no_longer(self, ada: User) -> None:
        with override_login_configuration(remember_days=30):
            client = log_in(Client(), remember="on")
            client.post("/logout/")
            assert log_in(client).cookies["sessionid"]["max-age"] == ""


def test_the_page_after_a_login_in_a_tab_of_its_own_is_for_users(ada: User, client: Client) -> None:
    address = reverse("sessionpersist:back")
    assert client.get(address)["Location"] == f"/login/?next={address}"
    assert "Close this tab" in log_in(client).get(address).content.decode()
