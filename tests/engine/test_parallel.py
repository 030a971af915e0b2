"""Requests of one session at the same time: nothing that one of them was told is saved gets lost."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sessionpersist.engine import SessionStore
from tests.engine.support import key_of, new_session

pytestmark = pytest.mark.usefixtures("in_memory")


def test_parallel_saves_of_many_threads_lose_no_key() -> None:
    key = key_of(new_session(start=True))
    ready = threading.Barrier(8)

    def add(number: int) -> None:
        session = SessionStore(key)
        session[str(number)] = number
        ready.wait()
        session.save()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    assert dict(SessionStore(key).items()) == {"start": True, **{str(number): number for number in range(8)}}


def test_value_that_only_changed_its_type_survives_a_merge() -> None:
    key = key_of(new_session(flag=1))
    mine, theirs = SessionStore(key), SessionStore(key)
    mine["flag"], theirs["other"] = True, 1
    theirs.save()
    mine.save()
    assert SessionStore(key)["flag"] is True


def test_value_that_json_keeps_differently_counts_as_unchanged() -> None:
    """We saved a tuple and a number as a key, which JSON gives back as a list and a text: we did not change them."""
    mine = new_session(pair=(1, 2), table={1: "one"})
    theirs = SessionStore(key_of(mine))
    theirs["pair"], theirs["table"] = [3, 4], {"1": "uno"}
    theirs.save()
    mine["other"] = 1
    mine.save()
    assert dict(SessionStore(key_of(mine)).items()) == {"pair": [3, 4], "table": {"1": "uno"}, "other": 1}


def test_parallel_logins_of_one_anonymous_session_end_the_anonymous_one() -> None:
    old = key_of(new_session(cart=["milk"]))
    sessions = [SessionStore(old) for _ in range(2)]
    for session in sessions:
        session["user"] = 1
    for session in sessions:
        session.cycle_key()
    assert not SessionStore().exists(old)
    assert all(SessionStore(key_of(session))["cart"] == ["milk"] for session in sessions)
