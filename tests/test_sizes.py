"""What a class that inherits its tests leaves to ``make test-long``."""

from __future__ import annotations

from typing import ClassVar

import pytest

from tests.sizes import is_only_long


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


@pytest.mark.long
def for_long() -> None:
    pass


def for_both() -> None:
    pass


@pytest.mark.parametrize(
    ("name", "test", "only_long"),
    [("for_long", for_long, True), ("for_both", for_both, False), ("NUMBER", 1, False)],
)
def test_what_is_marked_is_for_the_long_tests_alone(
    request: pytest.FixtureRequest, name: str, test: object, only_long: bool
) -> None:
    assert is_only_long(request.node.parent, name, test) == only_long


class TestPartly:
    long_parts = (InOneClass,)

    def test_and_so_is_what_a_class_has_from_a_long_part(self, request: pytest.FixtureRequest) -> None:
        assert is_only_long(
            request.node.parent, "test_one_of_a_long_part_is_long_with_all_its_parameters", for_both
        )
        assert not is_only_long(request.node.parent, "for_both", for_both)
