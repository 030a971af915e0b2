"""What a class that inherits its tests leaves to ``make test-long``."""

from __future__ import annotations

from typing import ClassVar

import pytest


class Everywhere:
    long_parts: ClassVar[tuple[type, ...]] = ()

    def test_one_that_each_class_has_runs_in_each(self, request: pytest.FixtureRequest) -> None:
        assert request.node.get_closest_marker("long") is None


class InOneClass:
    @pytest.mark.parametrize("number", [1, 2])
    def test_one_of_a_long_part_is_long_with_all_its_parameters(
        self, request: pytest.FixtureRequest, number: int
    ) -> None:
        assert (request.node.get_closest_marker("long") is not None) == isinstance(self, TestElsewhere)


class TestThere(Everywhere, InOneClass):
    pass


class TestElsewhere(Everywhere, InOneClass):
    long_parts = (InOneClass,)
