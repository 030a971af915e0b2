"""The tests of somebody else's project, run as they run them: nothing is asked that a test did not ask for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.projects.running import run_tests_of

OURS, DJANGOS = "sessionpersist.engine", "django.contrib.sessions.backends.db"
RUNNERS = {
    "Django": ["-m", "django", "test", "--settings=small.settings"],
    "pytest": ["-m", "pytest", "--ds=small.settings", "-p", "no:cacheprovider", "-p", "no:randomly", "-q"],
}


ON_ITS_DATABASE = {"persistence_type": "JDBC", "jdbc_database": "default"}


def run(runner: str, module: str, folder: Path, engine: str = OURS, **options: Any) -> tuple[int, str]:
    """Run the tests of one module of the small project; return the exit code and what was said."""
    target = f"small.{module}" if runner == "Django" else f"small/{module}.py"
    variables = {"SMALL_ENGINE": engine, "SMALL_OPTIONS": json.dumps(options)}
    return run_tests_of("small", folder, [*RUNNERS[runner], target], **variables)


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
