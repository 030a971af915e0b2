"""A session is created by a save, changed by saves and ended by a delete, which nothing undoes."""

from __future__ import annotations

import copy
import logging
import pickle
import re

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.core.management import call_command
from pytest_django import Settings

from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import SessionTooLarge
from sessionpersist.handover import routing
from sessionpersist.roster.records import recorded_user
from sessionpersist.session.sealing import stored_key
from sessionpersist.stores.base import MAX_PAYLOAD_BYTES, new_version
from tests.engine.support import Fields, key_of, new_session, record_of

UNUSUAL_IDS = {
    "long": "a" * 300,
    "other letters": "Ω-Ёлка-山田",
    "beyond the BMP": "\U0001f408",
    "control characters": "a\tb\r\nc",
    "NUL byte": "a\x00b",
    "lone surrogate": "a\udc80b",
}


class Lifecycle:
    def test_saved_session_is_there_for_the_next_request(self) -> None:
        session = SessionStore()
        session["cat"] = "tabby"
        assert session.session_key is None
        session.save()
        assert SessionStore().exists(key_of(session))
        assert SessionStore(key_of(session))["cat"] == "tabby"

    def test_save_keeps_the_content_of_the_object(self) -> None:
        session = new_session(cat="tabby")
        session.save()
        assert session["cat"] == "tabby"

    def test_a_session_that_is_used_can_be_copied_and_pickled(self) -> None:
        """As Django's can: caches of projects and tests of theirs do so."""
        session = new_session(cat="tabby")
        assert SessionStore(session.session_key)["cat"] == "tabby"
        for again in (copy.copy(session), copy.deepcopy(session), pickle.loads(pickle.dumps(session))):  # noqa: S301
            again["dog"] = "spot"
            again.save()
            assert SessionStore(session.session_key)["dog"] == again["dog"]

    def test_save_of_an_empty_session_creates_one(self) -> None:
        session = SessionStore()
        session.save()
        assert SessionStore().exists(key_of(session))

    def test_create_saves_at_once_and_leaves_the_session_modified(self) -> None:
        session = SessionStore()
        session.create()
        assert session.modified
        assert SessionStore().exists(key_of(session))

    def test_load_creates_nothing(self) -> None:
        session = SessionStore("a-key-that-nobody-has")
        session.load()
        assert session.session_key is None
        assert not SessionStore().exists("a-key-that-nobody-has")

    def test_deleted_session_is_gone(self) -> None:
        session = new_session(cat="tabby")
        session.delete(key_of(session))
        assert not SessionStore().exists(key_of(session))
        assert SessionStore(key_of(session)).get("cat") is None

    def test_deleting_what_is_not_there_is_no_error(self) -> None:
        SessionStore().delete()
        SessionStore("a-key-that-nobody-has").delete()

    def test_flush_ends_the_session_and_takes_its_key_away(self) -> None:
        session = new_session(cat="tabby")
        old = key_of(session)
        session.flush()
        assert session.session_key is None
        assert list(session.items()) == []
        assert (session.modified, session.accessed) == (True, True)
        assert not SessionStore().exists(old)

    def test_session_saved_after_a_flush_is_a_new_one_with_nothing_of_the_old(self) -> None:
        session = new_session(cat="tabby")
        old = key_of(session)
        session.flush()
        session["dog"] = "rex"
        session.save()
        assert session.session_key != old
        assert dict(SessionStore(key_of(session)).items()) == {"dog": "rex"}

    def test_save_does_not_revive_a_session_deleted_elsewhere(self) -> None:
        session = new_session(cat="tabby")
        mine = SessionStore(key_of(session))
        mine["dog"] = "rex"
        SessionStore(key_of(session)).delete()
        with pytest.raises(UpdateError):
            mine.save()
        assert not SessionStore().exists(key_of(session))

    def test_unmodified_save_does_not_revive_a_session_deleted_elsewhere(self) -> None:
        session = new_session(cat="tabby")
        mine = SessionStore(key_of(session))
        assert mine["cat"] == "tabby"
        SessionStore(key_of(session)).delete()
        with pytest.raises(UpdateError):
            mine.save()
        assert not SessionStore().exists(key_of(session))

    def test_save_after_a_load_by_hand_does_not_revive_a_session_deleted_elsewhere(self) -> None:
        session = new_session(cat="tabby")
        mine = SessionStore(key_of(session))
        mine.load()
        SessionStore(key_of(session)).delete()
        with pytest.raises(UpdateError):
            mine.save()

    def test_save_of_a_session_cleared_unread_replaces_all_of_it(self) -> None:
        key = key_of(new_session(cat="tabby", dog="rex"))
        session = SessionStore(key)
        session.clear()
        session["bird"] = "tweety"
        session.save()
        assert dict(SessionStore(key).items()) == {"bird": "tweety"}

    def test_save_of_a_session_cleared_unread_does_not_revive_a_deleted_one(self) -> None:
        session = SessionStore("a-key-that-nobody-has")
        session.clear()
        with pytest.raises(UpdateError):
            session.save()
        assert not SessionStore().exists("a-key-that-nobody-has")

    def test_parallel_saves_keep_both_changes(self) -> None:
        key = key_of(new_session(cat="tabby", dog="rex", count=1))
        first, second = SessionStore(key), SessionStore(key)
        first["cat"], second["bird"] = "siamese", "tweety"
        del second["dog"]
        first.save()
        second.save()
        merged = {"cat": "siamese", "bird": "tweety", "count": 1}
        assert dict(SessionStore(key).items()) == merged
        assert dict(second.items()) == merged

    def test_object_can_save_again_and_again(self) -> None:
        session = new_session(count=0)
        for count in range(1, 4):
            session["count"] = count
            session.save()
            assert SessionStore(key_of(session))["count"] == count

    def test_nested_change_without_the_flag_is_saved_all_the_same(self) -> None:
        """Django's engines write all of it at each save, so that this works with SESSION_SAVE_EVERY_REQUEST."""
        key = key_of(new_session(cart=["milk"]))
        session = SessionStore(key)
        session["cart"].append("bread")
        assert not session.modified
        session.save()
        assert SessionStore(key)["cart"] == ["milk", "bread"]

    def test_save_with_nothing_changed_writes_no_new_version(self) -> None:
        before = record_of(session := new_session(cat="tabby"))
        again = SessionStore(key_of(session))
        again["cat"]
        again.save()
        after = record_of(session)
        assert before is not None
        assert after is not None
        assert (after.version, after.payload) == (before.version, before.payload)
        assert after.expires_at >= before.expires_at

    def test_too_large_a_session_is_refused_and_the_stored_one_is_intact(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = new_session(cat="tabby")
        monkeypatch.setattr("sessionpersist.stores.base.MAX_PAYLOAD_BYTES", 4000)
        session["random"] = "".join(chr(32 + (i * 7919) % 90) + str(i * 31337 % 9973) for i in range(4000))
        with pytest.raises(SessionTooLarge, match="4,000"):
            session.save()
        assert dict(SessionStore(key_of(session)).items()) == {"cat": "tabby"}
        assert MAX_PAYLOAD_BYTES > 4000

    def test_too_large_a_session_that_compresses_well_is_refused_and_the_stored_one_is_intact(self) -> None:
        session = new_session(cat="tabby")
        session["letters"] = "A" * (MAX_PAYLOAD_BYTES + 1)
        with pytest.raises(SessionTooLarge):
            session.save()
        assert dict(SessionStore(key_of(session)).items()) == {"cat": "tabby"}

    @pytest.mark.parametrize("payload", [b"", b"\x01", b"junk" * 20, b"\x01" + b"\x00" * 60, b"\xff" * 100])
    def test_damaged_payload_is_no_session_and_a_line_in_the_security_log(
        self, payload: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        session = new_session(cat="tabby")
        damage(session, payload)
        with caplog.at_level(logging.WARNING, "django.security"):
            again = SessionStore(key_of(session))
            assert again.get("cat") is None
        assert again.session_key is None
        assert [record.name for record in caplog.records] == ["django.security.SuspiciousSession"]
        assert key_of(session) not in caplog.text

    def test_session_sealed_for_another_key_does_not_open(self) -> None:
        mine, theirs = new_session(cat="mine"), new_session(cat="theirs")
        record = record_of(theirs)
        assert record is not None
        damage(mine, record.payload)
        assert SessionStore(key_of(mine)).get("cat") is None

    def test_serializer_of_the_project_is_used(self, settings: Settings) -> None:
        settings.SESSION_SERIALIZER = "tests.engine.serializers.PickleSerializer"
        session = new_session(tuple=(1, frozenset({2})), bytes=b"\x00")
        session["more"] = {1: {2, 3}}
        session.save()
        again = SessionStore(key_of(session))
        assert again["tuple"] == (1, frozenset({2}))
        assert again["more"] == {1: {2, 3}}

    def test_session_of_another_serializer_is_no_session(
        self, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        session = new_session(cat="tabby")
        settings.SESSION_SERIALIZER = "tests.engine.serializers.PickleSerializer"
        with caplog.at_level(logging.WARNING, "django.security"):
            assert SessionStore(key_of(session)).get("cat") is None
        assert "PickleSerializer" in caplog.text
        assert "tabby" not in caplog.text

    def test_content_that_the_serializer_refuses_raises_and_the_stored_one_is_intact(self) -> None:
        session = new_session(cat="tabby")
        session["cat"] = object()
        with pytest.raises(TypeError):
            session.save()
        assert SessionStore(key_of(session))["cat"] == "tabby"

    def test_clearsessions_removes_the_expired_and_keeps_the_live(self, fields: Fields) -> None:
        live, expired = new_session(cat="tabby"), SessionStore()
        expired.set_expiry(-3600)
        expired.save()
        call_command("clearsessions")
        assert SessionStore().exists(key_of(live))
        assert not SessionStore().exists(key_of(expired))
        if fields["persistence_type"] in {"IN_MEMORY", "JDBC"}:
            assert routing.current_store().clear_expired() == 0  # nothing was left for a second time

    def test_hash_of_the_user_is_beside_the_payload(self) -> None:
        record = record_of(new_session(_auth_user_id="42", cat="tabby"))
        assert record is not None
        assert record.user_id == recorded_user("42")
        assert re.fullmatch("hmac:[0-9a-f]{32}", record.user_id)

    @pytest.mark.parametrize("user_id", UNUSUAL_IDS.values(), ids=UNUSUAL_IDS)
    def test_user_of_any_id_can_log_in(self, user_id: str) -> None:
        session = new_session(_auth_user_id=user_id, cat="tabby")
        session["cat"] = "siamese"
        session.save()
        assert dict(SessionStore(key_of(session)).items()) == {"_auth_user_id": user_id, "cat": "siamese"}
        assert re.fullmatch("hmac:[0-9a-f]{32}", user_id_of(session))
        assert user_id_of(new_session(_auth_user_id=user_id)) == user_id_of(session)


def user_id_of(session: SessionStore) -> str:
    """What the record of a session says of its user."""
    record = record_of(session)
    assert record is not None
    return record.user_id


def damage(session: SessionStore, payload: bytes) -> None:
    """Write other bytes into the record of a session."""
    record = record_of(session)
    assert record is not None
    damaged = record._replace(payload=payload, version=new_version())
    routing.current_store().replace(stored_key(key_of(session)), damaged, record.version)
