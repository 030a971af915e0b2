"""When the policy of the Login Configuration ends a session, and what puts that off. The clock is the tests' own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.base import UpdateError
from django.utils import timezone

from sessionpersist import engine
from sessionpersist.engine import SessionStore
from sessionpersist.session import timed
from sessionpersist.session.policy import DAY, HOUR, LIFE, MINUTE
from sessionpersist.session.reasons import Reason
from sessionpersist.stores import base
from sessionpersist.stores.base import Record, now_ms
from sessionpersist.testing import override_login_configuration
from tests.engine.support import Fields, in_event_loop, key_of, new_session, record_of

SECOND = 1000
Decide = Callable[..., None]


class Clock:
    """The clock of this process, as records are judged by it. It can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0  # milliseconds

    def time_ns(self) -> int:
        return time.time_ns() + self.ahead * 1_000_000

    def passes(self, milliseconds: int) -> None:
        self.ahead += milliseconds


def put_forward(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Have this process go by a clock of the test's own."""
    clock = Clock()
    monkeypatch.setattr(base, "time", SimpleNamespace(time_ns=clock.time_ns))
    return clock


def stored(session: SessionStore) -> Record:
    """The record of a session that is live."""
    record = record_of(session)
    assert record is not None
    return record


def visit(session: SessionStore, background: bool = False) -> SessionStore:
    """A request with the key of that session, which reads it, as under the middleware."""
    again = SessionStore(key_of(session))
    again.background = background
    again.get("cat")
    again.note_use()
    if again.modified:
        again.save()
    return again


def is_over(session: SessionStore) -> Reason | None:
    """Why a session is over; None while it is live. Whoever asks is of one mind."""
    again = SessionStore(key_of(session))
    live = again.get("cat") == "tabby"
    assert SessionStore().exists(key_of(session)) is live
    if live:
        assert again.ended_reason is None
        return None
    assert again.session_key is None
    return again.ended_reason or Reason.EXPIRED


class TimeOuts:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Clock:
        return put_forward(monkeypatch)

    @pytest.fixture
    def decide(self, fields: Fields, in_force: None) -> Iterator[Decide]:
        """What staff decide from now on."""
        with ExitStack() as decisions:

            def decide(**policy: Any) -> None:
                decisions.enter_context(override_login_configuration(**fields, **policy))

            yield decide

    def test_without_a_policy_nothing_is_added_to_a_session(self) -> None:
        session = new_session(cat="tabby")
        assert dict(SessionStore(key_of(session)).items()) == {"cat": "tabby"}
        assert visit(session).modified is False
        assert session.time_left() == (None, False)

    def test_session_that_is_not_used_ends(self, decide: Decide, clock: Clock) -> None:
        decide(idle_minutes=30)
        session = new_session(cat="tabby")
        clock.passes(30 * MINUTE - 5 * SECOND)
        assert is_over(session) is None
        clock.passes(5 * SECOND)
        assert is_over(session)

    def test_session_that_is_used_goes_on(self, decide: Decide, clock: Clock) -> None:
        """For long: what is sealed says that a session is over some time after it expires, unless it is saved."""
        decide(idle_minutes=30)
        session = new_session(cat="tabby")
        for _ in range(24):
            clock.passes(25 * MINUTE)
            visit(session)
        assert is_over(session) is None
        clock.passes(30 * MINUTE)
        assert is_over(session)

    def test_use_is_written_down_once_in_a_while_only(self, decide: Decide, clock: Clock) -> None:
        decide(idle_minutes=60)
        before = stored(session := new_session(cat="tabby"))
        clock.passes(3 * MINUTE - 5 * SECOND)
        visit(session)
        assert stored(session) == before
        clock.passes(5 * SECOND)
        visit(session)
        after = stored(session)
        assert after.expires_at >= before.expires_at + 3 * MINUTE
        assert after.version == before.version  # a touch

    def test_shorter_idle_acts_on_sessions_that_are_there(self, decide: Decide, clock: Clock) -> None:
        decide(idle_minutes=60)
        session = new_session(cat="tabby")
        clock.passes(10 * MINUTE)
        decide(idle_minutes=5)
        assert is_over(session) is Reason.IDLE

    @pytest.mark.parametrize(
        ("shorter", "longer", "reason"),
        [
            ({"idle_minutes": 5}, {"idle_minutes": 60}, Reason.IDLE),
            ({"absolute_hours": 1}, {}, Reason.ABSOLUTE),
            ({"absolute_hours": 1}, {"absolute_hours": 8}, Reason.ABSOLUTE),
        ],
    )
    def test_one_that_was_found_to_be_over_stays_so_with_a_longer_time(
        self, decide: Decide, clock: Clock, shorter: Fields, longer: Fields, reason: Reason
    ) -> None:
        decide(idle_minutes=600)
        session = new_session(cat="tabby")
        clock.passes(2 * HOUR)
        decide(**{"idle_minutes": None, **shorter})
        assert is_over(session) is reason
        decide(**{"idle_minutes": None, **longer})
        assert is_over(session) is reason

    def test_longer_idle_acts_from_the_next_use(self, decide: Decide, clock: Clock) -> None:
        decide(idle_minutes=5)
        used, unused = new_session(cat="tabby"), new_session(cat="tabby")
        decide(idle_minutes=60)
        visit(used)
        clock.passes(10 * MINUTE)
        assert is_over(used) is None
        assert is_over(unused)

    def test_nobody_is_thrown_out_the_moment_idle_is_turned_on(self, decide: Decide, clock: Clock) -> None:
        """Sessions that 0.3.0 has saved, or this release without a policy."""
        used, unused = new_session(cat="tabby"), new_session(cat="tabby")
        clock.passes(3 * DAY)
        decide(idle_minutes=30, policy_since=datetime.fromtimestamp(now_ms() / 1000, UTC))
        clock.passes(29 * MINUTE)
        assert is_over(used) is None
        visit(used)
        clock.passes(MINUTE)
        assert is_over(used) is None
        assert is_over(unused) is Reason.IDLE

    def test_idle_turned_off_leaves_the_session_to_django_from_its_next_save(
        self, decide: Decide, clock: Clock
    ) -> None:
        decide(idle_minutes=30)
        session = new_session(cat="tabby")
        assert SessionStore(key_of(session))[LIFE] == 30 * MINUTE
        decide()
        again = SessionStore(key_of(session))
        again["dog"] = "rex"
        again.save()
        clock.passes(DAY)
        assert dict(SessionStore(key_of(session)).items()) == {"cat": "tabby", "dog": "rex"}

    def test_whoever_is_there_when_idle_is_turned_off_stays_as_long_as_django_has_it(
        self, decide: Decide, clock: Clock
    ) -> None:
        decide(idle_minutes=30)
        session = new_session(cat="tabby")
        clock.passes(10 * MINUTE)
        decide()
        assert visit(session).modified is True
        assert visit(session).modified is False
        clock.passes(14 * DAY - 5 * SECOND)
        assert is_over(session) is None

    def test_session_that_a_process_without_a_policy_has_saved_is_watched_again_from_its_next_use(
        self, decide: Decide, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A node of 0.3.0 leaves in the session what it says of its life, and has it end by its own rules."""
        decide(idle_minutes=30)
        session = new_session(cat="tabby")
        decide()
        with monkeypatch.context() as of_before:
            for module in (engine, timed):
                of_before.setattr(module, "LIFE", "what 0.3.0 does not know")
            again = SessionStore(key_of(session))
            again["dog"] = "rex"
            again.save()
        decide(idle_minutes=30)
        assert SessionStore(key_of(session))[LIFE] == 30 * MINUTE
        for _ in range(3):
            clock.passes(20 * MINUTE)
            assert visit(session)["cat"] == "tabby"
        clock.passes(30 * MINUTE)
        assert is_over(session)

    def test_longest_time_counts_from_the_login_and_survives_a_new_key(
        self, decide: Decide, clock: Clock
    ) -> None:
        decide(absolute_hours=8)
        session = new_session(cat="tabby", **{USER_ID: "1"})
        clock.passes(7 * HOUR)
        session = SessionStore(key_of(session))
        session.cycle_key()
        session["dog"] = "rex"
        session.save()
        clock.passes(HOUR - 5 * SECOND)
        assert is_over(session) is None
        clock.passes(5 * SECOND)
        assert is_over(session) is Reason.ABSOLUTE

    def test_longest_time_begins_again_with_a_login(self, decide: Decide, clock: Clock) -> None:
        decide(absolute_hours=8)
        anonymous, same = new_session(cat="tabby"), new_session(cat="tabby", **{USER_ID: "1"})
        clock.passes(7 * HOUR)
        session = SessionStore(key_of(anonymous))
        session[USER_ID] = "1"
        session.save()
        again = SessionStore(key_of(same))
        again.get("cat")
        again.note_login("1")
        again.save()
        clock.passes(7 * HOUR)
        assert is_over(session) is None
        assert is_over(again) is None

    def test_use_does_not_put_off_the_longest_time(self, decide: Decide, clock: Clock) -> None:
        decide(idle_minutes=60, absolute_hours=2)
        session = new_session(cat="tabby")
        for _ in range(2):
            clock.passes(50 * MINUTE)
            visit(session)
        assert minutes_left(session) == (20, False)
        clock.passes(20 * MINUTE)
        assert is_over(session) is Reason.ABSOLUTE

    def test_time_left_is_told_and_is_no_use(self, decide: Decide, clock: Clock) -> None:
        decide(idle_minutes=60, absolute_hours=8)
        session = new_session(cat="tabby")
        clock.passes(50 * MINUTE)
        for _ in range(2):
            assert minutes_left(session) == (10, True)

    @in_event_loop
    async def test_async_time_left_is_told_of_a_session_that_was_not_read_yet(
        self, decide: Decide, clock: Clock
    ) -> None:
        decide(idle_minutes=60, absolute_hours=8)
        session = SessionStore()
        assert await session.atime_left() == (None, False)
        await session.aset("cat", "tabby")
        await session.asave()
        clock.passes(50 * MINUTE)
        left, prolongs = await SessionStore(key_of(session)).atime_left()
        assert left == pytest.approx(10 * MINUTE, abs=5 * SECOND)
        assert prolongs

    def test_time_left_is_that_of_a_session_just_used(self, decide: Decide, clock: Clock) -> None:
        decide(idle_minutes=60)
        session = new_session(cat="tabby")
        clock.passes(10 * MINUTE)
        left, _ = visit(session).time_left()
        assert left == pytest.approx(60 * MINUTE, abs=5 * SECOND)

    def test_seconds_of_set_expiry_are_the_idle_of_that_session(self, decide: Decide, clock: Clock) -> None:
        decide(idle_minutes=5, absolute_hours=8)
        session = SessionStore()
        session["cat"] = "tabby"
        session.set_expiry(3600)
        session.save()
        for _ in range(2):
            clock.passes(55 * MINUTE)
            visit(session)
        assert is_over(session) is None
        clock.passes(60 * MINUTE)
        assert is_over(session)

    def test_date_of_set_expiry_is_the_end_whatever_the_use(self, decide: Decide, clock: Clock) -> None:
        decide(idle_minutes=5)
        session = SessionStore()
        session["cat"] = "tabby"
        session.set_expiry(timezone.now() + timedelta(hours=1))
        session.save()
        clock.passes(55 * MINUTE)
        assert visit(session).modified is False
        assert is_over(session) is None
        clock.passes(5 * MINUTE)
        assert is_over(session)

    def test_remembered_session_lives_for_so_many_days_from_its_login(
        self, decide: Decide, clock: Clock
    ) -> None:
        decide(idle_minutes=30, absolute_hours=8, remember_days=30)
        session = new_session(cat="tabby", **{USER_ID: "1"})
        session.remember()
        session.save()
        assert session.get_expire_at_browser_close() is False
        for _ in range(2):
            clock.passes(14 * DAY)
            visit(session)
        again = SessionStore(key_of(session))
        assert again["cat"] == "tabby"
        assert again.get_expiry_age() == pytest.approx(2 * DAY / SECOND, abs=5)
        clock.passes(2 * DAY)
        assert is_over(session) is Reason.ABSOLUTE

    def test_session_that_is_not_remembered_ends_with_the_browser_and_by_the_other_limits(
        self, decide: Decide, clock: Clock
    ) -> None:
        decide(idle_minutes=30, remember_days=30)
        session = new_session(cat="tabby")
        session.remember()
        session.remember(False)
        session.save()
        assert session.get_expire_at_browser_close() is True
        clock.passes(30 * MINUTE)
        assert is_over(session)

    def test_remember_off_on_the_page_is_off_for_those_that_have_it_until_it_is_on_again(
        self, decide: Decide, clock: Clock
    ) -> None:
        decide(idle_minutes=30, remember_days=30)
        came, stayed_away = new_session(cat="tabby"), new_session(cat="tabby")
        for session in (came, stayed_away):
            session.remember()
            session.save()
        clock.passes(HOUR)
        decide(idle_minutes=30)
        assert is_over(came) is Reason.IDLE
        decide(idle_minutes=90)
        assert is_over(stayed_away) is None
        decide(idle_minutes=30, remember_days=30)
        assert is_over(stayed_away) is None
        assert is_over(came) is Reason.IDLE

    def test_nobody_is_remembered_for_longer_than_django_has_it_where_all_is_turned_off(
        self, decide: Decide, clock: Clock
    ) -> None:
        decide(remember_days=60)
        session = new_session(cat="tabby")
        session.remember()
        session.save()
        decide()
        clock.passes(14 * DAY - 5 * SECOND)
        assert is_over(session) is None
        clock.passes(5 * SECOND)
        assert is_over(session) is Reason.IDLE

    def test_background_is_no_use_and_may_change_the_session(self, decide: Decide, clock: Clock) -> None:
        decide(idle_minutes=30)
        session = new_session(cat="tabby")
        clock.passes(20 * MINUTE)
        assert visit(session, background=True).modified is False
        polling = SessionStore(key_of(session))
        polling.background = True
        polling["news"] = 7
        polling.save()
        assert SessionStore(key_of(session))["news"] == 7
        clock.passes(10 * MINUTE)
        assert is_over(session)

    def test_background_leaves_the_last_use_alone_when_staff_have_decided_otherwise(
        self, decide: Decide, clock: Clock
    ) -> None:
        decide(idle_minutes=90)
        session = new_session(cat="tabby")
        clock.passes(20 * MINUTE)
        decide(idle_minutes=30)
        polling = SessionStore(key_of(session))
        polling.background = True
        polling["news"] = 7
        polling.save()
        assert is_over(session) is None
        clock.passes(10 * MINUTE)
        assert is_over(session) is Reason.IDLE

    def test_background_beside_a_use_takes_nothing_of_it_back(self, decide: Decide, clock: Clock) -> None:
        decide(idle_minutes=30)
        session = new_session(cat="tabby")
        clock.passes(20 * MINUTE)
        polling = SessionStore(key_of(session))
        polling.background = True
        polling["news"] = 7
        using = SessionStore(key_of(session))
        using["dog"] = "rex"
        using.save()
        polling.save()
        clock.passes(20 * MINUTE)
        again = SessionStore(key_of(session))
        assert (again["news"], again["dog"], again["cat"]) == (7, "rex", "tabby")

    @pytest.mark.parametrize("idle", [30, 90])
    def test_two_requests_that_use_the_session_at_the_same_time_agree(
        self, decide: Decide, clock: Clock, idle: int
    ) -> None:
        """With the same idle both are touches; with another one, both save that."""
        decide(idle_minutes=30)
        session = new_session(cat="tabby")
        clock.passes(20 * MINUTE)
        decide(idle_minutes=idle)
        one, other = SessionStore(key_of(session)), SessionStore(key_of(session))
        for each in (one, other):
            each.get("cat")
            each.note_use()
        other["dog"] = "rex"
        one.save()
        other.save()
        clock.passes(idle * MINUTE - 5 * SECOND)
        assert SessionStore(key_of(session))["dog"] == "rex"
        assert is_over(session) is None

    def test_use_of_a_session_that_was_ended_meanwhile_does_not_revive_it(
        self, decide: Decide, clock: Clock
    ) -> None:
        decide(idle_minutes=30)
        session = new_session(cat="tabby")
        clock.passes(20 * MINUTE)
        mine = SessionStore(key_of(session))
        mine.get("cat")
        mine.note_use()
        SessionStore(key_of(session)).delete()
        with pytest.raises(UpdateError):
            mine.save()
        assert is_over(session)


def minutes_left(session: SessionStore) -> tuple[int, bool]:
    """What a request with the key of that session is told of its end."""
    left, prolongs = SessionStore(key_of(session)).time_left()
    assert left is not None
    return round(left / MINUTE), prolongs
