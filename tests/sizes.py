"""The same test twice: small with `make test`, and as large as it is worth with `make test-long`.

A class that inherits its tests may name some of the classes that it has them from as its ``long_parts``: what they test
goes through the same code there as elsewhere, and runs with `make test-long` only.

Tests of Hypothesis run in both, by the profile that conftest.py or the Makefile loads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import TypeVar

import pytest
from _pytest.mark import ParameterSet
from hypothesis import settings

T = TypeVar("T")


def quick_and_long(quick: T, long: T) -> list[ParameterSet]:
    """Return the two values of a parameter that says how much there is to do."""
    return [pytest.param(quick, id="quick"), pytest.param(long, id="long", marks=pytest.mark.long)]


def first_of_each(cases: Iterable[T], kind: Callable[[T], Hashable]) -> list[ParameterSet]:
    """Return the cases of a test in which all of one kind take the same way: `make test` goes it once, with the first,
    and `make test-long` with each of the others."""
    seen, found = set[Hashable](), []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        found.append(pytest.param(*values, marks=[pytest.mark.long] if kind(case) in seen else []))
        seen.add(kind(case))
    return found


def is_from_a_long_part(name: str, cls: type | None) -> bool:
    """Whether a class has its test of that name from one of its ``long_parts``."""
    return any(name in vars(part) for part in getattr(cls, "long_parts", ()))


def is_only_long(collector: pytest.Collector, name: str, test: object) -> bool:
    """Whether `make test-long` alone runs the function of that name in a module or class, with any parameters."""
    if not inspect.isfunction(test):
        return False
    if isinstance(collector, pytest.Class) and is_from_a_long_part(name, collector.obj):
        return True
    marks: list[pytest.Mark] = getattr(test, "pytestmark", [])
    return any(mark.name == "long" for mark in [*marks, *collector.iter_markers("long")])


def long_unless(quick: bool) -> Collection[pytest.MarkDecorator]:
    """Return the marks of one case of several that go the same way: the quick tests run those that differ most."""
    return () if quick else (pytest.mark.long,)


settings.register_profile("quick", max_examples=15)
settings.register_profile("long", max_examples=100)


def examples(share: float = 1.0) -> int:
    """Return how many examples Hypothesis is to try, for a test that is worth so much more, or less, than others."""
    return int(share * settings().max_examples)
