"""The handover code in a great many orders of its steps: no invariant breaks, and with a rule left out one does."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from tests.handover.explore import explore, explore_exhaustively, first_fault
from tests.handover.rules import RULES, TOUCHED_IN_A_CHAIN
from tests.handover.world import OPERATIONS, Plan
from tests.sizes import quick_and_long

pytestmark = pytest.mark.xdist_group("load")

SEED = 20_261_123
SOON = 78  # with which it shows soon that a rule is missing
PORTIONS = 20
SEARCH = 150_000  # schedules at the most, to find what a missing rule breaks

Found = tuple[int, dict[str, list[str]]]
Pair = tuple[str, str]

PAIRS = list(itertools.combinations_with_replacement(OPERATIONS, 2))
# Where more of the interruptions matter than one.
DEEPER = [
    ("get", "save"),
    ("get", "logout"),
    ("save", "save"),
    ("save", "drain"),
    ("logout", "drain"),
    ("login", "drain"),
]


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    """A process a core, new ones: they share nothing with the tests before, and sets have the same order each time."""
    spawn = multiprocessing.get_context("spawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "0")
        with ProcessPoolExecutor(len(os.sched_getaffinity(0)), spawn) as pool:
            yield pool
            pool.shutdown(cancel_futures=True)


def check(futures: list[Future[Found]]) -> int:
    results = [future.result() for future in futures]
    faults = {fault: cases[0] for _, found in results for fault, cases in found.items()}
    assert not faults, faults
    return sum(count for count, _ in results)


def check_exhaustively(workers: ProcessPoolExecutor, plans: list[Plan], interruptions: int) -> None:
    count = check([workers.submit(explore_exhaustively, plan, interruptions) for plan in plans])
    assert count > len(plans) * 100 * interruptions


@pytest.mark.parametrize("schedules", quick_and_long(2_000, 200_000))
def test_no_schedule_at_random_breaks_an_invariant(workers: ProcessPoolExecutor, schedules: int) -> None:
    portions = [workers.submit(explore, schedules // PORTIONS, SEED + number) for number in range(PORTIONS)]
    assert check(portions) == schedules


@pytest.mark.parametrize("schedules", quick_and_long(1_000, 60_000))
def test_no_schedule_in_which_a_drain_sleeps_through_a_second_switch_loses_a_touch(
    workers: ProcessPoolExecutor, schedules: int
) -> None:
    """From a review: a copy that a drain had made too late was written over the session, which had been touched since:
    4 times in 15,000."""
    portions = [
        workers.submit(explore, schedules // PORTIONS, SEED + number, "", TOUCHED_IN_A_CHAIN)
        for number in range(PORTIONS)
    ]
    assert check(portions) == schedules


@pytest.mark.parametrize("pairs", quick_and_long(DEEPER, PAIRS))
# Where all live, `make test` tries schedules at random.
@pytest.mark.parametrize(
    "kill",
    [pytest.param(False, id="all live", marks=pytest.mark.long), pytest.param(True, id="one is killed")],
)
def test_no_schedule_with_one_interruption_breaks_an_invariant(
    workers: ProcessPoolExecutor, kill: bool, pairs: list[Pair]
) -> None:
    check_exhaustively(
        workers, [Plan(("OLD", "NEW"), ((one, 0), (other, 1)), kill=kill) for one, other in pairs], 1
    )


@pytest.mark.long
def test_no_schedule_with_one_interruption_in_a_switch_back_breaks_an_invariant(
    workers: ProcessPoolExecutor,
) -> None:
    """One in four of the schedules at random, too, is of stores that are switched back to."""
    check_exhaustively(
        workers, [Plan(("OLD", "NEW", "OLD"), ((one, 0), (other, 1))) for one, other in DEEPER], 1
    )


@pytest.mark.parametrize(
    "stores",
    [
        ("OLD", "OLD'"),
        pytest.param(("OLD", "NEW", "OLD'"), marks=pytest.mark.long),
        pytest.param(("OLD", "OLD'", "NEW"), marks=pytest.mark.long),
    ],
    ids="-".join,
)
def test_no_schedule_in_which_a_store_drains_into_itself_under_another_name_breaks_an_invariant(
    workers: ProcessPoolExecutor, stores: tuple[str, ...]
) -> None:
    """From a report: a store that was entered under another name logged everybody out on their second page."""
    plans = [Plan(stores, ((one, 0), (other, 1)), learn=False) for one, other in DEEPER]
    check_exhaustively(workers, plans, 1)


@pytest.mark.long
def test_no_schedule_with_two_interruptions_breaks_an_invariant(workers: ProcessPoolExecutor) -> None:
    check_exhaustively(workers, [Plan(("OLD", "NEW"), ((one, 0), (other, 1))) for one, other in PAIRS], 2)


@pytest.mark.parametrize("soon", quick_and_long(True, False))
def test_with_any_rule_left_out_the_exploration_reports_it(workers: ProcessPoolExecutor, soon: bool) -> None:
    """With a plan that shows it soon, and with any plan."""
    seed = SOON if soon else SEED
    searches = {rule: workers.submit(first_fault, SEARCH, seed, rule, soon=soon) for rule in RULES}
    found = {rule: search.result() for rule, search in searches.items()}
    assert [rule for rule, fault in found.items() if fault is None] == []
