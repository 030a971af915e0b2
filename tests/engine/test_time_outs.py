"""Time-outs under the middleware: what counts as use, what that costs, and when a cookie is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient, Client
from django.utils import timezone
from pytest_django import Settings

from sessionpersist import initial
from sessionpersist.engine import SessionStore
from sessionpersist.handover import routing
from sessionpersist.models import LoginConfiguration
from sessionpersist.session.policy import DAY, HOUR, LIFE, MINUTE
from sessionpersist.session.reasons import Reason
from sessionpersist.stores.base import now_ms
from sessionpersist.testing import override_login_configuration
from tests.configuration.test_processes import wait_for
from tests.engine.behaviour.time_outs import SECOND, Clock, put_forward, stored
from tests.engine.support import Fields, in_event_loop, key_of, new_session
from tests.engine.test_requests import COOKIE, post_login, session_of, text, user

__all__ = ["user"]

Decide = Callable[..., None]
BACKGROUND = ["news", "class-news", "marked-news", "marked-async-news", "decorated-news", "async-news"]

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.engine.urls")]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return put_forward(monkeypatch)


@pytest.fixture
def decide(in_memory: None) -> Iterator[Decide]:
    """What staff decide from now on, with sessions In-Memory."""
    with ExitStack() as decisions:

        def decide(**policy: Any) -> None:
            decisions.enter_context(override_login_configuration(**policy))

        yield decide


def in_the_middle(client: Client, clock: Clock) -> SessionStore:
    """A visitor whose last use is written down, and who asks for something so much later that it would be again."""
    client.get("/visit/")
    clock.passes(10 * MINUTE)
    return session_of(client)


class TestUse:
    def test_page_view_is_one_read_until_a_use_is_due_and_then_a_touch(
        self, client: Client, user: User, decide: Decide, clock: Clock, asked: list[str]
    ) -> None:
        decide(idle_minutes=60, absolute_hours=8, remember_days=30)
        client.force_login(user)
        asked.clear()
        for _ in range(3):
            clock.passes(50 * SECOND)
            client.get("/whoami/")
        assert asked == ["get"] * 3
        clock.passes(30 * SECOND)
        assert text(client.get("/whoami/")) == "ada"
        assert asked == ["get"] * 4 + ["touch"]

    def test_use_that_is_due_goes_along_with_a_save(
        self, client: Client, user: User, decide: Decide, clock: Clock, asked: list[str]
    ) -> None:
        decide(idle_minutes=60)
        client.force_login(user)
        clock.passes(50 * MINUTE)
        asked.clear()
        client.get("/visit/")
        assert asked == ["get", "replace"]
        clock.passes(50 * MINUTE)
        assert text(client.get("/whoami/")) == "ada"

    def test_without_a_policy_nothing_is_written(
        self, client: Client, user: User, clock: Clock, asked: list[str]
    ) -> None:
        client.force_login(user)
        asked.clear()
        clock.passes(DAY)
        client.get("/whoami/")
        assert asked == ["get"]

    def test_page_that_needs_no_session_is_no_use(
        self, client: Client, decide: Decide, clock: Clock, asked: list[str]
    ) -> None:
        decide(idle_minutes=30)
        in_the_middle(client, clock)
        asked.clear()
        client.get("/ignore/")
        assert asked == []

    def test_page_that_failed_is_no_use(self, client: Client, decide: Decide, clock: Clock) -> None:
        decide(idle_minutes=30)
        session = in_the_middle(client, clock)
        before = stored(session)
        client.get("/fail/")
        assert stored(session) == before

    @pytest.mark.parametrize("page", BACKGROUND)
    def test_background_is_no_use(self, client: Client, decide: Decide, clock: Clock, page: str) -> None:
        decide(idle_minutes=30)
        session = in_the_middle(client, clock)
        before = stored(session)
        response = client.get(f"/{page}/")
        assert text(response) == "1"
        assert COOKIE not in response.cookies
        assert stored(session) == before

    @in_event_loop
    async def test_background_is_no_use_in_an_event_loop(self, decide: Decide, clock: Clock) -> None:
        decide(idle_minutes=30)
        client = AsyncClient()
        await client.get("/async/")
        clock.passes(10 * MINUTE)
        before = stored(session := SessionStore(client.cookies[COOKIE].value))
        for page in BACKGROUND:
            assert text(await client.get(f"/{page}/")) == "1"
        assert stored(session) == before
        await client.get("/async/")
        assert stored(session).expires_at >= before.expires_at + 10 * MINUTE

    def test_background_that_changes_the_session_is_saved_and_no_use(
        self, client: Client, decide: Decide, clock: Clock
    ) -> None:
        decide(idle_minutes=30)
        before = stored(session := in_the_middle(client, clock))
        assert text(client.get("/count-news/")) == "2"
        assert text(client.get("/news/")) == "2"
        assert stored(session).expires_at == before.expires_at

    def test_background_is_no_use_where_every_request_saves(
        self, client: Client, decide: Decide, clock: Clock, settings: Settings
    ) -> None:
        settings.SESSION_SAVE_EVERY_REQUEST = True
        decide(idle_minutes=30)
        before = stored(session := in_the_middle(client, clock))
        client.get("/news/")
        assert stored(session).expires_at == before.expires_at

    def test_whose_session_is_over_is_anonymous_and_it_is_known_why(
        self, client: Client, user: User, decide: Decide, clock: Clock
    ) -> None:
        decide(idle_minutes=60)
        client.force_login(user)
        clock.passes(10 * MINUTE)
        decide(idle_minutes=5)
        response: Any = client.get("/whoami/")
        assert text(response) == ""
        assert response.wsgi_request.session.ended_reason is Reason.IDLE


class TestCookies:
    def test_cookie_is_sent_again_with_each_use_that_is_written_down(
        self, client: Client, user: User, decide: Decide, clock: Clock
    ) -> None:
        decide(idle_minutes=60)
        client.force_login(user)
        assert COOKIE not in client.get("/whoami/").cookies
        clock.passes(10 * MINUTE)
        cookie = client.get("/whoami/").cookies[COOKIE]
        assert cookie["max-age"] == 14 * DAY // SECOND

    def test_cookie_lives_as_long_as_the_session_may_go_unused(self, client: Client, decide: Decide) -> None:
        decide(idle_minutes=60 * DAY // MINUTE)
        assert client.get("/visit/").cookies[COOKIE]["max-age"] == 60 * DAY // SECOND

    def test_cookie_ends_with_the_browser_unless_the_user_is_remembered(
        self, client: Client, user: User, decide: Decide, clock: Clock
    ) -> None:
        decide(idle_minutes=60, remember_days=30)
        post_login(client)
        assert client.get("/visit/").cookies[COOKIE]["max-age"] == ""
        client.get("/async-remember/")
        clock.passes(10 * DAY)
        cookie = client.get("/whoami/").cookies[COOKIE]
        assert cookie["max-age"] == pytest.approx(20 * DAY / SECOND, abs=5)
        assert client.get("/forget/").cookies[COOKIE]["max-age"] == ""

    def test_remembered_user_is_logged_in_until_so_many_days_after_the_login(
        self, client: Client, user: User, decide: Decide, clock: Clock
    ) -> None:
        client.get("/visit/")
        clock.passes(DAY)  # of a visitor who is nobody yet
        decide(idle_minutes=60, absolute_hours=8, remember_days=30)
        post_login(client)
        client.get("/async-remember/")
        for days, who in ((15, "ada"), (14, "ada"), (1, "")):
            clock.passes(days * DAY)
            assert text(client.get("/whoami/")) == who

    def test_cookie_changes_when_staff_turn_remembering_on(
        self, client: Client, decide: Decide, clock: Clock
    ) -> None:
        decide(idle_minutes=60)
        client.get("/visit/")
        decide(idle_minutes=60, remember_days=30)
        clock.passes(10 * MINUTE)
        assert client.get("/whoami/").cookies[COOKIE]["max-age"] == ""

    def test_what_set_expiry_said_of_the_browser_goes_first(self, decide: Decide) -> None:
        decide(remember_days=30)
        for expiry, closes in ((0, True), (60, False), (timedelta(days=1), False)):
            session = SessionStore()
            session.remember()
            session.set_expiry(expiry)
            assert session.get_expire_at_browser_close() is closes

    @in_event_loop
    async def test_an_event_loop_is_told_the_same(self, decide: Decide) -> None:
        decide(remember_days=30)
        session = SessionStore()
        assert await session.aget_expire_at_browser_close() is True
        await session.aremember()
        assert await session.aget_expire_at_browser_close() is False
        assert await session.aget_expiry_age() == pytest.approx(30 * DAY / SECOND, abs=5)
        await session.aremember(False)
        assert await session.aget_expire_at_browser_close() is True


class TestLogin:
    def test_longest_time_counts_from_the_login_and_not_from_the_visit_before(
        self, client: Client, user: User, decide: Decide, clock: Clock
    ) -> None:
        decide(absolute_hours=8)
        client.get("/visit/")
        clock.passes(7 * HOUR)
        post_login(client)
        clock.passes(7 * HOUR)
        assert text(client.get("/whoami/")) == "ada"
        clock.passes(HOUR)
        assert text(client.get("/whoami/")) == ""

    def test_who_logs_in_again_begins_again(
        self, client: Client, user: User, decide: Decide, clock: Clock
    ) -> None:
        decide(absolute_hours=8)
        for _ in range(3):
            post_login(client)
            clock.passes(7 * HOUR)
            assert text(client.get("/whoami/")) == "ada"

    def test_change_of_the_password_is_no_login(
        self, client: Client, user: User, decide: Decide, clock: Clock
    ) -> None:
        """It draws a new key (Django's update_session_auth_hash)."""
        decide(absolute_hours=8)
        post_login(client)
        clock.passes(7 * HOUR)
        begun = stored(before := session_of(client)).created_at
        session = SessionStore(key_of(before))
        session.cycle_key()
        assert stored(session).created_at == begun


def test_session_keeps_its_times_when_the_store_is_switched(settings: Settings, clock: Clock) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "REFRESH_SECONDS": 0.01, "ACTIVATION_SECONDS": 0.02}
    policy: Fields = {"idle_minutes": 60, "absolute_hours": 8}
    LoginConfiguration(persistence_type="IN_MEMORY", **policy).save()
    wait_for(lambda: routing.current_policy().idle == HOUR)
    session = new_session(cat="tabby")
    before = stored(session)
    clock.passes(50 * MINUTE)
    LoginConfiguration(persistence_type="JDBC", jdbc_database="default", **policy).save()
    wait_for(lambda: routing.current_settings().type == "JDBC")
    again = SessionStore(key_of(session))
    assert again["cat"] == "tabby"
    assert again[LIFE] == HOUR
    left, prolongs = again.time_left()
    assert left == pytest.approx(10 * MINUTE, abs=5 * SECOND)
    assert prolongs
    again.note_use()
    again.save()
    after = stored(session)
    assert after.created_at == before.created_at
    assert after.expires_at >= before.expires_at + 50 * MINUTE


def test_what_staff_save_acts_on_sessions_that_are_there(settings: Settings, clock: Clock) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "REFRESH_SECONDS": 0.01, "ACTIVATION_SECONDS": 0.02}
    configuration = LoginConfiguration.get_solo()
    configuration.idle_minutes = 60
    configuration.save()
    wait_for(lambda: routing.current_policy().idle == HOUR)
    used, unused = new_session(cat="tabby"), new_session(cat="tabby")
    clock.passes(30 * MINUTE)
    SessionStore(key_of(used)).save()
    configuration.idle_minutes = 10
    configuration.save()
    wait_for(lambda: routing.current_policy().idle == 10 * MINUTE)
    assert SessionStore(key_of(used)).get("cat") == "tabby"
    over = SessionStore(key_of(unused))
    assert over.get("cat") is None
    assert over.ended_reason is Reason.IDLE


def test_date_that_has_passed_is_an_end_under_a_policy_too(decide: Decide) -> None:
    decide(idle_minutes=60)
    session = SessionStore()
    session["cat"] = "tabby"
    session.set_expiry(timezone.now() - timedelta(hours=1))
    session.save()
    assert not SessionStore().exists(key_of(session))


def test_nobody_is_thrown_out_at_the_start_with_an_idle_of_initial(settings: Settings, clock: Clock) -> None:
    clock.passes(-2 * HOUR)
    session = new_session(cat="tabby")
    clock.passes(2 * HOUR)
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "INITIAL": {"idle_minutes": 30}}
    assert SessionStore(key_of(session))["cat"] == "tabby"
    clock.passes(initial.STARTED - now_ms() + 30 * MINUTE)
    assert SessionStore(key_of(session)).get("cat") is None
