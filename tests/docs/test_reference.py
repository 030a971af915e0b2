"""What the code has is in the reference, and nothing that the code has not."""

from __future__ import annotations

import ast
import re
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterator
from importlib import import_module
from inspect import isclass
from pathlib import Path
from typing import Any

import pytest
from django.core.management import BaseCommand, load_command_class
from django.dispatch import Signal

from sessionpersist import conf, exceptions, signals
from sessionpersist.models import LoginConfiguration
from sessionpersist.stores.base import Drainable, Probed, Record, Store
from sessionpersist.telemetry.lines import events
from sessionpersist.telemetry.recorder import METRICS, Kind
from tests.docs.pages import REFERENCE, ROOT, named, rows

APP = ROOT / "sessionpersist"
SOURCES = {path: path.read_text() for path in APP.rglob("*.py")}
COMMANDS = ("validate_connections", "login_configuration", "sessions", "drain_sessions", "clearsessions")


def in_sources(pattern: str) -> set[str]:
    """What a pattern finds in the sources of the app."""
    return {found for text in SOURCES.values() for found in re.findall(pattern, text)}


# tests/conftest.py has others.
DEFAULTS = conf.DEFAULTS | {"QUIET_TESTS": True, "DRAIN_RATE": 500, "CLEAR_SECONDS": 300}


def test_settings() -> None:
    table = rows(REFERENCE / "settings.md")[: len(DEFAULTS)]
    assert sorted(named(table)) == sorted(DEFAULTS)
    plain = {name: value for name, value in DEFAULTS.items() if value is not None}
    documented = {name.strip("`"): default.strip("`") for name, default, _ in table}
    for name, value in plain.items():
        said = documented[name]
        assert (said if isinstance(value, str) else ast.literal_eval(said)) == value, name


def test_fields_of_the_configuration() -> None:
    table = rows(REFERENCE / "settings.md", "Fields of Login Configuration")
    fields = [each.name for each in LoginConfiguration._meta.fields if each.editable and each.name != "id"]
    assert sorted(named(table)) == sorted(fields)


def test_variables_of_the_site() -> None:
    example = (ROOT / ".env.example").read_text()
    known = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)) - {
        "DATABASE_URL_REPORTS",
        "DATABASE_URL_ARCHIVE",
    }
    yours = {name for name in known if name.startswith("SESSIONPERSIST_")}
    assert set(named(rows(REFERENCE / "environment.md"))) == known - yours | {
        "DATABASE_URL_<ALIAS>",
        "ENV_FILE",
    }


def options(parser: ArgumentParser) -> Iterator[str]:
    """The options of a command, without those that every command of Django has."""
    everywhere = set(BaseCommand().create_parser("manage.py", "x")._option_string_actions)
    for action in parser._actions:
        if action.help != SUPPRESS:
            yield from (name for name in action.option_strings if name not in everywhere)


def parsers() -> dict[str, ArgumentParser]:
    """The parser of each command, and of each part of one that has parts."""
    found: dict[str, ArgumentParser] = {}
    for name in COMMANDS:
        parser = load_command_class("sessionpersist", name).create_parser("manage.py", name)
        parts: Any = next((each.choices for each in parser._actions if isinstance(each.choices, dict)), None)
        found |= {f"{name} {part}": each for part, each in parts.items()} if parts else {name: parser}
    return found


PARSERS = parsers()


@pytest.mark.parametrize("command", PARSERS)
def test_options_of(command: str) -> None:
    text = (REFERENCE / "commands.md").read_text()
    assert f"\n## {command}\n" in text
    table = rows(REFERENCE / "commands.md", command)
    documented = {name.split()[0] for name in named(table)} - {"-v"}
    assert documented == set(options(PARSERS[command]))


def test_no_command_is_missing() -> None:
    folder = APP / "management" / "commands"
    assert {path.stem for path in folder.glob("[a-z]*.py")} == set(COMMANDS)
    headings = re.findall(r"^## (.*)$", (REFERENCE / "commands.md").read_text(), re.MULTILINE)
    assert headings == list(PARSERS)


def test_signals() -> None:
    known = {name for name, value in vars(signals).items() if isinstance(value, Signal)}
    assert set(named(rows(REFERENCE / "signals.md", "Signals"))) == known


def test_arguments_of_signals() -> None:
    calls = re.findall(
        r"(?:send_robust|_send)\(((?:store|session)_\w+),([^()]*(?:\([^()]*\)[^()]*)*)\)",
        "\n".join(SOURCES.values()),
    )
    sent = {name: {"sender", *re.findall(r"(\w+)=", arguments)} for name, arguments in calls}
    table = rows(REFERENCE / "signals.md", "Signals")
    assert {cells[0].strip("`"): set(re.findall(r"`([a-z_]+)`", cells[-1])) for cells in table} == sent


def test_logs() -> None:
    ours = {each.logger for each in events()}
    assert set(named(rows(REFERENCE / "signals.md", "Logs"))) == ours | in_sources(r'getLogger\("([\w.]+)"\)')


def test_exceptions() -> None:
    table = rows(REFERENCE / "signals.md", "Exceptions")
    known = {name for name, value in vars(exceptions).items() if isclass(value)}
    assert set(named(table)) == known | set(vars(exceptions.StoreUnavailable("")))


def test_checks() -> None:
    ids = in_sources(r'id="(sessionpersist\.[EW]\d{3})"')
    assert named(rows(REFERENCE / "checks.md")) == sorted(ids)


@pytest.mark.parametrize("contract", [Store, Drainable, Probed])
def test_verbs_of(contract: type) -> None:
    verbs = [name for name, value in vars(contract).items() if callable(value) and not name.startswith("_")]
    table = named(rows(REFERENCE / "store.md", contract.__name__))
    assert sorted(text.partition("(")[0] for text in table) == sorted(verbs)
    for text in table:
        code = getattr(contract, text.partition("(")[0]).__code__
        names = list(code.co_varnames[1 : code.co_argcount])
        assert [each.partition("=")[0] for each in re.findall(r"[\w=]+", text.partition("(")[2])] == names, (
            text
        )


def test_fields_of_a_record() -> None:
    assert named(rows(REFERENCE / "store.md", "A record")) == list(Record._fields)


def test_names_that_are_promised() -> None:
    for name, about in rows(REFERENCE / "python.md", "Python"):
        module, _, attribute = name.strip("`").rpartition(".")
        try:
            found: Any = import_module(f"{module}.{attribute}")
        except ModuleNotFoundError:
            found = getattr(import_module(module), attribute)
        if name in ("`sessionpersist.exceptions`", "`sessionpersist.signals`"):
            assert all(hasattr(found, each) for each in re.findall(r"`(\w+)`", about))


def test_a_path_that_a_page_names_is_there() -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
    named_paths = {
        (page.name, path)
        for page in pages
        for path in re.findall(
            r"`((?:sessionpersist|tests|docs|project|benchmarks)/[\w./-]+)`", page.read_text()
        )
        if page.name != "security.md"
    }
    assert named_paths
    assert [each for each in sorted(named_paths) if not (ROOT / each[1]).exists()] == []


def test_paths_of_the_decisions_are_there() -> None:
    text = Path(ROOT / "docs" / "explanation" / "decisions.md").read_text()
    assert [path for path in re.findall(r"`(stores/[\w/.]+)`", text) if not (APP / path).exists()] == []


def test_each_requirement_of_asvs_has_its_test() -> None:
    table = [[cell.strip("` ") for cell in cells] for cells in rows(REFERENCE / "asvs.md")]
    numbers = [cells[0] for cells in table if re.fullmatch(r"7(\.\d){2}", cells[0])]
    assert len(numbers) == 19
    tested = set(re.findall(r"def (test_7_\d_\d)_", (ROOT / "tests" / "asvs" / "test_v7.py").read_text()))
    assert {f"test_{number.replace('.', '_')}" for number in numbers} == tested
    assert {cells[-1] for cells in table if cells[0] in numbers} == tested


def test_metrics() -> None:
    table = rows(REFERENCE / "metrics.md")[: len(METRICS)]
    found = {row[0].strip("`"): (row[1].strip("`"), re.findall(r"`(\w+)`", row[3])) for row in table}
    suffix = {Kind.COUNTER: "_total"}
    assert found == {
        each.name: (each.prometheus_name + suffix.get(each.kind, ""), list(each.labels)) for each in METRICS
    }
