"""Sessions that were saved before anybody listed them are brought in."""

from __future__ import annotations

import secrets

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.core.management import call_command
from pytest_django import Settings

from sessionpersist import engine, sessions
from sessionpersist.engine import SessionStore
from sessionpersist.roster.existing import enter_existing
from sessionpersist.roster.records import storable_user_id
from tests.engine.support import new_session
from tests.handover.test_stores import switch

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("switches_at_once")]


def unlisted(user_id: str, settings: Settings) -> SessionStore:
    settings.SESSIONPERSIST |= {"ROSTER": False}
    session = new_session(**{USER_ID: user_id})
    settings.SESSIONPERSIST |= {"ROSTER": True}
    return session


@pytest.mark.parametrize("earlier", [False, True], ids=["of this release", "of an earlier one"])
@pytest.mark.parametrize("kind", ["IN_MEMORY", "REDIS", "MONGODB", "JDBC"])
def test_sessions_of_before_are_listed_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, kind: str, earlier: bool
) -> None:
    switch(kind)
    user_id, other = secrets.token_hex(8), "Ω" + secrets.token_hex(8)
    with monkeypatch.context() as before:
        if earlier:
            before.setattr(engine, "recorded_user", storable_user_id)
        held = [unlisted(user_id, settings), unlisted(user_id, settings), unlisted(other, settings)]
        new_session(cat="tabby")
    assert sum(enter_existing()) >= 3
    assert sum(enter_existing()) == 0
    assert [len(sessions.of(each)) for each in (user_id, other)] == [2, 1]
    assert sessions.end_all(user_id) == 2
    assert [SessionStore().exists(each.session_key) for each in held] == [False, False, True]


def test_sessions_in_a_store_that_drains_are_listed_too(settings: Settings) -> None:
    switch("REDIS")
    user_id = secrets.token_hex(8)
    unlisted(user_id, settings)
    switch("IN_MEMORY")
    call_command("sessions", "enter")
    assert len(sessions.of(user_id)) == 1
