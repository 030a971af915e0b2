"""Staff enter their password again before they decide over the sessions of all users."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.core.signals import got_request_exception
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse
from django.views.debug import ExceptionReporter
from pytest_django import Settings

from sessionpersist import audit
from sessionpersist.configuration import logins, reauthentication
from sessionpersist.configuration.logins import NOTE
from sessionpersist.configuration.throttling import PASSWORDS
from sessionpersist.models import LoginConfiguration, Revision
from tests.admin.support import PAGE, TEST, create_staff, save, typed
from tests.admin.test_page import JSON
from tests.admin.test_panels import text_of_html
from tests.telemetry.reading import sentences

PASSWORD = "correct horse battery staple"
JDBC = {"persistence_type": "JDBC", "jdbc_database": "default"}
MARK = 'name="your_password"'
WRONG = "This is not your password."
TOO_OFTEN = "Too many wrong passwords. Wait 5 minutes"


@pytest.fixture(autouse=True)
def at_once(own_settings: None, settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 0, "GUARD_SECONDS": 0}


@pytest.fixture
def ada(staff: User) -> User:
    staff.set_password(PASSWORD)
    staff.save()
    return staff


@pytest.fixture
def logged_in(ada: User) -> Client:
    """By the form of the admin."""
    client = Client()
    answer = client.post(reverse("admin:login"), {"username": "ada", "password": PASSWORD, "next": PAGE})
    assert answer.status_code == 302
    return client


@pytest.fixture
def later(logged_in: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Ten minutes after the login."""
    pass_time(monkeypatch, 601)
    return logged_in


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    for module in (logins, reauthentication):
        before = vars(module)["time"]
        monkeypatch.setattr(module, "time", lambda before=before: before() + seconds)


def is_asked(client: Client) -> bool:
    """Whether the page asks for the password."""
    row = re.search(r'<div class="sp-field sp-again[^>]*>', client.get(PAGE).content.decode())
    assert row
    return "hidden" not in row[0]


def shown(response: Any) -> str:
    return text_of_html(response.content.decode())


def configured() -> str:
    return str(LoginConfiguration.get_solo().persistence_type)


class TestSaving:
    def test_shortly_after_the_login_nothing_is_asked(self, logged_in: Client) -> None:
        assert not is_asked(logged_in)
        assert save(logged_in, **JDBC).status_code == 302

    def test_later_the_page_asks_and_without_the_password_nothing_is_saved_or_tried(
        self, later: Client
    ) -> None:
        assert is_asked(later)
        response = save(later, persistence_type="REDIS", redis_host="127.0.0.1", redis_port="1")
        assert "Enter your password." in shown(response)
        assert response.context_data["form"].steps == []
        assert not Revision.objects.exists()

    def test_a_password_that_a_wrong_clock_has_dated_ahead_is_asked_for(
        self, logged_in: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pass_time(monkeypatch, -5)
        assert not is_asked(logged_in), "clocks of nodes differ"
        pass_time(monkeypatch, -86_400)
        assert is_asked(logged_in)

    def test_what_was_typed_is_still_there_but_for_passwords(self, later: Client) -> None:
        typed_in = {"redis_host": "cache.example", "redis_password": "store-pw", "your_password": "mine-pw"}
        html = save(later, persistence_type="REDIS", **typed_in).content.decode()
        assert "cache.example" in html
        assert "store-pw" not in html
        assert "mine-pw" not in html
        assert "Enter it again" in html

    def test_the_field_is_for_a_password_manager_and_has_the_focus(self, later: Client) -> None:
        [field] = re.findall(rf"<input[^>]*{MARK}[^>]*>", save(later, **JDBC).content.decode())
        for attribute in (
            'type="password"',
            'autocomplete="current-password"',
            "autofocus",
            'aria-invalid="true"',
        ):
            assert attribute in field
        assert "value=" not in field

    def test_with_the_password_it_is_saved_and_nothing_is_asked_for_ten_minutes(
        self, later: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert save(later, **JDBC, your_password=PASSWORD).status_code == 302
        assert configured() == "JDBC"
        pass_time(monkeypatch, 590)
        assert not is_asked(later)
        pass_time(monkeypatch, 20)
        assert is_asked(later)

    def test_the_session_has_a_new_key_then_and_the_old_one_leads_nowhere(self, later: Client) -> None:
        thief = Client()
        thief.cookies["sessionid"] = before = later.cookies["sessionid"].value
        assert thief.get(PAGE).status_code == 200
        save(later, **JDBC, your_password=PASSWORD)
        assert later.cookies["sessionid"].value != before
        assert later.get(PAGE).status_code == 200
        assert thief.get(PAGE).status_code == 302

    def test_a_wrong_password_saves_nothing_and_is_on_record(
        self, later: Client, ada: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "sessionpersist.audit"):
            response = save(later, **JDBC, your_password="wrong-pw")
        assert WRONG in shown(response)
        assert "wrong-pw" not in response.content.decode()
        assert not Revision.objects.exists()
        assert f"password again: wrong: user {ada.pk}, Save" in sentences(caplog.messages)
        assert "wrong-pw" not in caplog.text
        [entry] = LogEntry.objects.filter(user=ada)
        assert entry.get_change_message() == "Entered a wrong password to confirm “Save”."

    def test_colleagues_see_wrong_passwords_and_tests_in_the_history(self, later: Client) -> None:
        address = reverse("admin:sessionpersist_loginconfiguration_history", args=[1])
        save(later, **JDBC, your_password="wrong-pw")
        save(later, **JDBC, your_password=PASSWORD)
        later.post(TEST, typed(), headers=JSON)
        colleague = Client()
        colleague.force_login(create_staff("grace", "view_loginconfiguration"))
        text = shown(colleague.get(address)).partition("Attempts")[2]
        assert "ada Entered a wrong password to confirm “Save”. Login Configuration" in text
        assert "ada Tested the connection. JDBC" in text

    def test_the_password_of_somebody_else_is_wrong(self, later: Client) -> None:
        User.objects.create_user("grace", password="other-pw")
        assert WRONG in shown(save(later, **JDBC, your_password="other-pw"))

    def test_errors_of_the_fields_are_told_at_the_same_time(self, later: Client) -> None:
        response = save(later, persistence_type="REDIS", redis_host="a b")
        assert "A host has no spaces in it." in shown(response)
        assert "Enter your password." in shown(response)

    def test_a_right_one_counts_though_the_form_is_wrong(self, later: Client) -> None:
        save(later, persistence_type="REDIS", redis_host="a b", your_password=PASSWORD)
        assert save(later, **JDBC).status_code == 302

    def test_a_page_that_was_opened_before_asks_once_it_is_due(
        self, logged_in: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pass_time(monkeypatch, 590)
        due = re.search(r'hidden data-due="([\d.]+)"', logged_in.get(PAGE).content.decode())
        assert due
        assert 8 <= float(due[1]) <= 10

    def test_a_test_of_the_connection_asks_for_none(self, later: Client) -> None:
        assert later.post(TEST, typed(), headers=JSON).json()["ok"] is True

    def test_who_may_only_look_is_asked_nothing(self, db: None) -> None:
        client = Client()
        client.force_login(create_staff("eve", "view_loginconfiguration"))
        assert MARK not in client.get(PAGE).content.decode()


def abandon(client: Client, number: int, **data: str) -> Any:
    return client.post(reverse("admin:sessionpersist_loginconfiguration_abandon", args=[number]), data)


def switch_back(client: Client, number: int, **data: str) -> Any:
    edition = LoginConfiguration.get_solo().edition
    address = reverse("admin:sessionpersist_loginconfiguration_switch_back", args=[number])
    return client.post(address, {"edition": edition, **data})


class TestConfirmations:
    @pytest.mark.parametrize("name", ["abandon", "switch_back"])
    def test_the_page_asks_at_once_and_has_the_focus_there(self, name: str, later: Client) -> None:
        number = first_of_two()
        html = later.get(
            reverse(f"admin:sessionpersist_loginconfiguration_{name}", args=[number])
        ).content.decode()
        [field] = re.findall(rf"<input[^>]*{MARK}[^>]*>", html)
        assert "autofocus" in field
        assert "Enter your password." not in html

    def test_without_it_nothing_is_abandoned(self, later: Client) -> None:
        number = first_of_two()
        assert "Enter your password." in shown(abandon(later, number))
        assert WRONG in shown(abandon(later, number, your_password="wrong-pw"))
        assert Revision.objects.get(pk=number).drained_at is None

    def test_with_it_the_store_is_abandoned(self, later: Client) -> None:
        number = first_of_two()
        later.get(PAGE)  # this session moves, and is not abandoned with the rest
        assert abandon(later, number, your_password=PASSWORD).status_code == 302
        assert Revision.objects.get(pk=number).drained_how == "abandoned"
        assert later.get(PAGE).status_code == 200

    def test_without_it_nothing_is_switched_back(self, later: Client) -> None:
        number = first_of_two()
        assert "Enter your password." in shown(switch_back(later, number))
        assert WRONG in shown(switch_back(later, number, your_password="wrong-pw"))
        assert configured() == "JDBC"

    def test_with_it_it_is_switched_back(self, later: Client) -> None:
        number = first_of_two()
        assert switch_back(later, number, your_password=PASSWORD).status_code == 302
        assert configured() == "IN_MEMORY"

    def test_to_move_the_rest_asks_for_none(self, later: Client) -> None:
        address = reverse("admin:sessionpersist_loginconfiguration_drain", args=[first_of_two()])
        assert later.post(address, headers=JSON).json()["state"] == "moved"


def first_of_two() -> int:
    """From In-Memory to the database; return the number of the former, which is draining."""
    LoginConfiguration(**JDBC).save()
    Revision.objects.in_force()
    number: int = Revision.objects.get(persistence_type="IN_MEMORY").pk
    return number


class TestThrottling:
    def guess(self, client: Client) -> Any:
        return save(client, **JDBC, your_password="wrong-pw")

    def test_after_five_wrong_ones_the_right_one_has_to_wait(
        self, later: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(PASSWORDS.times):
            assert WRONG in shown(self.guess(later))
        with caplog.at_level(logging.INFO, "sessionpersist.audit"):
            response = save(later, **JDBC, your_password=PASSWORD)
        assert response.status_code == 429
        assert TOO_OFTEN in shown(response)
        assert any("not checked, too many were wrong" in line for line in sentences(caplog.messages))
        assert configured() == "IN_MEMORY"
        assert abandon(later, first_of_two(), your_password=PASSWORD).status_code == 429

    @pytest.fixture
    def guessed(self, later: Client, ada: User) -> None:
        """Five times: four of them were noted by another process."""
        for _ in range(PASSWORDS.times - 1):
            assert PASSWORDS.note(ada, "Entered a wrong password.", "JDBC")
        assert WRONG in shown(self.guess(later))

    def test_another_session_of_the_same_user_has_no_guesses_more(self, guessed: None, ada: User) -> None:
        other = Client()
        other.force_login(ada)
        assert self.guess(other).status_code == 429

    def test_another_user_is_not_held_up(self, guessed: None) -> None:
        grace = create_staff("grace", "change_loginconfiguration")
        grace.set_password("other-pw")
        grace.save()
        other = Client()
        other.force_login(grace)
        assert save(other, **JDBC, your_password="other-pw").status_code == 302

    def test_who_logs_in_again_may_save(self, guessed: None) -> None:
        """Guesses with a stolen session do not keep its owner out."""
        owner = Client()
        owner.post(reverse("admin:login"), {"username": "ada", "password": PASSWORD})
        assert save(owner, **JDBC).status_code == 302

    def test_right_ones_do_not_count(self, later: Client, settings: Settings) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "REAUTHENTICATE_SECONDS": 0}
        for _ in range(PASSWORDS.times + 1):
            assert save(later, **JDBC, your_password=PASSWORD).status_code == 302


def posted(rf: Any, data: dict[str, str]) -> Any:
    """A request whose form a view has read."""
    request = rf.post("/", data)
    request.session = {}
    assert request.POST.dict() == data
    return request


class TestTheLogin:
    def test_a_session_without_a_password_check_is_asked(self, ada: User) -> None:
        """As one that came by single sign-on."""
        client = Client()
        client.force_login(ada)
        assert is_asked(client)

    def test_a_password_in_the_request_that_is_not_the_user_s_is_none(self, ada: User, rf: Any) -> None:
        request = posted(rf, {"password": "whatever", "account-password": "else"})
        logins.note_proof(request, ada)
        assert "password" not in request.session[NOTE]

    def test_a_form_with_a_prefix_is_known(self, ada: User, rf: Any) -> None:
        request = posted(rf, {"auth-password": PASSWORD})
        logins.note_proof(request, ada)
        assert "password" in request.session[NOTE]

    def test_an_upload_that_nobody_has_read_is_left_alone(self, ada: User, rf: Any) -> None:
        request = rf.post("/", {"password": PASSWORD})
        request.session = {}
        logins.note_proof(request, ada)
        assert "password" not in request.session[NOTE]
        request.upload_handlers = []  # Django refuses this once the body has been read

    def test_what_is_noted_of_another_user_does_not_count(self, logged_in: Client, ada: User) -> None:
        session = logged_in.session
        session[NOTE] = session[NOTE] | {"user": "0"}
        session.save()
        assert is_asked(logged_in)

    def test_who_is_no_staff_has_nothing_noted_and_no_second_check(
        self, db: None, rf: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user = User.objects.create_user("visitor", password=PASSWORD)
        monkeypatch.setattr(User, "check_password", lambda *args: pytest.fail("a check takes long"))
        request = posted(rf, {"password": PASSWORD})
        logins.note_proof(request, user)
        assert request.session == {}

    def test_a_user_without_a_password_has_to_have_logged_in_lately(
        self, browser: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert MARK not in browser.get(PAGE).content.decode()
        assert save(browser, **JDBC).status_code == 302
        pass_time(monkeypatch, 601)
        assert "log out, log in again" in shown(browser.get(PAGE))
        assert "log out, log in again" in shown(save(browser, persistence_type="IN_MEMORY"))
        assert configured() == "JDBC"


class TestTheSetting:
    def test_none_turns_it_off(self, later: Client, settings: Settings) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "REAUTHENTICATE_SECONDS": None}
        assert MARK not in later.get(PAGE).content.decode()
        assert save(later, **JDBC).status_code == 302

    def test_an_hour_is_an_hour(self, later: Client, settings: Settings) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "REAUTHENTICATE_SECONDS": 3600}
        assert save(later, **JDBC).status_code == 302


class Directory(ModelBackend):
    """Passwords that are somewhere else, as in LDAP."""

    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> Any:
        return User.objects.filter(username=username).first() if password == "of-the-directory" else None


def test_the_project_s_own_backends_are_asked(later: Client, settings: Settings) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        f"{__name__}.Directory",
        "django.contrib.auth.backends.ModelBackend",
    ]
    assert save(later, **JDBC, your_password="of-the-directory").status_code == 302


PRESSES: dict[str, Callable[[Client], Any]] = {
    "save": lambda client: save(client, **JDBC, your_password=PASSWORD),
    "abandon": lambda client: abandon(client, first_of_two(), your_password=PASSWORD),
    "switch back": lambda client: switch_back(client, first_of_two(), your_password=PASSWORD),
}


@pytest.mark.parametrize("press", PRESSES)
def test_a_crash_shows_no_password_of_staff(
    press: str, later: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[str] = []

    def crash(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a fault of ours")

    def note(request: HttpRequest, **kwargs: Any) -> None:
        reports.append(ExceptionReporter(request, *sys.exc_info()).get_traceback_html())

    monkeypatch.setattr(audit, "password_again", crash)
    got_request_exception.connect(note)
    try:
        with pytest.raises(RuntimeError):
            PRESSES[press](later)
    finally:
        got_request_exception.disconnect(note)
    [report] = reports
    assert "your_password" in report
    assert PASSWORD not in report
