"""Projects that are not like ours, run by Django's test runner: a user model of their own, other apps that log in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("model", ["people.ByUuid", "people.ByName"])
def test_staff_end_sessions_whatever_a_primary_key_is(model: str, tmp_path: Path) -> None:
    said = run_tests_of("people.staff", tmp_path, USER_MODEL=model)
    assert "Ran 4 tests" in said


def test_sessions_of_users_whom_allauth_and_hijack_log_in_are_listed_and_limited(tmp_path: Path) -> None:
    pytest.importorskip("allauth")
    pytest.importorskip("hijack")
    assert "Ran 3 tests" in run_tests_of("neighbours.logins", tmp_path)


def run_tests_of(module: str, folder: Path, **variables: str) -> str:
    """Copy a project into a folder, run its tests there, and return what was said."""
    project = module.partition(".")[0]
    shutil.copytree(Path(__file__).parent / project, folder / project)
    environment = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")},
        "PYTHONPATH": str(ROOT),
        "SMALL_MEMORY": str(folder),
        **variables,
    }
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "django",
        "test",
        f"--settings={project}.settings",
        module,
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
