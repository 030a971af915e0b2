"""The page “Sessions”: logging everybody out."""

from __future__ import annotations

import logging
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from sessionpersist import sessions
from sessionpersist.handover import snapshot
from sessionpersist.models import LIVE, Node
from tests.admin.support import PAGE, create_staff
from tests.admin.test_sessions import LOGIN, OVERVIEW, logged_in
from tests.admin.test_sessions import lives as is_there
from tests.telemetry.reading import sentences

pytestmark = pytest.mark.django_db

EVERYBODY = reverse("admin:sessionpersist_sessions_everybody")
MAY = ("view_sessions", "end_all_sessions")


@pytest.fixture(autouse=True)
def at_once(own_settings: None, settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 0, "GUARD_SECONDS": 0}


@pytest.fixture
def grace(db: None) -> User:
    return User.objects.create_user("grace.hopper")


@pytest.fixture
def warden(db: None) -> Client:
    """Staff who may log everybody out."""
    return logged_in(create_staff("warden", *MAY))


def lives(client: Client) -> bool:
    snapshot.expire()
    return is_there(client)


def test_a_confirmation_says_what_it_means_and_ends_nothing(warden: Client, grace: User) -> None:
    hers = logged_in(grace)
    assert EVERYBODY in warden.get(OVERVIEW).text
    page = warden.get(EVERYBODY).text
    assert "Every session ends, on every node: those of all users, and yours, too." in page
    assert "This cannot be undone." in page
    assert lives(hers)


def test_nodes_that_know_nothing_of_it_are_named(warden: Client) -> None:
    Node.objects.create(name="new", process=1, revision=1)
    Node.objects.create(name="upgraded", process=1, revision=1, sealing=2, seen_at=Now() - 2 * LIVE)
    Node.objects.create(name="upgraded", process=2, revision=1)
    assert "older release" not in warden.get(EVERYBODY).text
    Node.objects.create(name="of 0.2.0", process=1, revision=1, sealing=1)
    Node.objects.create(name="of 0.3.0", process=1, revision=1, sealing=2)
    assert "An older release still runs on of 0.2.0, of 0.3.0." in warden.get(EVERYBODY).text


def test_all_are_logged_out(warden: Client, grace: User, caplog: pytest.LogCaptureFixture) -> None:
    hers = logged_in(grace)
    with caplog.at_level(logging.INFO, "sessionpersist.audit"):
        assert warden.post(EVERYBODY).headers["Location"] == OVERVIEW
    assert not lives(hers)
    assert not lives(warden)
    assert LogEntry.objects.get().get_change_message() == "Logged everybody out."
    assert any(
        line.startswith("everybody logged out: by warden, In-Memory") for line in sentences(caplog.messages)
    )
    page = logged_in(create_staff("viewer", "view_sessions")).get(OVERVIEW).text
    assert re.search(r"Everybody was last logged out <time [^>]+>\d+ s ago</time>, by warden\.", page)
    assert EVERYBODY not in page


@pytest.mark.parametrize(
    "held", [(), ("view_sessions", "end_sessions"), ("end_all_sessions",), ("change_loginconfiguration",)]
)
def test_nobody_does_it_without_the_permission(grace: User, held: tuple[str, ...]) -> None:
    hers, client = logged_in(grace), logged_in(create_staff("other", *held))
    assert client.get(EVERYBODY).status_code == 403
    assert client.post(EVERYBODY).status_code == 403
    assert lives(hers)
    assert not LogEntry.objects.exists()


def test_nobody_does_it_without_csrf_or_a_login(grace: User) -> None:
    hers = logged_in(grace)
    client = logged_in(create_staff("warden", *MAY), enforce_csrf_checks=True)
    assert client.post(EVERYBODY).status_code == 403
    assert Client().post(EVERYBODY).headers["Location"].startswith(LOGIN)
    assert lives(hers)


def test_the_configuration_shows_when_it_will_be_and_when_it_was(settings: Settings, grace: User) -> None:
    client = logged_in(create_staff("ada", "change_loginconfiguration", *MAY))
    at_once = settings.SESSIONPERSIST
    settings.SESSIONPERSIST = {**at_once, "ACTIVATION_SECONDS": 60}
    assert "Everybody is logged out at " in client.post(EVERYBODY, follow=True).text
    soon = re.compile(r"Everybody is logged out <time [^>]+>in (\d+ s|1 min)</time>")
    page = client.get(PAGE).text
    assert soon.search(page)
    assert "Switches to" not in page
    assert soon.search(client.get(OVERVIEW).text)

    settings.SESSIONPERSIST = at_once
    sessions.end_everybody(ended_by="grace")
    snapshot.expire()
    page = logged_in(grace_as_staff(grace)).get(PAGE).text
    assert re.search(r"everybody was logged out <time [^>]+>\d+ s ago</time>", page)
    assert "Everybody is logged out " not in page
    assert "switch-back" not in page


def grace_as_staff(grace: User) -> User:
    grace.is_staff = grace.is_superuser = True
    grace.save()
    return grace
