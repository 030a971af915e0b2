"""Logins, moves, ends and drains in a great many orders: all that lives is listed, and the limit holds."""

from __future__ import annotations

import pytest

from tests.roster.exploring import LEFT_OUT, Refusing, RefusingOneOfTwo, Rules, faults, first_fault

pytestmark = pytest.mark.xdist_group("load")

SEED = 20_261_125
SOON = 46  # with which it shows soon that a rule is missing
SEARCH = 6_000  # schedules at the most, to find what a missing rule breaks


@pytest.mark.parametrize("rules", [Rules, RefusingOneOfTwo])
def test_no_schedule_leaves_a_session_unlisted_or_one_too_many(rules: type[Rules]) -> None:
    assert faults(400, SEED, rules()) == []


@pytest.mark.long
@pytest.mark.parametrize("rules", [Rules, Refusing])
@pytest.mark.parametrize("seed", [SEED, 62, 63, 64])
def test_nor_does_any_of_very_many(rules: type[Rules], seed: int) -> None:
    assert faults(25_000 if rules is Rules else 10_000, seed, rules()) == []


@pytest.mark.parametrize("rule", LEFT_OUT)
def test_with_any_rule_left_out_the_exploration_reports_it(rule: str) -> None:
    assert first_fault(SEARCH, SOON, rule) is not None
