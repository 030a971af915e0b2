"""The bounds of the wheel: ``make floors`` runs the tests on the lower ones, and the rest runs below the upper ones."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
APART = ("all", "djongo")  # the others together, and what `make djongo` tests in an environment of its own
NEWEST_DJANGO = max(
    Version(each.removeprefix("Framework :: Django :: "))
    for each in PROJECT["classifiers"]
    if each.startswith("Framework :: Django :: ")
)


def bounds_of(lines: list[str]) -> dict[str, dict[str, Version]]:
    """The bounds of each package, by what stands in front of them."""
    found = map(Requirement, lines)
    return {
        canonicalize_name(each.name): {spec.operator: Version(spec.version) for spec in each.specifier}
        for each in found
    }


@pytest.fixture
def bounds() -> dict[str, dict[str, Version]]:
    extras = [
        each
        for name, lines in PROJECT["optional-dependencies"].items()
        if name not in APART
        for each in lines
    ]
    return bounds_of([*PROJECT["dependencies"], *extras])


def test_each_package_that_the_wheel_wants_has_two_bounds(bounds: dict[str, dict[str, Version]]) -> None:
    assert [name for name, found in bounds.items() if set(found) != {">=", "<"}] == []


def test_the_lower_bounds_are_the_versions_that_the_tests_run_on(
    bounds: dict[str, dict[str, Version]],
) -> None:
    lines = (ROOT / "requirements-floors.txt").read_text().splitlines()
    floors = bounds_of([line for line in lines if line and not line.startswith("#")])
    assert floors == {name: {"==": found[">="]} for name, found in bounds.items()}


def test_the_tests_can_be_installed_on_the_lower_bounds(bounds: dict[str, dict[str, Version]]) -> None:
    """``make floors`` constrains both."""
    lines = (ROOT / "requirements-test.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert [
        str(each)
        for each in wanted
        if (found := bounds.get(canonicalize_name(each.name))) and not each.specifier.contains(found[">="])
    ] == []


def test_the_upper_bounds_lie_just_above_the_newest_versions_that_the_tests_run_on(
    bounds: dict[str, dict[str, Version]],
) -> None:
    running = {name: Version(version(name)) for name in bounds if name != "django"}
    if running == {name: bounds[name][">="] for name in running}:
        pytest.skip("The tests run on the lower bounds.")
    above = {name: Version(str(Version(version(name)).major + 1)) for name in bounds}
    above["django"] = Version(f"{NEWEST_DJANGO.major}.{NEWEST_DJANGO.minor + 1}")
    assert {name: found["<"] for name, found in bounds.items()} == above


def test_all_takes_in_every_other_extra_but_djongo() -> None:
    """Whose licence is not for everybody."""
    extras = PROJECT["optional-dependencies"]
    assert extras["all"] == [f"sessionpersist[{','.join(name for name in extras if name not in APART)}]"]
