"""Projects that are not like ours, run by Django's test runner: a user model of their own, other apps that log in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.projects.running import run_tests_of


@pytest.mark.parametrize("model", ["people.ByUuid", "people.ByName"])
def test_staff_end_sessions_whatever_a_primary_key_is(model: str, tmp_path: Path) -> None:
    assert "Ran 4 tests" in passed("people", "staff", tmp_path, USER_MODEL=model)


def test_sessions_of_users_whom_allauth_and_hijack_log_in_are_listed_and_limited(tmp_path: Path) -> None:
    assert "Ran 3 tests" in passed("neighbours", "logins", tmp_path)


def passed(project: str, module: str, folder: Path, **variables: str) -> str:
    """Run the tests of a module of a project, which pass, and return what was said."""
    runner = ["django", "test", f"--settings={project}.settings", f"{project}.{module}"]
    code, said = run_tests_of(project, folder, runner, **variables)
    assert code == 0, said
    return said
