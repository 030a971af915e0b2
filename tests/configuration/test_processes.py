"""Several real processes of one site, on a real database: a choice made in one is soon in force in all."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.load.warm import warm
from tests.servers import Postgres, require

pytestmark = pytest.mark.xdist_group("processes")

ROOT = Path(__file__).resolve().parents[2]
REFRESH, ACTIVATION = 0.3, 0.6  # seconds; the second is the default for the first
SLACK = 0.5  # for a busy machine
PROCESSES = 3

Environment = dict[str, str]


class Process:
    """A process of the site, which runs tests/configuration/worker.py."""

    def __init__(self, environment: Environment) -> None:
        self.process = warm().talk(["-m", "tests.configuration.worker"], environment)

    def ask(self, line: str) -> dict[str, Any]:
        print(line, file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def in_force_since(self, store_type: str) -> float | None:
        """When the store that is in force now began to be, if it is one of this type."""
        since, found = self.ask("seen")["seen"][-1]
        return float(since) if found == store_type else None

    def close(self) -> None:
        assert self.process.finish(seconds=10) == 0


def wait_for(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Return what a condition says once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def switch(
    processes: list[Process], store_type: str, activation: float
) -> tuple[dict[str, float], list[float]]:
    """Choose a store in the first process; return when that was, and when it came into force in each."""
    chosen = processes[0].ask(f"choose {store_type} {activation}")
    return chosen, [wait_for(partial(each.in_force_since, store_type)) for each in processes]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of one's own: it is going to be killed."""
    require(Postgres)
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module", params=[pytest.param("SQLite", marks=pytest.mark.long), "PostgreSQL"])
def processes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Process]]:
    """Three processes of a site, which share one database."""
    folder = tmp_path_factory.mktemp("site")
    sqlite = f"sqlite:///{folder / 'db.sqlite3'}"
    url = sqlite if request.param == "SQLite" else request.getfixturevalue("postgres").url
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "MEMORY_DIR": str(folder),
        "REFRESH_SECONDS": str(REFRESH),
    }
    migrated = warm().run(["manage.py", "migrate", "--verbosity", "0"], environment, "", seconds=60)
    assert migrated.returncode == 0, migrated.stderr
    with ExitStack() as stack:
        started = [Process(environment) for _ in range(PROCESSES)]
        for process in started:
            stack.callback(process.close)
        for process in started:
            process.ask("seen")  # which it answers once it is up, however busy the machine is
            wait_for(lambda process=process: process.ask("seen")["seen"])  # type: ignore[misc]
        yield started


def test_choice_is_in_force_everywhere_at_its_moment_and_nowhere_before(processes: list[Process]) -> None:
    switch(processes, "IN_MEMORY", 0)
    for store_type in ("JDBC", "IN_MEMORY"):
        chosen, moments = switch(processes, store_type, ACTIVATION)
        assert min(moments) >= chosen["begun"] + ACTIVATION - 0.01  # SQLite counts milliseconds
        assert max(moments) <= chosen["done"] + ACTIVATION + REFRESH + SLACK
        assert max(moments) - min(moments) <= SLACK


def test_choice_that_activates_at_once_is_in_force_everywhere_within_the_refresh(
    processes: list[Process],
) -> None:
    switch(processes, "IN_MEMORY", 0)
    chosen, moments = switch(processes, "JDBC", 0)
    assert max(moments) <= chosen["done"] + REFRESH + SLACK
    key = processes[0].ask("save")["key"]
    assert [each.ask(f"has {key}")["found"] for each in processes] == [True] * PROCESSES
    switch(processes, "IN_MEMORY", 0)
    assert [each.ask(f"has {key}")["found"] for each in processes] == [True] * PROCESSES, "it came along"


@pytest.mark.parametrize("processes", ["PostgreSQL"], indirect=True)
def test_processes_go_on_while_the_database_of_the_configuration_is_down(
    processes: list[Process], postgres: Postgres
) -> None:
    switch(processes, "IN_MEMORY", 0)
    postgres.kill()
    try:
        time.sleep(2 * REFRESH)  # each has to read the configuration by now, and can not
        key = processes[0].ask("save")["key"]
        assert [each.ask(f"has {key}")["found"] for each in processes] == [True] * PROCESSES
    finally:
        postgres.restart()
    switch(processes, "JDBC", 0)  # each finds the way back by itself
