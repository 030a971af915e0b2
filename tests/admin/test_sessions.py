"""The page “Sessions”: who is signed in where, and ending it."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from sessionpersist import sessions
from sessionpersist.engine import SessionStore
from sessionpersist.handover import snapshot
from sessionpersist.models import LoginConfiguration
from sessionpersist.session.reasons import Reason
from sessionpersist.session.sealing import stored_key
from tests.admin.support import create_staff
from tests.servers.places import free_port
from tests.telemetry.reading import sentences

pytestmark = pytest.mark.django_db

OVERVIEW = reverse("admin:sessionpersist_sessions_changelist")
LOGIN = reverse("admin:login")
HOME = reverse("admin:index")
PASSWORD = "compiler-1952"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
ALL = ("view_sessions", "end_sessions")


def page_of(user: User) -> str:
    return reverse("admin:sessionpersist_sessions_user", args=[quote(user.pk)])


def end_of(user: User) -> str:
    return reverse("admin:sessionpersist_sessions_end", args=[quote(user.pk)])


def logged_in(user: User, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def lives(client: Client) -> bool:
    """Whether the session of a browser is still there."""
    return SessionStore().exists(client.cookies["sessionid"].value)


@pytest.fixture(autouse=True)
def at_once(own_settings: None, settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 0, "GUARD_SECONDS": 0}


@pytest.fixture
def grace(db: None) -> User:
    return User.objects.create_superuser("grace.hopper", "grace@example.org", PASSWORD)


@pytest.fixture
def warden(db: None) -> Client:
    """Staff who may do everything on this page, and nothing else."""
    return logged_in(create_staff("warden", *ALL))


class TestPermissions:
    def test_the_admin_shows_the_page_to_whom_it_is_for(self, warden: Client) -> None:
        assert f'href="{OVERVIEW}"' in warden.get(HOME).text
        other = logged_in(create_staff("other", "change_loginconfiguration"))
        assert f'href="{OVERVIEW}"' not in other.get(HOME).text

    @pytest.mark.parametrize(
        "held", [(), ("end_sessions", "end_all_sessions"), ("change_loginconfiguration",)]
    )
    def test_nobody_without_the_permission_sees_or_ends_anything(
        self, grace: User, held: tuple[str, ...]
    ) -> None:
        hers, client = logged_in(grace), logged_in(create_staff("other", *held))
        for address in (OVERVIEW, page_of(grace)):
            assert client.get(address).status_code == 403
        assert client.post(end_of(grace)).status_code == 403
        assert lives(hers)
        assert not LogEntry.objects.exists()

    def test_who_may_look_ends_nothing(self, grace: User) -> None:
        hers, client = logged_in(grace), logged_in(create_staff("viewer", "view_sessions"))
        page = client.get(page_of(grace)).text
        assert "Signed in" in page
        assert end_of(grace) not in page
        assert client.post(end_of(grace)).status_code == 403
        assert lives(hers)

    def test_visitors_are_sent_to_log_in(self, grace: User) -> None:
        for address in (OVERVIEW, page_of(grace)):
            assert Client().get(address).headers["Location"].startswith(LOGIN)
        assert Client().post(end_of(grace)).headers["Location"].startswith(LOGIN)

    def test_a_post_without_csrf_is_refused(self, grace: User) -> None:
        hers = logged_in(grace)
        client = logged_in(create_staff("warden", *ALL), enforce_csrf_checks=True)
        assert client.post(end_of(grace)).status_code == 403
        assert lives(hers)

    def test_a_get_ends_nothing(self, grace: User, warden: Client) -> None:
        hers = logged_in(grace)
        assert warden.get(end_of(grace)).status_code == 405
        assert lives(hers)


class TestOverview:
    def test_it_counts_what_is_in_each_store(self, warden: Client, grace: User) -> None:
        logged_in(grace)
        counts = warden.get(OVERVIEW).context["counts"]
        assert [(each.store.split(" of ")[0], each.count) for each in counts] == [("In-Memory", "2")]
        LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
        snapshot.expire()
        logged_in(grace)
        counts = warden.get(OVERVIEW).context["counts"]
        assert [(each.count, each.moving) for each in counts] == [("2", False), ("1", True)]

    def test_a_draining_store_that_is_down_is_said(self, settings: Settings) -> None:
        LoginConfiguration(
            persistence_type="REDIS", redis_host="127.0.0.1", redis_port=free_port(), redis_password="s3cret"
        ).save()
        LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
        snapshot.reset()
        page = logged_in(create_staff("warden", *ALL)).get(OVERVIEW).text
        assert "does not answer" in page
        assert "s3cret" not in page

    @pytest.mark.parametrize("text", ["grace", "HOPPER", "example.org", "pk"])
    def test_a_user_is_found(self, warden: Client, grace: User, text: str) -> None:
        page = warden.get(OVERVIEW, {"q": str(grace.pk) if text == "pk" else text}).text
        assert page_of(grace) in page

    @pytest.mark.parametrize("text", ["nobody", "%", "9" * 30, "<script>", "\x00", "x" * 1001])
    def test_one_who_is_not_there_is_not(self, warden: Client, grace: User, text: str) -> None:
        answer = warden.get(OVERVIEW, {"q": text})
        assert answer.status_code == 200
        assert page_of(grace) not in answer.text
        assert "<script>" not in re.sub(r"<script src=.*?>", "", answer.text)

    def test_many_are_cut_short(self, warden: Client) -> None:
        for number in range(25):
            User.objects.create_user(f"user-{number}")
        page = warden.get(OVERVIEW, {"q": "user-"}).text
        assert page.count('<li><a href="/admin/sessionpersist/sessions/user/') == 20
        assert "There may be more" in page


class TestOfOneUser:
    def test_all_are_shown_and_no_key(self, warden: Client, grace: User) -> None:
        browsers = [logged_in(grace, headers={"user-agent": FIREFOX}) for number in range(2)]
        page = warden.get(page_of(grace)).text
        assert page.count('name="session"') == 2
        for browser in browsers:
            key = browser.cookies["sessionid"].value
            assert key not in page
            assert stored_key(key)[:12] not in page

    def test_one_is_ended_and_the_other_lives(
        self, warden: Client, grace: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second = logged_in(grace), logged_in(grace)
        mine = sessions.of(grace, first.session)[0]
        with caplog.at_level(logging.INFO, "sessionpersist.audit"):
            answer = warden.post(end_of(grace), {"session": mine.id}, follow=True)
        assert "Ended 1 session." in answer.text
        assert (lives(first), lives(second)) == (False, True)
        assert f"ended by staff: 1 of user {grace.pk}, by warden" in sentences(caplog.messages)
        entry = LogEntry.objects.get()
        assert (entry.user.get_username(), entry.get_change_message()) == ("warden", "Ended 1 session.")
        assert entry.get_edited_object() == grace

    def test_its_user_is_told_why(self, warden: Client, grace: User) -> None:
        hers = logged_in(grace)
        warden.post(end_of(grace))
        ended = SessionStore(hers.cookies["sessionid"].value)
        ended.load()
        assert ended.ended_reason == Reason.BY_STAFF

    def test_all_are_ended_and_nobody_elses(self, warden: Client, grace: User) -> None:
        hers = [logged_in(grace), logged_in(grace)]
        other = logged_in(User.objects.create_user("other"))
        answer = warden.post(end_of(grace), follow=True)
        assert "Ended 2 sessions." in answer.text
        assert "This user is not signed in anywhere." in answer.text
        assert [lives(each) for each in (*hers, other, warden)] == [False, False, True, True]

    @pytest.mark.parametrize("named", ["another user's", "", "x", "\x00", "0" * 64])
    def test_an_id_that_is_not_of_this_user_ends_nothing(
        self, warden: Client, grace: User, named: str
    ) -> None:
        hers, other = logged_in(grace), User.objects.create_user("other")
        his = logged_in(other)
        name = sessions.of(other)[0].id if named == "another user's" else named
        answer = warden.post(end_of(grace), {"session": name}, follow=True)
        assert "No session was ended: it was over already." in answer.text
        assert lives(hers)
        assert lives(his)
        assert not LogEntry.objects.exists()

    @pytest.mark.parametrize("key", ["0", "-1", "x", "9" * 30, "%00", "_", "1_2F"])
    def test_a_user_who_is_not_there_is_a_404(self, warden: Client, key: str) -> None:
        address = f"{OVERVIEW}user/{key}/"
        assert warden.get(address).status_code == 404
        assert warden.post(f"{address}end/").status_code == 404

    def test_ones_own_is_marked_and_may_be_ended(self, warden: Client) -> None:
        user = User.objects.get(username="warden")
        assert "this is your own session" in warden.get(page_of(user)).text
        warden.post(end_of(user))
        assert not lives(warden)

    def test_where_there_is_no_list_the_page_says_so(
        self, warden: Client, grace: User, settings: Settings
    ) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ROSTER": False}
        assert "This site keeps no list of who is signed in where" in warden.get(page_of(grace)).text

    def test_in_memory_is_said_to_be_of_this_node(
        self, warden: Client, grace: User, settings: Settings
    ) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "NODE_NAME": "node-7"}
        assert "these are the sessions of this node, node-7" in warden.get(page_of(grace)).text
