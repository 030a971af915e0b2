"""A session is a dictionary that knows whether it was looked at and whether it was changed."""

from __future__ import annotations

import pytest

from sessionpersist.engine import SessionStore
from tests.engine.support import key_of, new_session


class Contents:
    def test_new_session_is_neither_modified_nor_accessed(self) -> None:
        session = SessionStore()
        assert (session.modified, session.accessed, session.session_key) == (False, False, None)
        assert session.is_empty()

    def test_get_of_an_absent_key_is_the_default(self) -> None:
        session = SessionStore()
        assert session.get("cat") is None
        assert session.get("cat", "tabby") == "tabby"
        assert (session.accessed, session.modified) == (True, False)

    def test_setting_a_key_modifies(self) -> None:
        session = SessionStore()
        session["cat"] = "dog"
        assert session["cat"] == "dog"
        assert session.modified
        assert not session.is_empty()

    def test_pop_returns_and_removes(self) -> None:
        session = new_session(cat="tabby")
        session.modified = False
        assert session.pop("cat") == "tabby"
        assert session.modified
        assert "cat" not in session

    def test_pop_of_an_absent_key_is_the_default_and_no_change(self) -> None:
        session = new_session(cat="tabby")
        session.modified = False
        assert session.pop("dog", "none") == "none"
        assert session.pop("dog", default=None) is None
        assert not session.modified

    def test_pop_of_an_absent_key_without_default_raises(self) -> None:
        with pytest.raises(KeyError):
            SessionStore().pop("dog")

    def test_deleting_a_key_is_saved(self) -> None:
        session = new_session(cat="tabby", dog="rex")
        del session["cat"]
        session.save()
        assert dict(SessionStore(key_of(session)).items()) == {"dog": "rex"}

    def test_setdefault_keeps_what_is_there_and_sets_what_is_not(self) -> None:
        session = new_session(cat="tabby")
        session.modified = False
        assert session.setdefault("cat", "other") == "tabby"
        assert not session.modified
        assert session.setdefault("dog", "rex") == "rex"
        assert session.modified
        assert session["dog"] == "rex"

    def test_update_modifies(self) -> None:
        session = SessionStore()
        session.update({"cat": "tabby", "dog": "rex"})
        assert (session.accessed, session.modified) == (True, True)
        assert session["dog"] == "rex"

    def test_keys_values_and_items_read_without_modifying(self) -> None:
        key = key_of(new_session(cat="tabby"))
        session = SessionStore(key)
        assert list(session.keys()) == ["cat"]
        assert list(session.values()) == ["tabby"]
        assert list(session.items()) == [("cat", "tabby")]
        assert session.has_key("cat")
        assert "cat" in session
        assert not session.has_key("dog")
        assert (session.accessed, session.modified) == (True, False)

    def test_clear_empties_and_modifies(self) -> None:
        session = new_session(cat="tabby")
        session.modified = session.accessed = False
        session.clear()
        assert list(session.items()) == []
        assert (session.accessed, session.modified) == (True, True)

    def test_every_value_that_json_knows_comes_back(self) -> None:
        values = {
            "none": None,
            "true": True,
            "one": 1,
            "float": 1.5,
            "text": "Ω \U0001f408 \x00 \u2028",
            "list": [1, [2, {"three": 3}]],
            "": "empty",
        }
        session = new_session(**values)
        assert dict(SessionStore(key_of(session)).items()) == values

    def test_test_cookie_is_remembered_until_deleted(self) -> None:
        session = SessionStore()
        assert not session.test_cookie_worked()
        session.set_test_cookie()
        session.save()
        session = SessionStore(key_of(session))
        assert session.test_cookie_worked()
        session.delete_test_cookie()
        session.save()
        assert not SessionStore(key_of(session)).test_cookie_worked()
