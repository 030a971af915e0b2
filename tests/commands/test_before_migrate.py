"""Each command where the database is not ready, is down, or is of an earlier release: a sentence, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.load.site import ROOT, Site
from tests.servers.places import free_port
from tests.sizes import first_of_each

pytestmark = pytest.mark.xdist_group("before migrate")

COMMANDS = {
    "drain": ["drain_sessions"],
    "abandon": ["drain_sessions", "--abandon", "--no-input"],
    "clear": ["clearsessions"],
    "show": ["login_configuration", "show"],
    "set": ["login_configuration", "set", "--type", "JDBC", "--database", "default"],
    "set unprobed": ["login_configuration", "set", "--type", "REDIS", "--host", "r", "--no-probe"],
    "validate": ["validate_connections"],
}
CLOSED = "postgres://me:secret@127.0.0.1:{port}/site"


def refused(site: Site, *arguments: str) -> str:
    """What a command says that can't work."""
    done = site.python(str(ROOT / "manage.py"), *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The code is new, and the tables are those of the first release."""
    site = Site(tmp_path_factory.mktemp("behind"))
    site.manage("migrate", "sessionpersist", "0001", "--verbosity=0")
    return site


@pytest.mark.parametrize("command", COMMANDS)
def test_before_migrate_a_command_says_so_in_a_sentence(command: str, site: Site) -> None:
    assert_not_ready(refused(site, *COMMANDS[command]))


@pytest.mark.parametrize("command", first_of_each(COMMANDS, lambda command: "all read the configuration"))
def test_so_it_does_where_the_tables_are_those_of_an_earlier_release(command: str, behind: Site) -> None:
    assert_not_ready(refused(behind, *COMMANDS[command]))


def assert_not_ready(told: str) -> None:
    [sentence] = told.splitlines()
    assert sentence == (
        "CommandError: The login configuration could not be read (OperationalError). Has “migrate” been run?"
    )


@pytest.mark.parametrize("command", [COMMANDS["drain"], COMMANDS["clear"], COMMANDS["set"]])
def test_with_the_database_down_a_command_says_so_and_repeats_no_address(
    command: list[str], site: Site
) -> None:
    site.environment["DATABASE_URL"] = CLOSED.format(port=free_port())
    told = refused(site, *command)
    assert len(told.splitlines()) == 1
    assert "OperationalError" in told
    assert not any(part in told for part in ("127.0.0.1", "secret", "Traceback"))


@pytest.mark.parametrize("command", first_of_each(["drain", "show", "validate"], lambda command: "all write"))
def test_a_command_whose_reader_has_gone_ends_quietly(command: str, site: Site) -> None:
    """As in “drain_sessions | head”."""
    site.migrate()
    assert unread(site, *COMMANDS[command]) == (141, "")


def test_one_that_fails_says_so_still(site: Site) -> None:
    site.migrate()
    site.configure(persistence_type="REDIS", redis_host="127.0.0.1", redis_port=free_port())
    code, said = unread(site, "validate_connections")
    [*logged, sentence] = said.splitlines()
    assert (code, sentence[:20]) == (1, "CommandError: 1 of 1")
    assert not [line for line in logged if "BrokenPipe" in line]


def unread(site: Site, *command: str) -> tuple[int, str]:
    """The exit code of a command whose output nobody reads, and what it says of errors."""
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [sys.executable, str(ROOT / "manage.py"), *command]
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        env={**site.environment, "PYTHONUNBUFFERED": ""},  # written as it ends
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writer)
    return done.returncode, done.stderr
