"""The handover code in a great many orders of its steps: no invariant breaks, and with a rule left out one does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.handover.explore import RULES, Plan, Rules, Schedule, at_random, describe, exhaustively, faults

RUNS, SEED = 60_000, 20_261_123
SEARCH = 150_000  # schedules at the most, to find what a missing rule breaks


def test_no_schedule_breaks_an_invariant(capsys: pytest.CaptureFixture[str]) -> None:
    count, found = faults(at_random(RUNS, SEED, Rules()))
    print(f"{count} schedules, seed {SEED}")  # noqa: T201 - shown when it fails
    assert count == RUNS
    assert not found, [describe(cases[0]) for cases in found.values()]


@pytest.mark.parametrize(
    "operations",
    [
        (("get", 0), ("get", 1)),
        (("get", 0), ("save", 1)),
        (("save", 0), ("save", 1)),
        (("get", 0), ("drain", 1)),
        (("save", 0), ("drain", 1)),
        (("logout", 0), ("get", 1)),
        (("cycle", 0), ("drain", 1)),
    ],
    ids=str,
)
def test_every_order_of_the_first_steps(operations: tuple[tuple[str, int], ...]) -> None:
    count, found = faults(exhaustively(Plan(("OLD", "NEW"), operations), depth=10, rules=Rules()))
    assert count > 1000
    assert not found, [describe(cases[0]) for cases in found.values()]


@pytest.mark.parametrize("rule", RULES)
def test_with_a_rule_left_out_the_exploration_reports_it(rule: str) -> None:
    assert next(broken(at_random(SEARCH, SEED, RULES[rule]())), None) is not None


def broken(schedules: Iterator[Schedule]) -> Iterator[str]:
    for schedule in schedules:
        _, found = faults(iter([schedule]))
        yield from found
