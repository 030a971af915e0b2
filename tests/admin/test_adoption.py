"""The panel of what is left at the engine used before, and its button."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.contrib.sessions.models import Session
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from sessionpersist.configuration import leftovers
from tests.admin.support import PAGE, create_staff
from tests.admin.test_page import JSON, text_of

DB, CACHE = (f"django.contrib.sessions.backends.{name}" for name in ("db", "cache"))
PROGRESS = reverse("admin:sessionpersist_loginconfiguration_progress")
ADOPT = reverse("admin:sessionpersist_loginconfiguration_adopt")
STEP_SECONDS = "sessionpersist.configuration.views.adoption.STEP_SECONDS"
REMOVABLE = "ADOPT_FROM can be removed from the settings."

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_is_counted_yet() -> None:
    leftovers.reset()


@pytest.fixture(autouse=True)
def as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is over when all have moved. On a busy machine that takes longer than half a second."""
    monkeypatch.setattr(STEP_SECONDS, 60)


@pytest.fixture
def old(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """25 sessions at Django's engine in the database; one step moves them, however busy the machine is."""
    monkeypatch.setattr("sessionpersist.configuration.views.adoption.STEP_SECONDS", 60)
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ADOPT_FROM": DB}
    for _ in range(25):
        session = DatabaseSession()
        session["cat"] = "tabby"
        session.save()


def test_a_site_that_adopts_nothing_has_no_such_panel(browser: Client) -> None:
    assert "ADOPT_FROM" not in text_of(browser.get(PAGE))
    response = browser.post(ADOPT, headers=JSON)
    assert (response.json()["moved"], response.json()["over"]) == (0, True)


@pytest.mark.usefixtures("old")
def test_it_says_how_many_are_left_from_where_to_where(browser: Client) -> None:
    text = text_of(browser.get(PROGRESS))
    assert f"From {DB} → to JDBC, database “default”" in text
    assert "25 sessions left" in text
    assert "all sessions are where they are stored now" not in text
    assert REMOVABLE not in text


@pytest.mark.usefixtures("old")
def test_the_page_itself_does_not_count(browser: Client) -> None:
    text = text_of(browser.get(PAGE))
    assert "Count what is left" in text
    assert "25 sessions left" not in text


@pytest.mark.usefixtures("old")
def test_each_step_of_the_script_moves_some_until_none_is_left(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(STEP_SECONDS, 0)
    found = [browser.post(ADOPT, headers=JSON).json() for _ in range(3)]
    assert [(each["moved"], each["left"], each["over"]) for each in found] == [
        (10, 15, False),
        (10, 5, False),
        (5, 0, True),
    ]
    assert "15 sessions left" in found[0]["facts"].replace("<strong>15</strong>", "15")
    assert REMOVABLE in found[2]["facts"]
    assert not Session.objects.exists()


@pytest.mark.usefixtures("old")
def test_without_the_script_each_press_is_a_step_that_says_what_it_has_done(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(STEP_SECONDS, 0)
        assert "10 sessions moved. Press “Move the rest now” again to go on." in said(browser)
    assert f"15 sessions moved. {REMOVABLE}" in said(browser)
    text = text_of(browser.get(PROGRESS))
    assert f"No session is left here. {REMOVABLE}" in text
    assert "Move the rest now" not in text


def said(browser: Client) -> str:
    response: Any = browser.post(ADOPT, follow=True)
    return " ".join(str(message) for message in response.context["messages"])


@pytest.mark.usefixtures("old")
def test_the_admin_s_history_says_once_that_all_have_moved(browser: Client) -> None:
    browser.post(ADOPT, headers=JSON)
    browser.post(ADOPT, headers=JSON)
    [entry] = LogEntry.objects.all()
    assert entry.get_change_message() == f"Moved the rest of the sessions out of {DB}."
    assert entry.user.username == "ada"


@pytest.mark.usefixtures("old")
def test_what_can_not_be_moved_is_told(browser: Client) -> None:
    Session.objects.filter(pk=Session.objects.earliest("pk").pk).update(session_data="damaged")
    found = browser.post(ADOPT, headers=JSON).json()
    assert (found["moved"], found["left"], found["over"]) == (24, 1, True)
    assert "1 session could not be moved" in found["message"]
    assert REMOVABLE in found["message"]


@pytest.mark.usefixtures("old")
def test_each_press_goes_on_behind_what_can_not_be_moved(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (
        Session.objects.filter(session_data__contains=":").order_by("pk").values_list("pk", flat=True)[:20]
    )
    Session.objects.filter(pk__in=list(first)).update(session_data="damaged")
    monkeypatch.setattr(STEP_SECONDS, 0)
    found = [browser.post(ADOPT, headers=JSON).json() for _ in range(4)]
    assert [(each["moved"], each["left"], each["over"]) for each in found] == [
        (0, 25, False),
        (0, 25, False),
        (5, 20, False),
        (0, 20, True),
    ]
    assert "0 sessions moved. 20 sessions could not be moved" in found[3]["message"]


@pytest.mark.usefixtures("old")
def test_one_session_is_one(browser: Client) -> None:
    Session.objects.exclude(pk=Session.objects.earliest("pk").pk).delete()
    assert browser.post(ADOPT, headers=JSON).json()["message"] == f"1 session moved. {REMOVABLE}"


@pytest.mark.usefixtures("old")
def test_an_outage_is_told_on_the_panel_and_by_the_button(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(engine: object) -> None:
        raise OperationalError("down")

    monkeypatch.setattr(leftovers, "live_rows", down)
    assert "could not be counted" in text_of(browser.get(PROGRESS))
    found = browser.post(ADOPT, headers=JSON).json()
    assert (found["state"], found["over"]) == ("failed", False)
    assert "could not be" in found["message"]


def test_an_engine_that_can_not_list_its_sessions_says_when_none_is_left(
    browser: Client, settings: Settings
) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ADOPT_FROM": CACHE}
    text = text_of(browser.get(PROGRESS))
    assert "can't list its sessions" in text
    assert "14 days" in text
    assert "Move the rest now" not in text
    assert browser.post(ADOPT, headers=JSON).json()["state"] == "failed"


@pytest.mark.usefixtures("old")
def test_who_may_only_look_sees_it_without_the_button(db: None) -> None:
    client = Client()
    client.force_login(create_staff("eve", "view_loginconfiguration"))
    text = text_of(client.get(PROGRESS))
    assert "25 sessions left" in text
    assert "Move the rest now" not in text
    assert client.post(ADOPT).status_code == 403
    assert Session.objects.count() == 25


@pytest.mark.usefixtures("old")
def test_it_is_changed_by_post_alone(browser: Client) -> None:
    assert browser.get(ADOPT).status_code == 405
    assert Session.objects.count() == 25


@pytest.mark.usefixtures("old")
def test_the_button_is_safe_from_other_sites(db: None) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(create_staff("ada", "change_loginconfiguration"))
    assert client.post(ADOPT).status_code == 403
    assert Session.objects.count() == 25
