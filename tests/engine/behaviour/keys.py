"""Session keys: those that the engine draws, and those that somebody makes up."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, CreateError

from sessionpersist.engine import SessionStore
from tests.engine.support import in_event_loop, key_of, new_session

UNUSUAL_KEYS = {
    "long": "a" * 5000,
    "not ASCII": "schlüssel-Ω-\U0001f511",
    "NUL byte": "key\x00with\x00nul",
    "lone surrogate": "key-\udc80-surrogate",
    "glob": "*" * 12,
    "wire protocol": "key\r\nFLUSHALL\r\n",
    "percent": "%s%s%s%s%(x)s",
    "quote": "'; DROP TABLE sessionpersist_storedsession; --",
    "operator": "{'$gt': ''}",
    "path": "../../../etc/passwd",
}

# What no session can have as its key. Django's engines say "there is none" of the texts, some of them of the rest too.
NO_KEYS = {
    "None": None,
    "empty": "",
    "number": 12345678,
    "zero": 0,
    "bytes": b"a-key-in-bytes",
    "object": object(),
}


class Keys:
    def test_key_is_32_characters_of_django_s_alphabet(self) -> None:
        keys = {key_of(new_session()) for _ in range(3)}
        assert len(keys) == 3
        assert all(len(key) == 32 and set(key) <= set(VALID_KEY_CHARS) for key in keys)

    @pytest.mark.parametrize("key", ["", "1", "1234567"])
    def test_key_that_is_too_short_counts_as_none(self, key: str) -> None:
        session = SessionStore(key)
        assert session.session_key is None
        session.save()
        assert session.session_key != key
        assert SessionStore().exists(key_of(session))

    @pytest.mark.parametrize("key", NO_KEYS.values(), ids=NO_KEYS)
    def test_what_is_no_key_leads_nowhere(self, key: Any) -> None:
        session = new_session(cat="tabby")
        assert session.exists(key) is False
        assert SessionStore().delete(key) is None  # type: ignore[func-returns-value]
        assert SessionStore(key_of(session))["cat"] == "tabby"

    @in_event_loop
    async def test_what_is_no_key_leads_nowhere_in_async_either(self) -> None:
        for key in NO_KEYS.values():
            assert await SessionStore().aexists(key) is False  # type: ignore[arg-type]
            await SessionStore().adelete(key)  # type: ignore[arg-type]

    @pytest.mark.parametrize("key", ["", "1", 0, b"a-key-in-bytes"])
    def test_deleting_what_is_no_key_spares_this_session(self, key: Any) -> None:
        session = new_session(cat="tabby")
        session.delete(key)
        assert SessionStore().exists(key_of(session))

    @pytest.mark.parametrize("key", [None, "", "1234567"])
    def test_without_a_key_each_method_does_what_it_does_for_a_new_session(self, key: str | None) -> None:
        for name in ("load", "delete", "flush"):
            session = SessionStore(key)
            assert not getattr(session, name)()
            assert session.session_key is None
        for name in ("save", "create", "cycle_key"):
            session = SessionStore(key)
            session["cat"] = "tabby"
            getattr(session, name)()
            assert SessionStore(key_of(session))["cat"] == "tabby"

    def test_usual_idiom_of_making_sure_that_there_is_a_session(self) -> None:
        session = SessionStore()
        if not session.exists(session.session_key):
            session.create()
        assert session.exists(session.session_key)

    @pytest.mark.parametrize("key", UNUSUAL_KEYS.values(), ids=UNUSUAL_KEYS)
    def test_made_up_key_is_an_empty_session_that_is_not_adopted(self, key: str) -> None:
        session = SessionStore(key)
        assert session.get("cat") is None
        assert session.session_key is None
        session["cat"] = "tabby"
        session.save()
        assert session.session_key != key
        assert not SessionStore().exists(key)

    @pytest.mark.parametrize("key", UNUSUAL_KEYS.values(), ids=UNUSUAL_KEYS)
    def test_key_that_the_project_chose_is_kept(self, key: str) -> None:
        session = SessionStore(key)
        session.save(must_create=True)
        assert session.session_key == key
        session["cat"] = "tabby"
        session.save()
        assert SessionStore(key)["cat"] == "tabby"
        session.delete()
        assert not SessionStore().exists(key)

    def test_keys_that_differ_in_case_only_are_two_sessions(self) -> None:
        lower, upper = SessionStore("prefix-key-a"), SessionStore("prefix-key-A")
        lower.save(must_create=True)
        upper.save(must_create=True)
        lower["cat"], upper["cat"] = "lower", "upper"
        lower.save()
        upper.save()
        assert (SessionStore("prefix-key-a")["cat"], SessionStore("prefix-key-A")["cat"]) == (
            "lower",
            "upper",
        )
        lower.delete()
        upper.delete()

    def test_creating_under_a_taken_key_is_refused_and_changes_nothing(self) -> None:
        taken = new_session(cat="tabby")
        with pytest.raises(CreateError):
            SessionStore(key_of(taken)).save(must_create=True)
        assert SessionStore(key_of(taken))["cat"] == "tabby"

    def test_key_can_not_be_assigned(self) -> None:
        session = SessionStore()
        with pytest.raises(AttributeError):
            session.session_key = "another-key"  # type: ignore[misc]

    def test_cycling_moves_the_content_to_a_new_key_and_ends_the_old(self) -> None:
        session = new_session(cat="tabby")
        old = key_of(session)
        session.cycle_key()
        assert session.session_key != old
        assert session["cat"] == "tabby"
        assert not SessionStore().exists(old)
        assert SessionStore(key_of(session))["cat"] == "tabby"

    def test_cycling_a_session_that_was_not_read_yet_moves_the_content(self) -> None:
        old = key_of(new_session(cat="tabby"))
        session = SessionStore(old)
        session.cycle_key()
        session.save()
        assert session.session_key != old
        assert SessionStore(key_of(session))["cat"] == "tabby"
        assert SessionStore(old).get("cat") is None

    def test_cycling_a_session_without_a_key_gives_it_one(self) -> None:
        session = SessionStore()
        session["cat"] = "tabby"
        session.cycle_key()
        assert SessionStore(key_of(session))["cat"] == "tabby"

    def test_cycling_brings_along_what_a_parallel_request_saved(self) -> None:
        session = new_session(cat="tabby")
        parallel = SessionStore(key_of(session))
        parallel["dog"] = "rex"
        parallel.save()
        session["bird"] = "tweety"
        session.cycle_key()
        assert dict(SessionStore(key_of(session)).items()) == {"cat": "tabby", "dog": "rex", "bird": "tweety"}
        assert not SessionStore().exists(key_of(parallel))
