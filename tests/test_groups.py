"""Tests of one group are run by one process: what pytest-xdist makes of the ids that it gets."""

from __future__ import annotations

from typing import Any, cast

import pytest
from xdist.scheduler import LoadGroupScheduling


@pytest.mark.xdist_group("of its own")
@pytest.mark.parametrize("text", ["plain", "with@sign", "with]bracket"])
def test_the_scheduler_is_told_the_group(request: pytest.FixtureRequest, text: str) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("Tests are not run in groups here.")
    scheduler = cast("Any", None)  # which takes no part in this
    assert LoadGroupScheduling._split_scope(scheduler, request.node.nodeid) == "of its own"
