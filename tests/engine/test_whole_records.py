"""Whoever can write to the store can neither prolong a session nor give it another owner."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import override_settings
from pytest_django import Settings

from sessionpersist.engine import SessionStore
from sessionpersist.handover import routing, snapshot
from sessionpersist.models import LIVE, LoginConfiguration, Node
from sessionpersist.session import sealing
from sessionpersist.stores import build_store
from sessionpersist.stores.base import Outcome, Record, Store, now_ms
from tests.engine.support import new_session
from tests.handover.test_places import save
from tests.load import stores
from tests.servers import MongoDB, Valkey

WEEK = 7 * 86_400_000

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("switches_at_once")]

KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "IN_MEMORY": lambda: {"persistence_type": "IN_MEMORY"},
    "REDIS": lambda: stores.fields_on(Valkey),
    "JDBC": lambda: {"persistence_type": "JDBC", "jdbc_database": "default"},
    "MONGODB": lambda: stores.fields_on(MongoDB),
}


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """The store in force, as somebody sees it who can write to it."""
    save(KINDS[request.param]())
    store = build_store(LoginConfiguration.get_solo().store_settings())
    yield store
    store.close()


def key_of(session: SessionStore) -> str:
    return sealing.stored_key(str(session.session_key))


def held(store: Store, session: SessionStore) -> Record:
    record = store.get(key_of(session))
    assert record is not None
    return record


def forge(store: Store, session: SessionStore, **changes: Any) -> None:
    """Change what stands beside the payload, and leave that as it is."""
    record = held(store, session)
    assert store.replace(key_of(session), record._replace(**changes), record.version) is Outcome.SAVED


def reads(session: SessionStore) -> bool:
    return SessionStore(session.session_key).get("cat") == "tabby"


class TestAForgedRecord:
    def test_of_another_owner_is_no_session(self, store: Store, caplog: pytest.LogCaptureFixture) -> None:
        session = new_session(cat="tabby")
        forge(store, session, user_id="1")
        assert not reads(session)
        assert "could not be opened" in caplog.text

    def test_of_another_beginning_is_no_session(self, store: Store) -> None:
        session = new_session(cat="tabby")
        forge(store, session, created_at=now_ms() - WEEK)
        assert not reads(session)

    def test_with_the_payload_of_an_earlier_version_is_no_session(self, store: Store) -> None:
        session = new_session(cat="tabby")
        earlier = held(store, session)
        session["cat"] = "black"
        session.save()
        forge(store, session, payload=earlier.payload)
        assert SessionStore(session.session_key).get("cat") is None

    def test_that_was_prolonged_is_over_at_its_end(
        self,
        store: Store,
        settings: Settings,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        session = new_session(cat="tabby")
        end = held(store, session).expires_at
        forge(store, session, expires_at=end + 10 * WEEK)
        assert reads(session)
        monkeypatch.setattr("sessionpersist.engine.now_ms", lambda: end + (end - now_ms()) // 19)
        assert not reads(session)
        assert "somebody has prolonged it" in caplog.text


class TestASessionThatIsUsed:
    def test_slides_by_touches_and_is_sealed_anew_before_its_sealed_end(self, store: Store) -> None:
        with override_settings(SESSION_COOKIE_AGE=1000):
            session = new_session(cat="tabby")
            first = held(store, session)
        with override_settings(SESSION_COOKIE_AGE=1030):
            slide(session)
            touched = held(store, session)
            assert touched.expires_at > first.expires_at
            assert touched.payload == first.payload
        with override_settings(SESSION_COOKIE_AGE=1200):
            slide(session)
            saved = held(store, session)
            assert saved.expires_at > touched.expires_at
            assert saved.payload != touched.payload
            assert saved.created_at == first.created_at
        assert reads(session)

    def test_outlives_a_switch(self, store: Store) -> None:
        session = new_session(cat="tabby")
        other = "IN_MEMORY" if routing.current_settings().type == "JDBC" else "JDBC"
        save(KINDS[other]())
        assert reads(session)
        again = SessionStore(session.session_key)
        again["cat"] = "black"
        again.save()
        assert SessionStore(session.session_key)["cat"] == "black"


def slide(session: SessionStore) -> None:
    """A page that changes nothing of a session, and prolongs it."""
    page = SessionStore(session.session_key)
    assert page["cat"] == "tabby"
    page.save()


class TestBesideNodesOf020:
    """From a report on upgrades: what a new node saves must open on the nodes that are still to be restarted."""

    @pytest.fixture
    def old_node(self) -> Node:
        save(KINDS["JDBC"]())
        node: Node = Node.objects.create(name="old", process=1, revision=1, sealing=1)
        return node

    def test_sessions_are_sealed_as_those_can_open_them(self, old_node: Node) -> None:
        snapshot.expire()
        session = new_session(cat="tabby")
        record = routing.current_store().get(key_of(session))
        assert record is not None
        assert record.payload[:1] == b"\x01"
        assert reads(session)

    def test_quiet_is_not_gone(self, old_node: Node) -> None:
        Node.objects.filter(pk=old_node.pk).update(seen_at=Now() - 9 * LIVE)
        snapshot.expire()
        assert snapshot.current().mixed

    def test_once_they_are_upgraded_sessions_are_whole_as_they_are_saved(self, old_node: Node) -> None:
        snapshot.expire()
        session = new_session(cat="tabby")
        Node.objects.filter(pk=old_node.pk).update(seen_at=Now() - 2 * LIVE)
        Node.objects.create(name=old_node.name, process=2, revision=1)
        snapshot.expire()
        again = SessionStore(session.session_key)
        again["cat"] = "tabby"
        again.save()
        record = routing.current_store().get(key_of(session))
        assert record is not None
        assert record.payload[:1] == b"\x03"
        assert reads(session)


def test_a_session_of_0_2_0_opens_and_is_whole_after_its_next_save(store: Store) -> None:
    session = new_session(cat="tabby")
    record = held(store, session)
    plain = b'{"cat":"tabby"}'
    alone = record._replace(payload=sealing.Sealer(str(session.session_key)).seal(plain))
    assert store.replace(key_of(session), alone, record.version) is Outcome.SAVED
    time.sleep(0.002)
    again = SessionStore(session.session_key)
    assert again["cat"] == "tabby"
    again["cat"] = "black"
    again.save()
    assert held(store, session).payload[:1] == b"\x03"
    assert held(store, session).created_at == record.created_at
    assert SessionStore(session.session_key)["cat"] == "black"
