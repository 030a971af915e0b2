"""The same test twice: small with `make test`, and as large as it is worth with `make test-long`.

Tests of Hypothesis run in both, by the profile that conftest.py or the Makefile loads.
"""

from __future__ import annotations

from typing import TypeVar

import pytest
from _pytest.mark import ParameterSet
from hypothesis import settings

T = TypeVar("T")


def quick_and_long(quick: T, long: T) -> list[ParameterSet]:
    """Return the two values of a parameter that says how much there is to do."""
    return [pytest.param(quick, id="quick"), pytest.param(long, id="long", marks=pytest.mark.long)]


settings.register_profile("quick", max_examples=15)
settings.register_profile("long", max_examples=100)


def examples(share: float = 1.0) -> int:
    """Return how many examples Hypothesis is to try, for a test that is worth so much more, or less, than others."""
    return int(share * settings().max_examples)
