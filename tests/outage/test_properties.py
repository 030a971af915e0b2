"""Two engine objects on shared sessions, in any interleaving, against a model of what should be stored."""

from __future__ import annotations

from collections.abc import Iterator
from pickle import dumps
from typing import Any

import pytest
from django.contrib.sessions.backends.base import UpdateError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from sessionpersist.engine import SessionStore
from sessionpersist.session.merging import three_way
from sessionpersist.testing import override_login_configuration
from tests.load import stores
from tests.servers import Valkey
from tests.sizes import quick_and_long

WHO = st.sampled_from([0, 1])
NAMES = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.one_of(st.integers(0, 3), st.text(max_size=3), st.none(), st.lists(st.integers(0, 1), max_size=2))


class Seen:
    """What the model knows of one engine object: its key, what it last read or wrote, what it holds now."""

    def __init__(self, key: str | None, base: dict[str, Any]) -> None:
        self.key, self.base, self.data = key, base, dict(base)
        self.modified = False


class TwoObjects(RuleBasedStateMachine):
    """``stored`` is the model of the store: session key -> dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[str, dict[str, Any]] = {}
        self.keys: list[str] = []
        self.objects = [SessionStore(), SessionStore()]
        self.seen = [Seen(None, {}), Seen(None, {})]

    @initialize()
    def both_hold_one_session(self) -> None:
        first = SessionStore()
        first["a"] = 0
        first.save()
        assert first.session_key
        self.stored[first.session_key] = {"a": 0}
        self.keys.append(first.session_key)
        for who in (0, 1):
            self.open(who, first.session_key)

    def open(self, who: int, key: str) -> None:
        session = SessionStore(key)
        found = dict(session.items())
        assert found == self.stored.get(key, {})
        assert session.session_key == (key if key in self.stored else None), "a load creates nothing"
        self.objects[who], self.seen[who] = session, Seen(session.session_key, found)

    @rule(who=WHO, data=st.data())
    def opens_again(self, who: int, data: st.DataObject) -> None:
        """One of all sessions there have been; the keys are random, so hypothesis chooses among their numbers."""
        self.open(who, self.keys[data.draw(st.integers(0, len(self.keys) - 1), label="session")])

    @rule(who=WHO, name=NAMES, value=VALUES)
    def sets(self, who: int, name: str, value: Any) -> None:
        self.objects[who][name] = value
        self.seen[who].data[name] = value
        self.seen[who].modified = True

    @rule(who=WHO, name=NAMES)
    def deletes(self, who: int, name: str) -> None:
        present = name in self.seen[who].data
        assert self.objects[who].pop(name, None) == self.seen[who].data.pop(name, None)
        self.seen[who].modified |= present

    @rule(who=WHO, seconds=st.sampled_from([None, 0, 60, 3600]))
    def sets_expiry(self, who: int, seconds: int | None) -> None:
        self.objects[who].set_expiry(seconds)
        seen = self.seen[who]
        if seconds is not None:
            seen.data["_session_expiry"] = seconds
        seen.modified |= seconds is not None or "_session_expiry" in seen.data
        if seconds is None:
            seen.data.pop("_session_expiry", None)

    @rule(who=WHO)
    def saves(self, who: int) -> None:
        session, seen = self.objects[who], self.seen[who]
        if seen.key is None:
            session.save()
            self.created(who)
        elif seen.key not in self.stored:
            with pytest.raises(UpdateError):
                session.save()
        else:
            session.save()
            if seen.modified or seen.data != seen.base:
                self.stored[seen.key] = three_way(seen.base, seen.data, self.stored[seen.key], dumps)
                seen.base, seen.data = dict(self.stored[seen.key]), dict(self.stored[seen.key])

    @rule(who=WHO)
    def cycles(self, who: int) -> None:
        session, seen = self.objects[who], self.seen[who]
        session.cycle_key()
        if seen.key in self.stored:
            assert seen.key
            seen.data = three_way(seen.base, seen.data, self.stored.pop(seen.key), dumps)
        self.created(who)

    @rule(who=WHO)
    def flushes(self, who: int) -> None:
        self.objects[who].flush()
        self.stored.pop(self.seen[who].key or "", None)
        self.seen[who] = Seen(None, {})
        self.seen[who].modified = True

    @rule(who=WHO)
    def expires(self, who: int) -> None:
        """A save with an expiry that has passed is the end of the session."""
        seen = self.seen[who]
        if seen.key in self.stored:
            assert seen.key
            session = SessionStore(seen.key)
            session.set_expiry(-1)
            session.save()
            del self.stored[seen.key]

    def created(self, who: int) -> None:
        key, seen = self.objects[who].session_key, self.seen[who]
        assert key
        assert key not in self.stored
        self.stored[key] = dict(seen.data)
        self.keys.append(key)
        seen.key, seen.base, seen.modified = key, dict(seen.data), True

    @invariant()
    def the_store_holds_what_the_model_says(self) -> None:
        for key, expected in self.stored.items():
            assert dict(SessionStore(key).items()) == expected

    @invariant()
    def each_object_holds_what_the_model_says(self) -> None:
        for session, seen in zip(self.objects, self.seen, strict=True):
            assert session.session_key == seen.key
            assert dict(session.items()) == seen.data


@pytest.fixture(params=["memory", "valkey"])
def configured(request: pytest.FixtureRequest) -> Iterator[None]:
    fields: dict[str, Any] = {"persistence_type": "IN_MEMORY"}
    if request.param == "valkey":
        fields = stores.fields_on(Valkey)
    with override_login_configuration(**fields):
        yield


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("examples", quick_and_long(40, 300))
def test_two_objects_in_any_interleaving_agree_with_the_model(examples: int) -> None:
    run_state_machine_as_test(
        TwoObjects,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
