"""The lower bounds of the wheel are the versions that ``make floors`` runs the tests of the stores on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENT = re.compile(r"([A-Za-z0-9-]+)(?:\[[a-z,]+\])?(>=|==)?([0-9.]+)?")


APART = ("all", "djongo")  # the others together, and what `make djongo` tests in an environment of its own


def parsed(lines: list[str]) -> dict[str, tuple[str, str]]:
    """Which packages are named, with how and what version."""
    found = [REQUIREMENT.fullmatch(line) for line in lines]
    assert all(found)
    return {match[1]: (match[2], match[3]) for match in found if match}


@pytest.fixture
def bounds() -> dict[str, tuple[str, str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [
        each
        for name, lines in project["optional-dependencies"].items()
        if name not in APART
        for each in lines
    ]
    return parsed([*project["dependencies"], *extras])


@pytest.fixture
def floors() -> dict[str, tuple[str, str]]:
    lines = (ROOT / "requirements-floors.txt").read_text().splitlines()
    return parsed([line for line in lines if line and not line.startswith("#")])


def test_each_package_that_the_wheel_wants_has_a_lower_bound(bounds: dict[str, tuple[str, str]]) -> None:
    assert {how for how, _ in bounds.values()} == {">="}


def test_the_lower_bounds_are_the_versions_that_the_tests_run_on(
    bounds: dict[str, tuple[str, str]], floors: dict[str, tuple[str, str]]
) -> None:
    assert {how for how, _ in floors.values()} == {"=="}
    assert {name: version for name, (_, version) in floors.items()} == {
        name: version for name, (_, version) in bounds.items()
    }


def test_all_takes_in_every_other_extra_but_djongo() -> None:
    """Whose licence is not for everybody."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert extras["all"] == [f"sessionpersist[{','.join(name for name in extras if name not in APART)}]"]
