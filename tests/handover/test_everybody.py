"""Everybody is logged out: what was saved before is no session any more, in whichever store, and stays so."""

from __future__ import annotations

import logging
import time

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from pytest_django import Settings

from sessionpersist import sessions
from sessionpersist.engine import SessionStore
from sessionpersist.handover import draining, routing, snapshot
from sessionpersist.handover.everybody import end_everybody
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.session.reasons import Reason
from sessionpersist.session.sealing import stored_key
from sessionpersist.stores.base import now_ms, revision_of
from sessionpersist.stores.settings import TYPES
from sessionpersist.testing import override_login_configuration
from tests.handover.test_stores import is_stored, new_session, switch, switch_later, wait_for_the_guard

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("switches_at_once")]

KINDS = pytest.mark.parametrize("kind", TYPES)


def reason_of(session: SessionStore) -> Reason | None:
    again = SessionStore(session.session_key)
    assert again.load() == {}
    return again.ended_reason


@KINDS
class TestOneStore:
    @pytest.fixture(autouse=True)
    def chosen(self, db: None, switches_at_once: None, kind: str) -> None:
        switch(kind)

    def test_no_session_of_before_is_readable_and_each_is_told_why(self, kind: str) -> None:
        of_before = [new_session(number=number) for number in range(3)]
        end_everybody("ada")
        assert [reason_of(session) for session in of_before] == [Reason.EVERYBODY] * 3
        assert not any(SessionStore().exists(session.session_key) for session in of_before)
        wait_for_the_guard()
        assert [reason_of(session) for session in of_before] == [Reason.EVERYBODY] * 3

    def test_a_session_of_afterwards_lives(self, kind: str) -> None:
        new_session(visits=1)
        end_everybody()
        session = new_session(visits=2)
        assert SessionStore(session.session_key)["visits"] == 2
        wait_for_the_guard()
        again = SessionStore(session.session_key)
        again["visits"] += 1
        again.save()
        again.cycle_key()
        assert SessionStore(again.session_key)["visits"] == 3

    @pytest.mark.parametrize("settled", [False, True], ids=["near it", "long after"])
    def test_what_was_read_before_is_saved_touched_and_renewed_no_more(
        self, kind: str, settled: bool
    ) -> None:
        read = [SessionStore(new_session(visits=1).session_key) for _ in range(4)]
        for session in read:
            assert session["visits"] == 1
        changed, touched, renewed, cleared = read
        end_everybody()
        if settled:
            wait_for_the_guard()
        changed["visits"] = 2
        cleared.clear()
        for act in (changed.save, touched.save, renewed.cycle_key, cleared.save):
            with pytest.raises(UpdateError):
                act()
        assert [session.ended_reason for session in (changed, touched, renewed)] == [Reason.EVERYBODY] * 3
        for key in {session.session_key for session in read} - {None}:
            assert not SessionStore().exists(key)

    def test_whoever_logs_out_afterwards_can(self, kind: str) -> None:
        session = SessionStore(new_session(visits=1).session_key)
        session.load()
        end_everybody()
        session.flush()
        session["visits"] = 7
        session.save()
        assert SessionStore(session.session_key)["visits"] == 7

    def test_the_list_of_a_user_is_empty_and_the_limit_counts_none_of_before(self, kind: str) -> None:
        with_limit = LoginConfiguration.get_solo()
        with_limit.max_sessions = 2
        with_limit.save()
        user = User.objects.create_user("ada")
        for _ in range(2):
            Client().force_login(user)
        end_everybody()
        assert sessions.of(user) == []
        again = [Client() for _ in range(2)]
        for client in again:
            client.force_login(user)
        assert len(sessions.of(user)) == 2
        assert all(client.session.get(SESSION_KEY) for client in again)

    def test_it_can_be_done_again(self, kind: str) -> None:
        first = new_session()
        end_everybody()
        second = new_session()
        end_everybody()
        third = new_session()
        assert [SessionStore().exists(each.session_key) for each in (first, second, third)] == [
            False,
            False,
            True,
        ]

    def test_a_switch_afterwards_takes_those_of_afterwards_along_and_no_others(self, kind: str) -> None:
        before = new_session(name="before")
        end_everybody()
        after, left = new_session(name="after"), new_session(name="left")
        other = next(each for each in TYPES if each != kind)
        switch(other)
        assert SessionStore(after.session_key)["name"] == "after"
        assert not SessionStore().exists(before.session_key)
        wait_for_the_guard()
        call_command("drain_sessions")
        assert SessionStore(left.session_key)["name"] == "left"
        assert not SessionStore().exists(before.session_key)
        assert [is_stored(each, before) for each in (kind, other)] == [False, False]
        switch(kind)
        assert not SessionStore().exists(before.session_key)
        assert SessionStore(left.session_key)["name"] == "left"


def test_what_was_draining_drains_no_more_even_once_the_floor_is_drained_itself() -> None:
    switch("REDIS")
    oldest = new_session()
    switch("MONGODB")
    older = new_session()
    end_everybody()
    wait_for_the_guard()
    assert draining.going_on() == []
    switch("JDBC")
    wait_for_the_guard()
    call_command("drain_sessions")
    Revision.objects.filter(drained_how="drained").update(drained_at="2020-01-01T00:00:00Z")
    snapshot.expire()
    assert snapshot.current().draining == ()
    assert not any(SessionStore().exists(each.session_key) for each in (oldest, older))
    switch("REDIS")
    assert not any(SessionStore().exists(each.session_key) for each in (oldest, older))


def test_it_waits_for_its_time_as_a_switch_does(settings: Settings) -> None:
    switch("JDBC")
    session = new_session()
    settings.SESSIONPERSIST |= {"ACTIVATION_SECONDS": 1, "REFRESH_SECONDS": 0.2, "GUARD_SECONDS": 0.1}
    end_everybody()
    assert SessionStore().exists(session.session_key)
    time.sleep(1.2)
    assert not SessionStore().exists(session.session_key)


def test_a_switch_that_was_pending_comes_with_it(settings: Settings) -> None:
    switch("JDBC")
    session = new_session()
    settings.SESSIONPERSIST |= {"ACTIVATION_SECONDS": 0.5, "REFRESH_SECONDS": 0.2, "GUARD_SECONDS": 0.1}
    switch_later("IN_MEMORY")
    end_everybody()
    assert SessionStore().exists(session.session_key)
    time.sleep(0.8)
    assert routing.current_settings().type == "IN_MEMORY"
    assert snapshot.current().draining == ()
    assert not SessionStore().exists(session.session_key)


def test_before_anybody_has_saved_a_configuration() -> None:
    session = new_session()
    end_everybody()
    assert reason_of(session) is Reason.EVERYBODY
    assert SessionStore().exists(new_session().session_key)


def test_who_had_a_list_can_log_in_while_another_store_drains() -> None:
    """From a review: the list of before was taken for one to be replaced, 60 times in a row."""
    switch("IN_MEMORY")
    user = User.objects.create_user("ada")
    Client().force_login(user)
    end_everybody()
    switch("REDIS")
    switch("IN_MEMORY")
    for _ in range(2):
        Client().force_login(user)
    assert len(sessions.of(user)) == 2


def test_revisions_of_before_are_not_read_any_more() -> None:
    for kind in ("REDIS", "JDBC", "IN_MEMORY"):
        switch(kind)
    for _ in range(3):
        end_everybody()
    assert len(Revision.objects.in_force()) == 1
    assert snapshot.current().floor == Revision.objects.latest("pk").pk


def test_the_log_says_so_and_tells_of_no_switch(caplog: pytest.LogCaptureFixture) -> None:
    switch("IN_MEMORY")
    caplog.clear()
    end_everybody("ada")
    snapshot.current()
    assert "Everybody has been logged out" in caplog.text
    assert "Sessions are now kept" not in caplog.text


def test_what_the_engine_of_before_holds_is_adopted_no_more(settings: Settings) -> None:
    settings.SESSIONPERSIST |= {"ADOPT_FROM": "django.contrib.sessions.backends.db"}
    switch("IN_MEMORY")
    adopted, left = DatabaseSession(), DatabaseSession()
    for each in (adopted, left):
        each["visits"] = 1
        each.save()
    assert SessionStore(adopted.session_key)["visits"] == 1
    end_everybody()
    for each in (adopted, left):
        assert SessionStore(each.session_key).load() == {}
    call_command("drain_sessions")
    assert SessionStore(left.session_key).load() == {}


def test_it_asks_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    switch("REDIS")
    session = new_session()
    store = routing.current_view().current.store
    with monkeypatch.context() as patch:
        for verb in ("get", "create", "replace", "touch", "delete", "end", "scan", "count"):
            patch.setattr(type(store), verb, None)
        end_everybody()
        assert snapshot.current().floor
    assert reason_of(session) is Reason.EVERYBODY


def test_an_override_of_a_test_is_ended_too_and_lifts_as_ever() -> None:
    switch("JDBC")
    outer = new_session()
    with override_login_configuration(persistence_type="IN_MEMORY"):
        inner = new_session()
        end_everybody()
        assert reason_of(inner) is Reason.EVERYBODY
        assert SessionStore().exists(new_session().session_key)
    assert SessionStore().exists(outer.session_key)
    assert not Revision.objects.filter(ends_earlier=True).exists()


def test_the_audit_log_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    switch("IN_MEMORY")
    with caplog.at_level(logging.INFO, "sessionpersist.audit"):
        end_everybody("ada")
    assert "everybody logged out: by ada, In-Memory" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_in_a_transaction_nobody_is_logged_out_before_it_commits() -> None:
    switch("IN_MEMORY")
    session = new_session()
    with transaction.atomic():
        end_everybody()
        assert SessionStore().exists(session.session_key)
        transaction.set_rollback(True)
    snapshot.expire()
    assert SessionStore().exists(session.session_key)
    with transaction.atomic():
        end_everybody()
    assert not SessionStore().exists(session.session_key)


def test_the_stored_record_is_still_there_and_is_of_the_era_before() -> None:
    switch("IN_MEMORY")
    session = new_session()
    end_everybody()
    record = routing.current_view().current.store.get(stored_key(str(session.session_key)))
    assert record is not None
    assert revision_of(record.version) < snapshot.current().floor
    assert record.expires_at > now_ms()
