"""The tests of somebody else's project, run as they run them: nothing is asked that a test did not ask for."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from tests.docs.pages import blocks
from tests.projects.running import run_tests_of

OURS, DJANGOS = "sessionpersist.engine", "django.contrib.sessions.backends.db"
RUNNERS = {
    "Django": ["django", "test", "--settings=small.settings"],
    "pytest": ["pytest", "--ds=small.settings", "-p", "no:cacheprovider", "-p", "no:randomly", "-q"],
}
# Where the app is installed, as it is by `make matrix`, pytest knows the plugin by its name and takes it only once.
INSTALLED = bool(entry_points(group="pytest11", name="sessionpersist"))
PLUGIN = ["-p", "sessionpersist" if INSTALLED else "sessionpersist.pytest_plugin"]

ON_ITS_DATABASE = {"persistence_type": "JDBC", "jdbc_database": "default"}


def long_case(*values: str) -> ParameterSet:
    """A case that goes the way of another one."""
    return pytest.param(*values, marks=pytest.mark.long)


def run(runner: str, modules: str, folder: Path, engine: str = OURS, **options: Any) -> tuple[int, str]:
    """Run the tests of some modules of the small project; return the exit code and what was said."""
    targets = [f"small.{each}" if runner == "Django" else f"small/{each}.py" for each in modules.split()]
    variables = {"SMALL_ENGINE": engine, "SMALL_OPTIONS": json.dumps(options)}
    return run_tests_of("small", folder, [*RUNNERS[runner], *targets], **variables)


@pytest.mark.parametrize(
    ("runner", "engine"),
    # pytest is told apart by what the next test runs, too.
    [("Django", DJANGOS), ("Django", OURS), long_case("pytest", OURS), long_case("pytest", DJANGOS)],
)
def test_page_makes_as_many_queries_as_with_the_engine_of_django(
    runner: str, engine: str, tmp_path: Path
) -> None:
    code, said = run(runner, "any_engine", tmp_path, engine, INITIAL=ON_ITS_DATABASE)
    assert code == 0, said


@pytest.mark.parametrize("runner", RUNNERS)
def test_test_knows_what_it_has_saved_itself_and_one_that_may_ask_no_database_is_told_so(
    runner: str, tmp_path: Path
) -> None:
    code, said = run(runner, "this_engine forbidden", tmp_path)
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


TARGETS = {"Django": "small.in_database", "pytest": "small/in_database.py"}
IN_A_RUN = {
    "Django": ["--testrunner=small.whole_run.Runner"],
    "Django in several processes": ["--testrunner=small.whole_run.Runner", "--parallel=2"],
    "pytest": PLUGIN,
}


@pytest.mark.parametrize("runner", [long_case("Django"), "Django in several processes", "pytest"])
def test_run_begins_each_test_with_a_store_of_its_choice(
    runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = runner.partition(" ")[0]
    monkeypatch.setitem(RUNNERS, name, [*RUNNERS[name], *IN_A_RUN[runner]])
    code, said = run(name, "whole_run", tmp_path)
    assert code == 0, said


def test_conftest_and_runner_of_the_docs_begin_each_test_in_the_database(tmp_path: Path) -> None:
    for title, runner, option in (
        ("conftest.py", "pytest", [*PLUGIN, "-p", "documented"]),
        ("shop/runner.py", "Django", ["--testrunner=documented.Runner"]),
    ):
        (block,) = blocks("python", title=title)
        folder = tmp_path / runner
        folder.mkdir()
        (folder / "documented.py").write_text(block.text)
        said = run_tests_of("small", folder, [*RUNNERS[runner], *option, TARGETS[runner]], SMALL_ENGINE=OURS)
        assert said[0] == 0, said[1]
