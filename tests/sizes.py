"""The same test twice: small with `make test`, and as large as it is worth with `make test-long`."""

from __future__ import annotations

from typing import TypeVar

import pytest
from _pytest.mark import ParameterSet

T = TypeVar("T")


def quick_and_long(quick: T, long: T) -> list[ParameterSet]:
    """Return the two values of a parameter that says how much there is to do."""
    return [pytest.param(quick, id="quick"), pytest.param(long, id="long", marks=pytest.mark.long)]
