"""The section "Session time-outs and limits" of the page."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation
from pytest_django import Settings

from sessionpersist.configuration import probing
from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.configuration.panels.history import read_history
from sessionpersist.handover import snapshot
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.session.policy import FIELDS, MINUTE
from tests.admin.support import PAGE, TEST, create_staff, errors_of, save, saved_state, typed
from tests.servers.places import free_port
from tests.sizes import first_of_each
from tests.telemetry.reading import sentences

pytestmark = pytest.mark.django_db

ALL = {
    "idle_minutes": 30,
    "absolute_hours": 12,
    "remember_days": 14,
    "max_sessions": 3,
    "at_limit": "REFUSE",
}


@pytest.fixture
def nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a store was tried")

    monkeypatch.setattr(probing, "probe", refuse)


@pytest.fixture
def redis_that_is_gone() -> None:
    """In force, and nobody listens there."""
    LoginConfiguration(
        persistence_type="REDIS", redis_host="127.0.0.1", redis_port=free_port(), redis_password="s3cret"
    ).save()


def saved_policy() -> dict[str, Any]:
    row = LoginConfiguration.objects.get()
    return {name: getattr(row, name) for name in FIELDS}


class TestSaving:
    @pytest.mark.usefixtures("nothing_is_tried")
    def test_all_fields_are_saved_without_trying_the_store(self, browser: Client) -> None:
        response = browser.post(PAGE, typed(**ALL), follow=True)
        assert saved_policy() == ALL
        assert "The time-outs and limits are in force on every node within 5 s." in response.text

    @pytest.mark.usefixtures("nothing_is_tried", "redis_that_is_gone")
    def test_a_store_that_is_down_stays_in_force_with_its_password(self, browser: Client) -> None:
        before = Revision.objects.latest("pk")
        assert save(browser, idle_minutes=30).status_code == 302
        after = Revision.objects.latest("pk")
        assert (after.pk, after.store_settings()) == (before.pk, before.store_settings())
        row = LoginConfiguration.get_solo()
        assert (row.redis_password, row.idle_minutes) == ("s3cret", 30)

    @pytest.mark.usefixtures("nothing_is_tried", "redis_that_is_gone")
    def test_a_store_that_could_not_be_chosen_any_more_is_in_nobodys_way(
        self, browser: Client, settings: Settings
    ) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ALLOWED_STORE_HOSTS": ["redis.example.org"]}
        assert save(browser, idle_minutes=30).status_code == 302
        assert LoginConfiguration.get_solo().redis_host == "127.0.0.1"

    def test_with_another_store_that_one_is_tried(self, browser: Client) -> None:
        port = free_port()
        response = save(
            browser, idle_minutes=30, persistence_type="REDIS", redis_host="127.0.0.1", redis_port=port
        )
        assert "redis_port" in errors_of(response)
        assert LoginConfiguration.get_solo().idle_minutes is None

    def test_what_was_changed_other_than_by_saving_is_tried(self, browser: Client) -> None:
        """Saving would put it in force."""
        LoginConfiguration().save()
        LoginConfiguration.objects.update(
            persistence_type="REDIS", redis_host="127.0.0.1", redis_port=free_port()
        )
        assert "redis_port" in errors_of(save(browser, idle_minutes=30))

    def test_it_is_in_force_at_once_where_it_was_saved(self, browser: Client) -> None:
        save(browser, idle_minutes=30)
        snapshot.expire()
        assert snapshot.current().policy.idle == 30 * MINUTE

    def test_an_empty_field_is_as_django_has_it(self, browser: Client) -> None:
        LoginConfiguration(**ALL).save()
        emptied = {"idle_minutes": "", "absolute_hours": "", "remember_days": "", "max_sessions": ""}
        assert save(browser, **emptied).status_code == 302
        unset = {"idle_minutes": None, "absolute_hours": None, "remember_days": None, "max_sessions": -1}
        assert saved_policy() == unset | {"at_limit": "REFUSE"}

    def test_a_form_that_somebody_else_overtook_is_refused(self, browser: Client) -> None:
        data = typed(idle_minutes=30)
        LoginConfiguration(idle_minutes=5).save()
        assert "__all__" in errors_of(browser.post(PAGE, data))
        assert saved_policy()["idle_minutes"] == 5

    @pytest.mark.usefixtures("nothing_is_tried")
    def test_an_entered_policy_does_not_count_as_a_test_of_the_store(self, browser: Client) -> None:
        for minutes in range(1, 15):
            assert save(browser, idle_minutes=minutes).status_code == 302


class TestRecords:
    def test_the_history_names_the_fields_and_no_store(self, browser: Client) -> None:
        save(browser, idle_minutes=30, at_limit="REFUSE")
        said = LogEntry.objects.latest("pk").get_change_message()
        assert said == "Changed Idle time-out (minutes) and At a further login."

    def test_the_history_says_who_changed_what_from_what_to_what(self, browser: Client) -> None:
        LoginConfiguration(idle_minutes=30).save(saved_by="eve")
        save(browser, idle_minutes="", max_sessions=3, at_limit="REFUSE")
        newest, first = read_history()
        assert (first.saved_by, first.before, first.after) == (
            "eve",
            "Idle time-out (minutes): \N{EN DASH}",
            "Idle time-out (minutes): 30",
        )
        assert (newest.saved_by, newest.back_to) == ("ada", None)
        assert newest.before.splitlines() == [
            "Idle time-out (minutes): 30",
            "Sessions per user: no limit",
            "At a further login: End the user's least recently used session",
        ]
        page = browser.get(PAGE).text
        assert (
            "Idle time-out (minutes): \N{EN DASH}<br>Sessions per user: 3<br>At a further login: Refuse"
            in page
        )
        assert "No change yet." not in page

    def test_a_long_time_is_told_in_a_larger_unit_too(self, browser: Client) -> None:
        save(browser, idle_minutes=10080, absolute_hours=36)
        with translation.override("de"):
            [change] = read_history()
        assert change.after.splitlines() == [
            "Zeitlimit bei Untätigkeit (Minuten): 10080 (7 Tage)",
            "Längste Sitzung (Stunden): 36",
        ]

    def test_the_history_has_it_among_the_changes_of_the_store(self) -> None:
        store = {"persistence_type": "JDBC", "jdbc_database": "default"}
        LoginConfiguration(idle_minutes=30).save()
        LoginConfiguration(**store, idle_minutes=30).save()
        LoginConfiguration(**store, idle_minutes=5).save()
        assert [bool(change.outcome) for change in read_history()] == [False, True, False]

    def test_what_was_saved_and_is_no_change_is_not_in_the_history(self, browser: Client) -> None:
        save(browser, **ALL)
        LoginConfiguration(**ALL).save()
        assert len(read_history()) == 1

    def test_the_history_begins_with_what_initial_said(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "INITIAL": {"idle_minutes": 10}}
        LoginConfiguration(idle_minutes=5).save()
        [change] = read_history()
        assert change.before == "Idle time-out (minutes): 10"

    def test_the_audit_log_has_the_policy(self, browser: Client, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "sessionpersist.audit"):
            save(browser, **ALL)
        assert (
            "saved time-outs and limits: by ada, idle 30 minutes, absolute 12 hours, remember 14 days, at most 3 "
            "sessions a user, REFUSE" in sentences(caplog.messages)
        )


SPANS = {"idle_minutes": "52,596,000", "absolute_hours": "876,600", "remember_days": "36,525"}
NUMBERS = [
    *(
        (field, value, f"Enter a whole number from 1 to {largest}, or leave this empty.")
        for field, largest in SPANS.items()
        for value in ("0", "-1", "1.5", "½", "soon", "1e3", "99999999999", "9" * 5000, "\x00")
    ),
    *(
        ("max_sessions", value, "Enter -1 for no limit, or 1 or more, up to 200.")
        for value in ("0", "-2", "1.5", "many", "201", "9" * 5000)
    ),
]


class TestBadInput:
    @pytest.mark.parametrize(("field", "value", "message"), NUMBERS)
    def test_the_form_refuses_what_is_no_number_within_bounds(
        self, field: str, value: str, message: str
    ) -> None:
        assert LoginConfigurationForm(typed(**{field: value})).errors == {field: [message]}

    @pytest.mark.parametrize(("field", "value", "message"), first_of_each(NUMBERS, lambda case: case[0]))
    def test_what_is_none_is_told_on_the_page(
        self, browser: Client, field: str, value: str, message: str
    ) -> None:
        before = saved_state()
        assert errors_of(save(browser, **{field: value})) == {field: [message]}
        assert saved_state() == before

    def test_a_choice_that_there_is_not(self, browser: Client) -> None:
        assert list(errors_of(save(browser, at_limit="EVERYBODY"))) == ["at_limit"]

    def test_a_test_of_the_connection_leaves_it_aside(self, browser: Client) -> None:
        response = browser.post(TEST, typed(idle_minutes="soon"), headers={"accept": "application/json"})
        assert response.json()["ok"]
        again = browser.post(TEST, typed(idle_minutes="soon"))
        assert 'value="soon"' in again.text


class TestWhatIsShown:
    def test_what_empty_means_has_its_figure(self, browser: Client, settings: Settings) -> None:
        settings.SESSION_COOKIE_AGE = 5400
        page = browser.get(PAGE).text
        assert "90 minutes after the last change to the session" in page
        assert "the cookie stays for 90 minutes" in page
        settings.SESSION_SAVE_EVERY_REQUEST = settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
        page = browser.get(PAGE).text
        assert "90 minutes after the last request" in page
        assert "the session ends with the browser" in page

    def test_the_page_says_that_a_limit_holds_for_each_node_in_memory(self, browser: Client) -> None:
        assert "the limit of sessions holds on each node by itself" in browser.get(PAGE).text

    def test_who_may_only_view_sees_it_and_changes_nothing(self, staff: User) -> None:
        LoginConfiguration(**ALL).save()
        client = Client()
        client.force_login(create_staff("eve", "view_loginconfiguration"))
        page = client.get(PAGE).text
        assert "<dt>Idle time-out (minutes)</dt><dd>30</dd>" in page
        assert 'name="idle_minutes"' not in page
        assert client.post(PAGE, typed(idle_minutes=5)).status_code == 403
        assert saved_policy() == ALL


class TestInitial:
    def test_it_holds_until_somebody_saves(self, settings: Settings, browser: Client) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "INITIAL": {"idle_minutes": 10}}
        snapshot.reset()
        assert snapshot.current().policy.idle == 10 * MINUTE
        assert browser.get(PAGE).context["form"].policy["idle_minutes"].value() == 10
        assert save(browser, idle_minutes="").status_code == 302
        snapshot.expire()
        assert snapshot.current().policy.idle is None
