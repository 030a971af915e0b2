"""The fields of the policy: what each of them takes, and what it says to anything else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from sessionpersist.models import LoginConfiguration
from sessionpersist.session.policy import AS_DJANGO, CENTURY, DAY, HOUR, MINUTE, Policy

MOST = {"idle_minutes": CENTURY // MINUTE, "absolute_hours": CENTURY // HOUR, "remember_days": CENTURY // DAY}
TIMES = list(MOST)


def messages(name: str, value: Any) -> list[str]:
    """What the field says to a value; nothing where it takes it."""
    field: Any = LoginConfiguration._meta.get_field(name)
    try:
        field.clean(value, None)
    except ValidationError as error:
        return error.messages
    return []


@pytest.mark.parametrize("name", TIMES)
def test_a_time_is_empty_or_from_one_to_a_century(name: str) -> None:
    for value in (None, 1, MOST[name]):
        assert messages(name, value) == []


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", [0, -1])
def test_a_time_of_nothing_is_refused(name: str, value: int) -> None:
    assert messages(name, value)[0] == "Enter 1 or more, or leave this empty."


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("more", [1, 10**30])
def test_a_time_beyond_a_century_is_refused(name: str, more: int) -> None:
    assert f"Enter at most {MOST[name]}, which is a century." in messages(name, MOST[name] + more)


@pytest.mark.parametrize("value", [-1, 1, 2, 200])
def test_a_limit_is_none_or_one_and_more(value: int) -> None:
    assert messages("max_sessions", value) == []


@pytest.mark.parametrize("value", [0, -2, -(10**6), 201, 10**6])
def test_a_limit_under_which_nobody_could_log_in_or_which_nobody_could_count_is_refused(value: int) -> None:
    assert messages("max_sessions", value) == ["Enter -1 for no limit, or 1 or more, up to 200."]


def test_the_policy_has_the_times_in_milliseconds() -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    row = LoginConfiguration(idle_minutes=30, absolute_hours=8, remember_days=14, policy_since=since)
    assert row.policy() == Policy(
        idle=30 * MINUTE, absolute=8 * HOUR, remember=14 * DAY, since=int(since.timestamp() * 1000)
    )


def test_fields_that_are_empty_or_that_no_form_lets_through_leave_it_to_django() -> None:
    assert LoginConfiguration().policy() == AS_DJANGO
    assert Policy.of({"idle_minutes": 0, "absolute_hours": 0, "remember_days": 0}) == AS_DJANGO
    assert Policy.of({"remember_days": 2**31 - 1}).remember == CENTURY
