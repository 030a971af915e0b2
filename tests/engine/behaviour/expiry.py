"""When a session ends by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from sessionpersist.engine import SessionStore
from sessionpersist.stores.base import now_ms
from tests.engine.support import key_of, new_session, record_of

HOUR = 3600
THE_END = 253_402_300_799_999  # of the year 9999, in milliseconds


class Whole:
    """A whole number that is no int, as numpy has them."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def seconds_to_live(session: SessionStore) -> float:
    """How long the store keeps a session."""
    record = record_of(session)
    assert record is not None
    return (record.expires_at - now_ms()) / 1000


def expires_at(session: SessionStore) -> int:
    """When a session ends, as the store has it."""
    record = record_of(session)
    assert record is not None
    return record.expires_at


class OfAMinute(SessionStore):
    """A subclass of a project's, as its pages for kiosks may have one."""

    def get_expiry_age(self, **known: Any) -> int:
        return 60


class UntilTomorrow(SessionStore):
    """The same with a date."""

    def get_expiry_date(self, **known: Any) -> datetime:
        return timezone.now() + timedelta(days=1)


class Expiry:
    def test_default_is_the_cookie_age(self, settings: Settings) -> None:
        settings.SESSION_COOKIE_AGE = 1234
        session = new_session(cat="tabby")
        assert session.get_expiry_age() == 1234
        assert session.get_session_cookie_age() == 1234
        assert seconds_to_live(session) == pytest.approx(1234, abs=5)

    @pytest.mark.parametrize(("engine", "seconds"), [(OfAMinute, 60), (UntilTomorrow, 24 * HOUR)])
    def test_a_subclass_may_decide_for_all_of_its_sessions(
        self, engine: type[SessionStore], seconds: int
    ) -> None:
        session = engine()
        session["cat"] = "tabby"
        session.save()
        assert seconds - 5 < seconds_to_live(session) <= seconds
        again = engine(session.session_key)
        again["dog"] = "spot"
        again.save()
        assert seconds - 5 < seconds_to_live(again) <= seconds

    def test_seconds_count_from_each_save(self) -> None:
        session = new_session(cat="tabby")
        session.set_expiry(HOUR)
        session.save()
        modification = timezone.now()
        assert session.get_expiry_date(modification=modification) == modification + timedelta(seconds=HOUR)
        assert session.get_expiry_age(modification=modification) == HOUR
        assert seconds_to_live(session) == pytest.approx(HOUR, abs=5)

    def test_timedelta_counts_from_now(self) -> None:
        session = new_session(cat="tabby")
        session.set_expiry(timedelta(hours=1))
        session.save()
        assert HOUR - 5 <= session.get_expiry_age() <= HOUR
        assert seconds_to_live(session) == pytest.approx(HOUR, abs=5)

    def test_datetime_is_that_moment(self) -> None:
        session = new_session(cat="tabby")
        moment = timezone.now() + timedelta(hours=1)
        session.set_expiry(moment)
        session.save()
        again = SessionStore(key_of(session))
        assert again.get_expiry_date() == moment
        assert again.get_expiry_age(modification=moment - timedelta(seconds=10)) == 10
        assert seconds_to_live(session) == pytest.approx(HOUR, abs=5)

    def test_expiry_can_be_asked_without_reading_the_session(self) -> None:
        session = SessionStore("a-key-that-nobody-has")
        modification = timezone.now()
        assert (
            session.get_expiry_age(modification=modification, expiry=None) == session.get_session_cookie_age()
        )
        assert session.get_expiry_date(modification=modification, expiry=10) == modification + timedelta(
            seconds=10
        )
        assert not session.accessed

    def test_zero_is_until_the_browser_closes_and_kept_for_the_cookie_age(self) -> None:
        session = new_session(cat="tabby")
        session.set_expiry(0)
        session.save()
        assert session.get_expire_at_browser_close()
        assert session.get_expiry_age() == session.get_session_cookie_age()
        assert seconds_to_live(session) == pytest.approx(session.get_session_cookie_age(), abs=5)

    def test_none_goes_back_to_the_default(self, settings: Settings) -> None:
        settings.SESSION_COOKIE_AGE = 1234
        session = SessionStore()
        session.set_expiry(None)  # where nothing was set, no error
        session.set_expiry(10)
        session.set_expiry(None)
        assert session.get_expiry_age() == 1234
        assert "_session_expiry" not in session

    @pytest.mark.parametrize("default", [True, False])
    def test_browser_close_is_the_setting_unless_the_session_says_otherwise(
        self, settings: Settings, default: bool
    ) -> None:
        settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = default
        session = SessionStore()
        assert session.get_expire_at_browser_close() is default
        session.set_expiry(10)
        assert session.get_expire_at_browser_close() is False
        session.set_expiry(0)
        assert session.get_expire_at_browser_close() is True
        session.set_expiry(None)
        assert session.get_expire_at_browser_close() is default

    @pytest.mark.parametrize(
        "past", [-HOUR, timedelta(hours=-1), datetime(2020, 1, 1, tzinfo=timezone.get_default_timezone())]
    )
    def test_session_of_the_past_is_no_session(self, past: int | timedelta | datetime) -> None:
        session = SessionStore()
        session["cat"] = "tabby"
        session.set_expiry(past)
        session.save()
        assert SessionStore(key_of(session)).get("cat") is None
        assert not SessionStore().exists(key_of(session))

    def test_session_that_expires_later_ends_at_the_next_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        session = new_session(cat="tabby")
        session.set_expiry(1)
        session.save()
        assert SessionStore(key_of(session))["cat"] == "tabby"
        session.set_expiry(timedelta(seconds=-1))
        session.save()
        assert SessionStore(key_of(session)).get("cat") is None

    def test_unchanged_save_moves_the_expiry_forward(self, settings: Settings) -> None:
        settings.SESSION_COOKIE_AGE = 100
        session = new_session(cat="tabby")
        settings.SESSION_COOKIE_AGE = 500
        again = SessionStore(key_of(session))
        again.save()
        assert seconds_to_live(session) == pytest.approx(500, abs=5)

    def test_shorter_expiry_that_was_set_takes_effect(self) -> None:
        session = new_session(cat="tabby")
        session.set_expiry(60)
        session.save()
        assert seconds_to_live(session) == pytest.approx(60, abs=5)

    @pytest.mark.parametrize(
        "age",
        [1234.0, 1234.5678, Decimal("1234.5"), Whole(1234)],
        ids=["float", "fraction", "Decimal", "no int"],
    )
    def test_cookie_age_may_be_any_number(self, settings: Settings, age: Any) -> None:
        settings.SESSION_COOKIE_AGE = age
        session = new_session(cat="tabby")
        SessionStore(key_of(session)).save()  # moves the expiry only
        session["cat"] = "siamese"
        session.save()
        assert SessionStore(key_of(session))["cat"] == "siamese"
        assert seconds_to_live(session) == pytest.approx(1234, abs=5)

    @pytest.mark.parametrize("expiry", [HOUR + 0.5678, timedelta(hours=1, microseconds=567_891)], ids=str)
    def test_expiry_of_a_session_may_be_a_fraction(self, expiry: Any) -> None:
        session = SessionStore()
        session.set_expiry(expiry)
        session.save()
        assert seconds_to_live(session) == pytest.approx(HOUR, abs=5)

    @pytest.mark.parametrize("age", [10**12, 1e300, float("inf")])
    def test_cookie_age_of_ages_is_kept_to_the_last_date_there_is(self, settings: Settings, age: Any) -> None:
        settings.SESSION_COOKIE_AGE = age
        session = new_session(cat="tabby")
        assert expires_at(session) == THE_END
        SessionStore(key_of(session)).save()
        assert SessionStore(key_of(session))["cat"] == "tabby"

    @pytest.mark.parametrize(
        "expiry", [10**12, 1e300, datetime.max.replace(tzinfo=UTC)], ids=["int", "float", "date"]
    )
    def test_expiry_in_ages_is_kept_to_the_last_date_there_is(self, expiry: Any) -> None:
        session = SessionStore()
        session["cat"] = "tabby"
        session.set_expiry(expiry)
        session.save()
        assert expires_at(session) == THE_END
        assert SessionStore(key_of(session))["cat"] == "tabby"

    @pytest.mark.parametrize("year", [9000, 9999])
    def test_date_without_a_time_zone_is_in_that_of_the_project(self, settings: Settings, year: int) -> None:
        settings.USE_TZ = False
        moment = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
        session = SessionStore()
        session.set_expiry(moment.replace(tzinfo=None))
        session.save()
        assert expires_at(session) == moment.timestamp() * 1000

    @pytest.mark.parametrize("age", [0, -0.5, -10, -1e300, float("-inf")])
    def test_cookie_age_below_zero_is_no_session(self, settings: Settings, age: Any) -> None:
        settings.SESSION_COOKIE_AGE = age
        assert not SessionStore().exists(key_of(new_session(cat="tabby")))

    @pytest.mark.parametrize("expiry", [-0.5, -(10**12), -1e300, datetime.min.replace(tzinfo=UTC)], ids=str)
    def test_expiry_before_all_dates_is_no_session(self, expiry: Any) -> None:
        session = SessionStore()
        session.set_expiry(expiry)
        session.save()
        assert not SessionStore().exists(key_of(session))
