"""The three-way merge: what two requests did to one session, put together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pickle import dumps
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionpersist.session.merging import same, three_way
from tests.engine.support import patiently

Session = dict[str, Any]

CASES: dict[str, tuple[Session, Session, Session, Session]] = {
    # what it is: base, ours, theirs, merged
    "nobody changed anything": ({"a": 1}, {"a": 1}, {"a": 1}, {"a": 1}),
    "we changed": ({"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}),
    "they changed": ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}),
    "each changed another key": ({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 2}),
    "both changed one key: ours wins": ({"a": 1}, {"a": 2}, {"a": 3}, {"a": 2}),
    "both added one key: ours wins": ({}, {"a": 2}, {"a": 3}, {"a": 2}),
    "each added another key": ({}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
    "we deleted": ({"a": 1, "b": 1}, {"b": 1}, {"a": 1, "b": 1}, {"b": 1}),
    "they deleted": ({"a": 1, "b": 1}, {"a": 1, "b": 1}, {"b": 1}, {"b": 1}),
    "we deleted, they added": ({"a": 1}, {}, {"a": 1, "b": 2}, {"b": 2}),
    "we added, they deleted": ({"a": 1}, {"a": 1, "b": 2}, {}, {"b": 2}),
    "we deleted what they changed: ours wins": ({"a": 1}, {}, {"a": 2}, {}),
    "we changed what they deleted: ours wins": ({"a": 1}, {"a": 2}, {}, {"a": 2}),
    "both deleted": ({"a": 1}, {}, {}, {}),
    "we cleared all": ({"a": 1, "b": 1}, {}, {"a": 1, "b": 1, "c": 1}, {"c": 1}),
    "we set to None, which is not a deletion": ({"a": 1}, {"a": None}, {"a": 1, "b": 2}, {"a": None, "b": 2}),
    "we deleted a None": ({"a": None}, {}, {"a": None}, {}),
    "a key is one value, however deep": ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 2]}),
    "True is not 1": ({"a": 1}, {"a": True}, {"a": 1}, {"a": True}),
    "False is not 0, at any depth": (
        {"a": [{"b": 0}]},
        {"a": [{"b": False}]},
        {"a": [{"b": 0}]},
        {"a": [{"b": False}]},
    ),
    "1.0 is not 1": ({"a": 1}, {"a": 1.0}, {"a": 1}, {"a": 1.0}),
    "the order of keys is no change": ({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}, {"a": 3}, {"a": 3}),
}

values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0]) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2),
    max_leaves=4,
)
sessions = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


def state(session: Session, key: str) -> str:
    """What a session says of a key; unlike ==, a text tells 1 from True."""
    return repr(session[key]) if key in session else "absent"


@pytest.mark.parametrize(("base", "ours", "theirs", "merged"), CASES.values(), ids=CASES)
def test_merge_of(base: Session, ours: Session, theirs: Session, merged: Session) -> None:
    found = three_way(base, ours, theirs, dumps)
    assert {key: state(found, key) for key in found} == {key: state(merged, key) for key in merged}


@patiently
@given(sessions, sessions, sessions)
def test_no_change_made_by_one_side_only_is_lost(base: Session, ours: Session, theirs: Session) -> None:
    merged = three_way(base, ours, theirs, dumps)
    for key in base.keys() | ours.keys() | theirs.keys():
        if state(theirs, key) == state(base, key):
            assert state(merged, key) == state(ours, key)
        if state(ours, key) == state(base, key):
            assert state(merged, key) == state(theirs, key)


@patiently
@given(sessions, sessions, sessions)
def test_what_we_changed_is_as_we_left_it(base: Session, ours: Session, theirs: Session) -> None:
    merged = three_way(base, ours, theirs, dumps)
    for key in base.keys() | ours.keys():
        if not same(ours.get(key, "absent"), base.get(key, "absent"), dumps):
            assert state(merged, key) == state(ours, key)


@patiently
@given(sessions, sessions, sessions)
def test_nothing_comes_from_nowhere(base: Session, ours: Session, theirs: Session) -> None:
    merged = three_way(base, ours, theirs, dumps)
    for key in merged:
        assert state(merged, key) in {state(ours, key), state(theirs, key)}


@patiently
@given(sessions, sessions, sessions)
def test_inputs_stay_as_they_were(base: Session, ours: Session, theirs: Session) -> None:
    before = repr((base, ours, theirs))
    three_way(base, ours, theirs, dumps)
    assert repr((base, ours, theirs)) == before


class Cart:
    """As projects have them: it does not say when two are equal."""

    def __init__(self, *items: str) -> None:
        self.items = items


class Array:
    """As NumPy has it: == is no answer."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> Any:
        return Array()

    def __bool__(self) -> bool:
        raise ValueError("The truth of an array is ambiguous.")


NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "again", "another"),
    [
        pytest.param(Cart("book"), Cart("book"), Cart("book", "pen"), id="without =="),
        pytest.param(Array(1), Array(1), Array(2), id="an == that is no answer"),
        pytest.param(NOW, NOW + timedelta(), NOW + timedelta(seconds=1), id="a moment"),
        pytest.param({1, 9}, {9, 1}, {1}, id="a set"),
        pytest.param(float("nan"), float("nan"), 1.0, id="not a number"),
        pytest.param({"cart": [Cart("book")]}, {"cart": [Cart("book")]}, {"cart": [Cart("pen")]}, id="deep"),
    ],
)
def test_objects_of_the_project_are_as_its_serializer_has_them(first: Any, again: Any, another: Any) -> None:
    assert same(first, again, dumps)
    assert not same(first, another, dumps)
    kept = three_way({"a": first}, {"a": again, "b": 1}, {"a": another}, dumps)
    assert kept["a"] is another
    changed = three_way({"a": first}, {"a": another}, {"a": again, "b": 1}, dumps)
    assert changed["a"] is another
