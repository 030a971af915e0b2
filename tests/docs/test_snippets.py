"""The code in the documentation is run, or checked against what it is about."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
import unittest
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import User
from django.core.management import get_commands, load_command_class
from django.test import Client
from django.utils.module_loading import import_string
from pytest_django import Settings

from sessionpersist.checks import check_initial, check_options
from tests.docs.pages import REFERENCE, ROOT, Block, blocks, named, rows

TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
EXTRAS = set(tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"])
# What is run in the docs beside manage.py, make and pip.
PROGRAMS = {".venv/bin/python", "docker", "export", "kubectl", "mkdir", "openssl", "python", "source"}
KNOWN_VARIABLES = {*named(rows(REFERENCE / "environment.md")), "SESSIONPERSIST_REDIS_PASSWORD"}

SETTINGS = blocks("python", title="settings.py") + blocks("python", title="settings_for_tests.py")
PYTHON = blocks("python")
SHELL = blocks("shell", "console")
YAML = blocks("yaml")
RUN_ELSEWHERE = {
    "tests.py",
    "conftest.py",
    "shop/runner.py",
}  # by the tests of the tutorial, and of other projects
MODULES = {"consumers.py", "urls.py", "views.py"}


def test_there_are_some() -> None:
    assert min(map(len, (SETTINGS, PYTHON, SHELL, YAML))) > 2


def test_every_block_says_what_it_is() -> None:
    """Then none is passed over."""
    known = {"console", "css", "dockerfile", "nginx", "python", "shell", "text", "yaml"}
    assert [
        str(each)
        for each in blocks(*re.findall(r"^ *```(\w+)", all_text(), re.MULTILINE))
        if each.language not in known
    ] == []
    others = {each.title for each in PYTHON} - {each.title for each in SETTINGS}
    assert others == {"test", *RUN_ELSEWHERE, "shop/tokens.py", *MODULES}


def all_text() -> str:
    from tests.docs.pages import PAGES

    return "\n".join(page.read_text() for page in PAGES)


@pytest.fixture
def _shop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that settings name is there, with what the page says of it."""
    (block,) = blocks("python", title="shop/tokens.py")
    module = ModuleType("shop.tokens")
    exec(compile(block.text, str(block), "exec"), vars(module))  # noqa: S102 - our own documentation
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.tokens", module)


@pytest.mark.usefixtures("_shop")
@pytest.mark.parametrize("block", SETTINGS, ids=str)
def test_settings(block: Block, settings: Settings) -> None:
    found: dict[str, Any] = {"INSTALLED_APPS": [], "MIDDLEWARE": list(settings.MIDDLEWARE)}
    found["MIDDLEWARE"].append("django.contrib.sessions.middleware.SessionMiddleware")
    exec(compile(block.text, str(block), "exec"), found)  # noqa: S102 - our own documentation
    for name in texts(found["INSTALLED_APPS"]):
        import_module(name)
    for name in texts(found["MIDDLEWARE"]):
        import_string(name)
    if engine := found.get("SESSION_ENGINE"):
        import_module(engine)
    settings.SESSIONPERSIST = found.get("SESSIONPERSIST", {})
    assert list(check_options()) == []
    assert list(check_initial()) == []


def texts(values: list[object]) -> list[str]:
    """What is not an ellipsis."""
    return [each for each in values if isinstance(each, str)]


@pytest.mark.django_db
@pytest.mark.usefixtures("switches_at_once")
@pytest.mark.parametrize("block", [each for each in PYTHON if each.title == "test"], ids=str)
def test_python(block: Block, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = {
        "client": client,
        "user": User.objects.create_user("somebody"),
        "__name__": "docs",
    }
    exec(compile(block.text, str(block), "exec"), found)  # noqa: S102 - our own documentation
    for name, value in found.items():
        if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == "docs":
            result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(value))
            assert result.testsRun
            assert result.wasSuccessful()
        elif name.startswith("test_"):
            value(client)


@pytest.mark.parametrize("block", [each for each in PYTHON if each.title in MODULES], ids=str)
def test_module_of_a_project(block: Block) -> None:
    found: dict[str, Any] = {"__name__": "docs"}
    exec(compile(block.text, str(block), "exec"), found)  # noqa: S102 - our own documentation
    assert all(each.resolve for each in found.get("urlpatterns", []))


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_shell(block: Block) -> None:
    script = "\n".join(lines_of(block))
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    for line in lines_of(block):
        check_command(shlex.split(line.partition(" < ")[0], comments=True))


def lines_of(block: Block) -> Iterator[str]:
    """The commands of a block, each on one line; without what they print."""
    text = block.text.replace("\\\n", "")
    for line in text.splitlines():
        if block.language == "shell" and line.strip():
            yield line
        elif line.startswith("$ "):
            yield line.removeprefix("$ ")


def check_command(words: list[str]) -> None:
    """Fail where the command, its part or one of its options is not there."""
    if words[:2] == ["python", "manage.py"] and words[2:]:
        command = load_command_class(get_commands()[words[2]], words[2])
        command.create_parser("manage.py", words[2]).parse_args(words[3:])
    elif words[0] == "make":
        assert [each for each in words[1:] if "=" not in each and each not in TARGETS] == []
    elif words[:2] == ["pip", "install"]:
        assert set(re.findall(r"\[(\w+)\]", " ".join(words))) <= EXTRAS
    else:
        assert words[0] in PROGRAMS


@pytest.mark.parametrize("block", YAML, ids=str)
def test_yaml(block: Block) -> None:
    for container in containers(yaml.safe_load(block.text)):
        assert set(variables(container)) <= KNOWN_VARIABLES
        command = container.get("command", [])
        words = command if isinstance(command, list) else shlex.split(command)
        if words[:1] == ["python"]:
            check_command(words)


def containers(value: Any) -> Iterator[dict[str, Any]]:
    """Yield what runs the site, wherever it is in a file of Compose or Kubernetes."""
    if isinstance(value, dict):
        if "build" in value or "site" in str(value.get("image")):
            yield value
        for each in value.values():
            yield from containers(each)
    elif isinstance(value, list):
        for each in value:
            yield from containers(each)


def variables(container: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the variables that it is given."""
    yield from container.get("environment", {})
    yield from (each["name"] for each in container.get("env", []))


@pytest.mark.parametrize("block", blocks("dockerfile"), ids=str)
def test_dockerfile(block: Block) -> None:
    for line in block.text.splitlines():
        if line.startswith("COPY "):
            assert (ROOT / line.split()[1]).exists(), line
        if found := re.search(r"python (manage\.py .*)", line):
            check_command(["python", *shlex.split(found[1])])


def test_notes_on_how_to_read_a_block() -> None:
    """A block within a list is read without its indentation."""
    indented = [each for each in SHELL if each.page == Path(ROOT / "docs" / "how-to" / "switch-live.md")]
    assert indented[0].text == "python manage.py drain_sessions --rate 2000\n"
