"""The rules of a handover in coroutines: no order of their steps breaks an invariant, and with a rule left out one
does. See ``tests/handover/test_exploration.py``."""

from __future__ import annotations

import gc

import pytest

from sessionpersist import awaiting
from tests.aio.coroutines import explore
from tests.handover.rules import RULES
from tests.sizes import quick_and_long

SEED = 20_261_126
SEARCH = 150  # times so many schedules, to find what a missing rule breaks


@pytest.mark.parametrize("schedules", quick_and_long(500, 20_000))
def test_no_schedule_of_coroutines_breaks_an_invariant(schedules: int) -> None:
    assert explore(schedules, SEED) == (schedules, {})


@pytest.mark.parametrize("rule", ["ended", "reread"])
def test_with_a_rule_left_out_one_does(rule: str) -> None:
    found = (explore(100, SEED + turn, RULES[rule])[1] for turn in range(SEARCH))
    assert any(found)


def test_coroutines_of_a_process_that_is_killed_leave_nothing() -> None:
    explore(100, SEED)
    gc.collect()
    before = sum(type(each) is awaiting._Runner for each in gc.get_objects())
    explore(300, SEED + 1)
    gc.collect()
    assert sum(type(each) is awaiting._Runner for each in gc.get_objects()) <= before + 5
