"""A session that gets a new key while its request is served moves when it is saved, or when its key is asked for."""

from __future__ import annotations

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.base import UpdateError

from sessionpersist.engine import SessionStore
from sessionpersist.handover import routing
from sessionpersist.session.reasons import Reason
from sessionpersist.session.sealing import stored_key
from sessionpersist.stores.base import Outcome, Record, Rotation, Saving, now_ms, saved
from tests.engine.support import RecordingStore, in_event_loop, key_of, new_session


def served(key: str | None) -> SessionStore:
    """The session of a request that the middleware will save."""
    session = SessionStore(key)
    session.saved_with_response = True
    return session


def moving(key: str | None) -> SessionStore:
    """The same, about to move to a new key."""
    session = served(key)
    session.cycle_key()
    return session


class Moving:
    @pytest.fixture
    def old_key(self) -> str:
        return key_of(new_session(cat="tabby"))

    def test_it_moves_with_what_else_has_changed(self, old_key: str) -> None:
        session = moving(old_key)
        session["dog"] = "rex"
        assert session.modified
        session.save()
        assert session.session_key not in (old_key, None)
        assert dict(SessionStore(key_of(session)).items()) == {"cat": "tabby", "dog": "rex"}
        assert not SessionStore().exists(old_key)

    def test_until_then_it_is_where_it_was(self, old_key: str) -> None:
        moving(old_key)["dog"] = "rex"
        assert dict(SessionStore(old_key).items()) == {"cat": "tabby"}

    def test_whoever_asks_for_its_key_finds_it_there(self, old_key: str) -> None:
        session = moving(old_key)
        new_key = key_of(session)
        assert new_key != old_key
        assert SessionStore(new_key)["cat"] == "tabby"
        assert not SessionStore().exists(old_key)
        session["dog"] = "rex"
        session.save()
        assert (session.session_key, SessionStore(new_key)["dog"]) == (new_key, "rex")

    def test_it_moves_once(self, old_key: str) -> None:
        session = moving(old_key)
        session.cycle_key()
        new_key = key_of(session)
        session.save()
        assert session.session_key == new_key
        session.cycle_key()
        assert session.session_key != new_key
        assert not SessionStore().exists(new_key)

    def test_what_others_save_meanwhile_comes_along(self, old_key: str) -> None:
        session = moving(old_key)
        session["dog"] = "rex"
        theirs = SessionStore(old_key)
        theirs["bird"] = "tweety"
        theirs.save()
        session.save()
        found = SessionStore(key_of(session))
        assert dict(found.items()) == {"cat": "tabby", "dog": "rex", "bird": "tweety"}
        assert not SessionStore().exists(old_key)

    def test_whoever_leaves_instead_has_left(self, old_key: str) -> None:
        session = moving(old_key)
        session.flush()
        assert (session.is_empty(), session.session_key) == (True, None)
        assert not SessionStore().exists(old_key)

    def test_nor_is_a_session_that_was_deleted_saved_after_that(self, old_key: str) -> None:
        for key in (old_key, None):
            session = moving(key)
            session.delete()
            with pytest.raises(UpdateError):
                session.save()
            session.save(must_create=True)
            assert session.session_key not in (old_key, None)
            assert not SessionStore().exists(old_key)

    def test_one_that_moves_at_once_has_moved(self, old_key: str) -> None:
        session = moving(old_key)
        session.move_at_once()
        assert not SessionStore().exists(old_key)
        session.cycle_key()
        assert SessionStore(session._session_key)["cat"] == "tabby"

    def test_the_key_that_is_drawn_is_the_one_that_it_has(self, old_key: str) -> None:
        session = moving(old_key)
        drawn: str = session._get_or_create_session_key()
        session.save()
        assert session.session_key == drawn != old_key

    def test_the_key_that_it_had_leads_nowhere_whoever_deletes_it(self, old_key: str) -> None:
        session = moving(old_key)
        session.delete(old_key)
        session.save()
        assert SessionStore(key_of(session))["cat"] == "tabby"
        assert not SessionStore().exists(old_key)

    def test_another_session_that_is_deleted_meanwhile_is_another(self, old_key: str) -> None:
        session, other = moving(old_key), new_session(cat="siamese")
        session.delete(key_of(other))
        session.save()
        assert not SessionStore().exists(old_key)
        assert not SessionStore().exists(key_of(other))
        assert SessionStore(key_of(session))["cat"] == "tabby"

    def test_a_new_session_leaves_none_behind(self, old_key: str) -> None:
        session = moving(old_key)
        session.create()
        assert SessionStore(key_of(session))["cat"] == "tabby"
        assert not SessionStore().exists(old_key)

    @pytest.mark.parametrize("key", [None, "a-key-that-nobody-has"])
    def test_without_a_session_it_gets_one(self, key: str | None) -> None:
        session = moving(key)
        assert not session.is_empty()
        session.save()
        assert session.session_key not in (key, None)
        assert SessionStore().exists(key_of(session))

    def test_a_user_who_logs_in_is_signed_in_where_it_has_moved(self, old_key: str) -> None:
        session = moving(old_key)
        session[USER_ID] = "7"
        session.note_login("7")
        session.save()
        assert SessionStore(key_of(session))[USER_ID] == "7"
        assert not SessionStore().exists(old_key)

    def test_a_login_that_was_ended_before_it_is_saved_is_none(
        self, old_key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As by staff who log this user out everywhere: listed it was, and no further key is drawn for it."""
        session = moving(old_key)
        session[USER_ID] = "7"
        store = EndedFirst(routing.current_store())
        monkeypatch.setattr(routing, "current_store", lambda: store)
        with pytest.raises(UpdateError):
            session.save()
        assert session.ended_reason is Reason.BY_STAFF
        assert not SessionStore().exists(session.session_key)

    def test_that_of_a_user_moves_at_once(self) -> None:
        """It may be ended under the key that it has, by the view itself."""
        old_key = key_of(new_session(cat="tabby", **{USER_ID: "7"}))
        session = moving(old_key)
        assert not SessionStore().exists(old_key)
        routing.current_store().end(stored_key(old_key), now_ms() + 60_000, Reason.BY_STAFF)
        session.save()
        assert SessionStore(session.session_key)[USER_ID] == "7"

    @in_event_loop
    async def test_on_a_loop_it_moves_at_once(self) -> None:
        session = SessionStore()
        session.saved_with_response = True
        await session.aset("cat", "tabby")
        await session.asave()
        old_key = key_of(session)
        await session.acycle_key()
        assert not await SessionStore().aexists(old_key)
        assert await SessionStore(session.session_key).aget("cat") == "tabby"


class EndedFirst(RecordingStore):
    """A store that saves nothing along with a list, and in which a new session is ended just before it is saved; one
    that is tried after that is not."""

    def save_both(self, first: Saving, second: Saving) -> tuple[Outcome, Outcome | None]:
        return saved(self.inner, first), None

    def rotate(self, old_key: str, version: int | None, new_key: str, record: Record) -> Rotation:
        if "rotate" not in self.asked:
            self.inner.end(new_key, now_ms() + 60_000, Reason.BY_STAFF)
        self.asked.append("rotate")
        return self.inner.rotate(old_key, version, new_key, record)
