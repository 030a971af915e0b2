"""Logouts that are written down: which of them a process knows, and what becomes of the notes."""

from __future__ import annotations

import pytest

from sessionpersist import models
from sessionpersist.engine import SessionStore
from sessionpersist.handover import draining, logouts, snapshot
from sessionpersist.models import PendingLogout
from sessionpersist.session.sealing import stored_key
from tests.handover.test_stores import is_stored, new_session, switch

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("switches_at_once")]


def written_down() -> SessionStore:
    session = new_session(visits=1)
    logouts.write_down(stored_key(str(session.session_key)))
    assert SessionStore(session.session_key).load() == {}
    return session


def test_one_is_carried_out_and_its_note_goes() -> None:
    switch("REDIS")
    draining.abandon(snapshot.current().draining[0].number)  # the memory of before anybody has chosen a store
    session = written_down()
    logouts.carry_out(snapshot.current())
    assert not is_stored("REDIS", session)
    assert not PendingLogout.objects.exists()
    assert SessionStore(session.session_key).load() == {}


def test_where_each_node_has_its_own_memory_the_note_stays_for_the_others() -> None:
    """From a review: another node carried it out in its own memory, and the session came to life again on its node."""
    switch("IN_MEMORY")
    session = written_down()
    logouts.carry_out(snapshot.current())
    assert not is_stored("IN_MEMORY", session)
    assert PendingLogout.objects.exists()


def test_of_very_many_those_that_were_known_stay_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MOST_PENDING", 2)
    switch("REDIS")
    first, second = written_down(), written_down()
    logouts.write_down("0" * 64)
    snapshot.expire()
    known = {stored_key(str(each.session_key)) for each in (first, second)}
    assert snapshot.current().ended == known
