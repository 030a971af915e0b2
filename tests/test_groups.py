"""Tests of one group are run by one process: what pytest-xdist makes of the ids that it gets, and in which order."""

from __future__ import annotations

from typing import Any, cast

import pytest
from xdist.scheduler import LoadGroupScheduling

from tests.conftest import LANES, turn_of


@pytest.mark.xdist_group("of its own")
@pytest.mark.parametrize("text", ["plain", "with@sign", "with]bracket"])
def test_the_scheduler_is_told_the_group(request: pytest.FixtureRequest, text: str) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("Tests are not run in groups here.")
    scheduler = cast("Any", None)  # which takes no part in this
    assert LoadGroupScheduling._split_scope(scheduler, request.node.nodeid) == "of its own"


@pytest.mark.xdist_group(LANES[0][1])
def test_groups_in_a_lane_are_run_by_the_process_of_the_first(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("Tests are not run in groups here.")
    assert request.node.nodeid.endswith(f"@{LANES[0][0]}")


def test_the_groups_that_take_longest_begin_first(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("Tests are not run in groups here.")
    turns = [turn_of(item) for item in request.session.items]
    assert turns == sorted(turns)
