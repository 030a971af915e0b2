"""What a record says of its user: informational, so that nothing about an id may refuse a login."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessionpersist.roster.records import storable_user_id
from tests.engine.support import patiently


@patiently
@given(st.text() | st.integers() | st.uuids() | st.binary())
@example("Ω")
@example("a" * 256)
@example("\udc80")
def test_any_id_becomes_a_short_printable_text(user_id: object) -> None:
    text = storable_user_id(user_id)
    assert len(text.encode("ascii")) <= 255
    assert text.isprintable()


@pytest.mark.parametrize("user_id", ["1", "a" * 255, "ada@example.org", "a b~!\\'\"", str(uuid.UUID(int=7))])
def test_id_that_every_store_can_keep_is_kept(user_id: str) -> None:
    assert storable_user_id(user_id) == user_id


def test_session_of_nobody_has_no_id() -> None:
    assert storable_user_id(None) == ""


def test_two_users_have_two_texts_and_each_has_the_same_in_every_process() -> None:
    ids = ["Ω", "ω", "a" * 256, "a" * 257, "a\nb", "a\tb", "\udc80", "\udc81"]
    assert len({storable_user_id(each) for each in ids}) == len(ids)
    assert storable_user_id("Ω") == "sha256:e3c622e5fd53065d82b70802b06f30ae"
