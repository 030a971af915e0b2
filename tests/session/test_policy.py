"""How a session is judged by its policy. Times are in milliseconds, moments are counted from a login at NOW."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionpersist.session.policy import (
    AS_DJANGO,
    CENTURY,
    CLOCKS,
    DAY,
    EXPIRY,
    HOUR,
    LIFE,
    MINUTE,
    REMEMBER,
    End,
    Policy,
    end_of,
    is_use_due,
    throttle,
)
from sessionpersist.session.reasons import Reason
from tests.engine.support import patiently
from tests.sizes import examples

NOW = 1_000 * DAY
COOKIE_AGE = 14 * DAY
WATCHED = Policy(idle=30 * MINUTE)
REMEMBERING = Policy(idle=30 * MINUTE, absolute=8 * HOUR, remember=30 * DAY)


def used(at: int, life: int = 30 * MINUTE, begun: int = NOW, **session: Any) -> dict[str, Any]:
    """A session that was last used then, as end_of() takes it."""
    return {"session": {LIFE: life, **session}, "begun": begun, "expires_at": at + life}


def unwatched(at: int, age: int = COOKIE_AGE, **session: Any) -> dict[str, Any]:
    """A session that was last saved then, and without a policy."""
    return {"session": session, "begun": at, "expires_at": at + age}


def ends(policy: Policy, kept: dict[str, Any], now: int = NOW + 100 * DAY) -> End:
    return end_of(policy, **kept, now=now, cookie_age=COOKIE_AGE)


def is_due(policy: Policy, kept: dict[str, Any], now: int) -> bool:
    return is_use_due(policy, kept["session"], kept["expires_at"], now)


def test_without_a_policy_a_session_ends_where_its_store_says() -> None:
    assert ends(AS_DJANGO, unwatched(NOW)) == End(NOW + COOKIE_AGE, Reason.EXPIRED)


def test_idle_counts_from_the_last_use() -> None:
    assert ends(WATCHED, used(NOW + HOUR)) == End(NOW + HOUR + 30 * MINUTE, Reason.IDLE)


@pytest.mark.parametrize("minutes", [1, 5, 29])
def test_a_shorter_idle_acts_on_sessions_that_are_there(minutes: int) -> None:
    assert ends(Policy(idle=minutes * MINUTE), used(NOW)) == End(NOW + minutes * MINUTE, Reason.IDLE)


def test_a_longer_idle_acts_from_the_next_use() -> None:
    kept = used(NOW)
    assert ends(Policy(idle=HOUR), kept).at == NOW + 30 * MINUTE
    assert is_due(Policy(idle=HOUR), kept, NOW + 1)


def test_absolute_counts_from_the_login_whatever_the_use() -> None:
    policy = Policy(idle=30 * MINUTE, absolute=8 * HOUR)
    end = End(NOW + 8 * HOUR, Reason.ABSOLUTE)
    for at in (8 * HOUR - MINUTE, 9 * HOUR):
        assert ends(policy, used(NOW + at)) == end
    assert ends(Policy(absolute=8 * HOUR), unwatched(NOW)) == end


def test_a_remembered_session_has_one_limit_from_its_login() -> None:
    kept = used(NOW + DAY, life=30 * DAY, **{REMEMBER: True})
    assert ends(REMEMBERING, kept) == End(NOW + 30 * DAY, Reason.ABSOLUTE)


def test_remember_off_on_the_page_is_off_for_those_that_have_it() -> None:
    kept = used(NOW + DAY, life=30 * DAY, begun=NOW + DAY, **{REMEMBER: True})
    assert ends(Policy(idle=HOUR, absolute=8 * HOUR), kept) == End(NOW + DAY + HOUR, Reason.IDLE)
    assert ends(Policy(absolute=8 * HOUR), kept) == End(NOW + DAY + 8 * HOUR, Reason.ABSOLUTE)


def test_a_policy_taken_back_leaves_what_it_watched_to_the_cookie_age() -> None:
    kept = used(NOW, life=30 * DAY, **{REMEMBER: True})
    assert ends(AS_DJANGO, kept) == End(NOW + COOKIE_AGE, Reason.IDLE)
    assert ends(AS_DJANGO, used(NOW)).at == NOW + 30 * MINUTE  # as long as it was given, and no longer


@pytest.mark.parametrize("session", [{}, {REMEMBER: False}, {REMEMBER: 1}, {REMEMBER: "yes"}])
def test_a_session_that_does_not_say_so_is_not_remembered(session: dict[str, Any]) -> None:
    assert REMEMBERING.life_of(session) == 30 * MINUTE


@pytest.mark.parametrize("seconds", [90, 90.0])
def test_set_expiry_in_seconds_is_the_idle_of_that_session(seconds: float) -> None:
    session: dict[str, Any] = {EXPIRY: seconds}
    assert WATCHED.life_of(session) == 90_000
    kept = used(NOW, life=90_000, **session)
    assert ends(Policy(idle=MINUTE, absolute=8 * HOUR), kept) == End(NOW + 90_000, Reason.EXPIRED)


def test_set_expiry_does_not_put_off_the_absolute_end() -> None:
    kept = used(NOW, life=100 * HOUR, **{EXPIRY: 360_000})
    assert ends(Policy(absolute=8 * HOUR), kept) == End(NOW + 8 * HOUR, Reason.ABSOLUTE)


def test_a_date_of_set_expiry_is_not_judged_by_use() -> None:
    kept = unwatched(NOW, age=5 * DAY, **{EXPIRY: "2050-01-01T00:00:00+00:00"})
    assert WATCHED.life_of(kept["session"]) is None
    assert ends(WATCHED, kept, NOW + DAY) == End(NOW + 5 * DAY, Reason.EXPIRED)
    assert not is_due(WATCHED, kept, NOW + DAY)


def test_a_session_until_the_browser_closes_is_idle_by_the_policy() -> None:
    assert WATCHED.life_of({EXPIRY: 0}) == 30 * MINUTE
    assert ends(Policy(idle=MINUTE), used(NOW, **{EXPIRY: 0})) == End(NOW + MINUTE, Reason.IDLE)


@pytest.mark.parametrize("seconds", [1e300, float("inf"), 10**30])
def test_no_life_is_longer_than_a_century(seconds: float) -> None:
    assert WATCHED.life_of({EXPIRY: seconds}) == CENTURY
    assert WATCHED.life_of({EXPIRY: -seconds}) == 0


class TestPolicyThatBegins:
    """Sessions of before, the use of which nobody has noted."""

    def test_nobody_is_thrown_out_the_moment_idle_is_turned_on(self) -> None:
        kept = unwatched(NOW - 10 * DAY)
        policy = Policy(idle=30 * MINUTE, since=NOW)
        assert ends(policy, kept) == End(NOW + 30 * MINUTE, Reason.IDLE)
        assert is_due(policy, kept, NOW + 1)

    def test_what_was_saved_since_counts_from_there(self) -> None:
        policy = Policy(idle=30 * MINUTE, since=NOW - DAY)
        assert ends(policy, unwatched(NOW - MINUTE)).at == NOW + 29 * MINUTE

    def test_uses_that_the_policy_before_did_not_have_noted_are_believed(self) -> None:
        """Eight hours are noted every 24 minutes: with five minutes from now on, whoever is there stays."""
        kept = used(NOW - 20 * MINUTE, life=8 * HOUR)
        assert ends(Policy(idle=5 * MINUTE, since=NOW), kept).at == NOW + 5 * MINUTE
        assert ends(Policy(idle=5 * MINUTE, since=NOW - 10 * MINUTE), kept).at == NOW - 5 * MINUTE

    def test_a_session_left_long_ago_ends_at_once(self) -> None:
        kept = used(NOW - 2 * HOUR, life=8 * HOUR)
        assert ends(Policy(idle=5 * MINUTE, since=NOW), kept).at < NOW

    def test_another_decision_gives_no_session_more_time(self) -> None:
        """As that of a limit: ``since`` is new, and the time-out is not."""
        policy = Policy(idle=30 * MINUTE, since=NOW + 29 * MINUTE)
        assert ends(policy, used(NOW)).at == NOW + 30 * MINUTE

    def test_a_use_in_the_future_was_noted_by_a_process_that_knew_another_policy(self) -> None:
        kept = {"session": {LIFE: 30 * MINUTE}, "begun": NOW, "expires_at": NOW + COOKIE_AGE}
        assert ends(Policy(idle=30 * MINUTE, since=NOW - DAY), kept, NOW).at == NOW + 30 * MINUTE
        assert is_due(WATCHED, kept, NOW)

    @pytest.mark.parametrize("ahead", [30_000, 10 * MINUTE, CLOCKS])
    def test_a_node_that_is_ahead_of_others_is_no_other_policy(self, ahead: int) -> None:
        kept = used(NOW + ahead)
        assert ends(WATCHED, kept, NOW) == End(NOW + 30 * MINUTE, Reason.IDLE)
        assert not is_due(WATCHED, kept, NOW)


class TestUse:
    @pytest.mark.parametrize(
        ("life", "pause"),
        [
            (MINUTE, MINUTE // 2),
            (2 * MINUTE, MINUTE),
            (3 * MINUTE, MINUTE),
            (20 * MINUTE, MINUTE),
            (HOUR, 3 * MINUTE),
            (8 * HOUR, 24 * MINUTE),
            (20 * HOUR, HOUR),
            (30 * DAY, HOUR),
            (0, 0),
        ],
    )
    def test_is_noted_again_after_a_twentieth_of_the_life(self, life: int, pause: int) -> None:
        assert throttle(life) == pause

    def test_is_due_from_there_on(self) -> None:
        kept = used(NOW)
        assert not is_due(WATCHED, kept, NOW + 90_000 - 1)
        assert is_due(WATCHED, kept, NOW + 90_000)

    def test_is_never_due_where_it_is_not_watched(self) -> None:
        for policy in (AS_DJANGO, Policy(absolute=HOUR), Policy(remember=DAY)):
            assert not is_due(policy, unwatched(NOW - DAY), NOW)

    def test_is_due_once_where_it_is_not_watched_any_more(self) -> None:
        for policy in (AS_DJANGO, Policy(absolute=HOUR), Policy(remember=DAY)):
            assert is_due(policy, used(NOW), NOW)

    def test_is_due_at_once_where_the_session_has_another_life_by_now(self) -> None:
        for policy in (Policy(idle=MINUTE * 29), Policy(idle=HOUR)):
            assert is_due(policy, used(NOW), NOW)
        assert is_due(REMEMBERING, used(NOW, **{REMEMBER: True}), NOW)


class User:
    """Somebody who comes and goes while staff decide now this and now that, and the session as a store has it."""

    def __init__(self) -> None:
        self.policy, self.now = AS_DJANGO, NOW
        self.session: dict[str, Any] = {}
        self.came_at, self.expires_at = NOW, NOW - DAY + COOKIE_AGE  # as Django saves it, not with each use

    def decide(self, minutes: int) -> None:
        self.policy = Policy(idle=minutes * MINUTE, since=self.now)

    def is_out(self) -> bool:
        end = end_of(self.policy, self.session, NOW, self.expires_at, self.now, COOKIE_AGE)
        return end.at <= self.now

    def comes(self) -> None:
        self.came_at = self.now
        if is_use_due(self.policy, self.session, self.expires_at, self.now):
            self.session[LIFE] = self.policy.life_of(self.session)
            self.expires_at = self.now + self.session[LIFE]


# After how many minutes staff decide, and what, in minutes too; and how long after that the user comes.
VISITS = st.tuples(
    st.sampled_from([0, 0, 1, 2, 100]),
    st.sampled_from([None, None, 2, 5, 480]),
    st.sampled_from([0, 1, 2, 4, 15, 30, 600]),
)


@settings(patiently, max_examples=examples(10))
@given(st.lists(VISITS, min_size=4, max_size=12))
def test_whoever_is_there_stays_and_whoever_is_not_goes(visits: list[tuple[int, int | None, int]]) -> None:
    user = User()
    user.decide(30)
    shortest = 30  # minutes: of the idle time-outs since the user last came
    for before, decision, pause in visits:
        user.now += before * MINUTE
        if decision is not None:
            user.decide(decision)
            shortest = min(shortest, decision)
        user.now += pause * MINUTE
        idle = user.policy.idle or 0
        latest = max(user.came_at, user.policy.since)
        if LIFE in user.session:
            latest = min(latest, user.came_at + HOUR)
        if user.now >= latest + idle:
            assert user.is_out(), "nobody has used it for the whole time-out"
        if user.now < user.came_at + shortest * MINUTE - throttle(shortest * MINUTE):
            assert not user.is_out(), "the user has just been there"
        if user.is_out():
            return
        user.comes()
        shortest = idle // MINUTE


def test_the_longest_life_is_that_of_any_session() -> None:
    assert AS_DJANGO.longest_life == 0
    assert Policy(absolute=DAY).longest_life == 0
    assert REMEMBERING.longest_life == 30 * DAY
    assert Policy(idle=60 * DAY, remember=DAY).longest_life == 60 * DAY


def test_a_time_is_told_in_the_largest_unit_that_it_is_whole_in() -> None:
    policy = Policy.of({"idle_minutes": 10_080, "absolute_hours": 25, "remember_days": 1})
    assert policy.describe() == "idle 7 days, absolute 25 hours, remember 1 day"
    assert Policy.of({"idle_minutes": 90}).describe() == "idle 90 minutes"


@pytest.mark.parametrize("number", [0, -2, None])
def test_a_limit_with_which_nobody_could_log_in_is_none(number: int | None) -> None:
    assert Policy.of({"max_sessions": number}) == AS_DJANGO
