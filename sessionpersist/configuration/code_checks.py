"""Where the code of a project looks for sessions in places that stay empty: Django's own table, or an engine by name.

The sources are read, never run. A line that names ``sessionpersist.W011`` in a comment is left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from django.apps import apps
from django.conf import settings

CHECK = "sessionpersist.W011"

MODEL = "django.contrib.sessions.models.Session"
LABEL = "sessions.session"
ENGINES = "django.contrib.sessions.backends."
MANAGERS = ("objects", "_default_manager", "_base_manager")
HARMLESS = ("isinstance", "issubclass", "cast")  # what may be asked about the class
RELATIONS = ("ForeignKey", "OneToOneField", "ManyToManyField")  # which take the label, too

# Files without any of these are not parsed.
SIGNS = ("django.contrib.sessions", "sessions.Session", "get_model")

# Folders in which code looks at no session of the site, or is nobody's of this project.
SKIPPED = ("migrations", "tests", "test", "node_modules", "site-packages", "__pycache__")
NOT_OF_PROJECTS = ("django", "sessionpersist")


class Finding(NamedTuple):
    """A file, and the lines in it that look in the wrong place."""

    file: Path
    lines: list[int]


def findings() -> Iterator[Finding]:
    """Look through the sources of the apps of the project, and of the package with its addresses."""
    seen: set[Path] = set()
    for folder in _folders():
        for file in sorted(_sources(folder)):
            if file not in seen:
                seen.add(file)
                if lines := lines_of(_text(file)):
                    yield Finding(file, lines)


def lines_of(source: str) -> list[int]:
    """Return the numbers of the lines of a source that look for sessions where none are."""
    if not any(sign in source for sign in SIGNS):
        return []
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # of a template of code, or for another Python
        return []
    texts = source.splitlines()
    found = {line for line in _Reader(tree).found() if CHECK not in texts[line - 1]}
    return sorted(found)


def _folders() -> Iterator[Path]:
    for app in apps.get_app_configs():
        if app.name.partition(".")[0] not in NOT_OF_PROJECTS:
            yield Path(app.path)
    package = str(getattr(settings, "ROOT_URLCONF", "")).rpartition(".")[0]
    spec = find_spec(package) if package else None
    yield from map(Path, (spec and spec.submodule_search_locations) or ())


def _sources(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*.py"):
        inner = file.relative_to(folder).parts
        is_test = file.name.startswith("test") or file.name in ("tests.py", "conftest.py")
        if not is_test and not any(part in SKIPPED or part.startswith(".") for part in inner[:-1]):
            yield file


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


class _Reader:
    """Follows the names of one module from where they are imported to where they are used."""

    def __init__(self, tree: ast.Module) -> None:
        self._nodes = list(ast.walk(tree))
        self._names: dict[str, str] = {}  # of this module, by the dotted path of what they mean
        for node in self._nodes:
            self._note(node)

    def found(self) -> Iterator[int]:
        for node in self._nodes:
            if isinstance(node, ast.expr | ast.stmt) and (
                self._asks_the_model(node) or self._opens_an_engine(node)
            ):
                yield node.lineno

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            self._names |= {each.asname: each.name for each in node.names if each.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            self._names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
        elif isinstance(node, ast.Assign) and _is_model_by_label(node.value):
            self._names |= {each.id: MODEL for each in node.targets if isinstance(each, ast.Name)}

    def _meaning(self, node: ast.AST) -> str:
        """Return the dotted path of what an expression means, as far as the imports tell."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{self._meaning(node.value)}.{node.attr}"
        return ""

    def _asks_the_model(self, node: ast.AST) -> bool:
        """Whether its table is asked, or it is handed to something that will ask it."""
        if isinstance(node, ast.Attribute):
            return node.attr in MANAGERS and self._is_model(node.value)
        if isinstance(node, ast.Assign):
            return [_name_of(each) for each in node.targets] == ["model"] and self._is_model(node.value)
        if not isinstance(node, ast.Call) or (called := _name_of(node.func)) in HARMLESS:
            return False
        given = [*node.args, *(each.value for each in node.keywords)]
        return any(map(self._is_model, given)) or (called in RELATIONS and any(map(_is_label, given)))

    def _is_model(self, node: ast.AST) -> bool:
        return self._meaning(node) == MODEL or _is_model_by_label(node)

    def _opens_an_engine(self, node: ast.AST) -> bool:
        """Whether a session is looked for with an engine of Django's, whatever SESSION_ENGINE is."""
        meaning = self._meaning(node.func) if isinstance(node, ast.Call) else ""
        return meaning.startswith(ENGINES) and meaning.endswith(".SessionStore")


def _name_of(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _is_label(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and str(node.value).lower() == LABEL


def _is_model_by_label(node: ast.AST) -> bool:
    """Whether it is what ``get_model`` returns for the label, in one text or two."""
    if not (isinstance(node, ast.Call) and _name_of(node.func) == "get_model"):
        return False
    return ".".join(str(each.value) for each in node.args if isinstance(each, ast.Constant)).lower() == LABEL
