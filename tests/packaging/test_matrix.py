"""``make matrix`` and the page about it, and what the wheel says of the versions that it is for."""

from __future__ import annotations

import re
import tomllib
from types import ModuleType

import pytest

from tests.docs.pages import REFERENCE, ROOT, rows

pytestmark = pytest.mark.xdist_group("matrix")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def classified(framework: str) -> set[str]:
    found = (re.fullmatch(rf"{framework} :: (\d+\.\d+)", each) for each in PROJECT["classifiers"])
    return {match[1] for match in found if match}


@pytest.fixture(scope="module")
def noxfile() -> ModuleType:
    """Loaded by the one process that runs these tests: it starts each Python to see whether it works."""
    pytest.importorskip("nox")  # is not in the environments that it makes
    import noxfile

    return noxfile


def test_the_page_has_a_row_for_each_session(noxfile: ModuleType) -> None:
    told = [tuple(cells[:3]) for cells in rows(REFERENCE / "versions.md")]
    assert told == list(noxfile.combinations())


def test_what_the_wheel_says_it_is_for_is_in_the_matrix(noxfile: ModuleType) -> None:
    assert classified("Framework :: Django") == set(noxfile.OLDEST_PYTHON)
    assert classified("Programming Language :: Python") <= set(noxfile.PYTHONS)
    assert PROJECT["requires-python"] == f">={noxfile.PYTHONS[0]}"


def test_a_python_that_does_not_run_is_not_taken(noxfile: ModuleType) -> None:
    assert noxfile.interpreter("3.99") == "3.99"
