"""The tests of somebody else's project, run as they run them: nothing is asked that a test did not ask for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS, DJANGOS = "sessionpersist.engine", "django.contrib.sessions.backends.db"
RUNNERS = {
    "Django": ["-m", "django", "test", "--settings=small.settings"],
    "pytest": ["-m", "pytest", "--ds=small.settings", "-p", "no:cacheprovider", "-p", "no:randomly", "-q"],
}


ON_ITS_DATABASE = {"persistence_type": "JDBC", "jdbc_database": "default"}


def run(runner: str, module: str, folder: Path, engine: str = OURS, **options: Any) -> tuple[int, str]:
    """Run the tests of one module of the small project; return the exit code and what was said."""
    shutil.copytree(Path(__file__).parent / "small", folder / "small")
    environment = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")},
        "PYTHONPATH": str(ROOT),
        "SMALL_ENGINE": engine,
        "SMALL_MEMORY": str(folder),
        "SMALL_OPTIONS": json.dumps(options),
    }
    target = f"small.{module}" if runner == "Django" else f"small/{module}.py"
    command = [sys.executable, "-W", "error", *RUNNERS[runner], target]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("engine", [DJANGOS, OURS])
@pytest.mark.parametrize("runner", RUNNERS)
def test_page_makes_as_many_queries_as_with_the_engine_of_django(
    runner: str, engine: str, tmp_path: Path
) -> None:
    code, said = run(runner, "any_engine", tmp_path, engine, INITIAL=ON_ITS_DATABASE)
    assert code == 0, said


@pytest.mark.parametrize("runner", RUNNERS)
def test_test_knows_what_it_has_saved_itself_and_nothing_else(runner: str, tmp_path: Path) -> None:
    code, said = run(runner, "this_engine", tmp_path)
    assert code == 0, said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("module", "seen"),
    [("any_engine", 'FROM "sessionpersist_revision"'), ("this_engine", "DatabaseOperationForbidden")],
)
def test_one_line_of_settings_has_it_all_as_on_a_site(module: str, seen: str, tmp_path: Path) -> None:
    code, said = run("Django", module, tmp_path, INITIAL=ON_ITS_DATABASE, QUIET_TESTS=False)
    assert code == 1
    assert seen in said
