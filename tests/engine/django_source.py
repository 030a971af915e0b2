"""Django's own tests of session engines, out of the source of the Django that is installed.

Its wheel has no tests. `make` has pip download the source, of the same version, and keep this one file in the virtual
environment: python -m tests.engine.django_source
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import django

VERSION = django.get_version()
KEPT = Path(sys.prefix, "share", "django-tests", VERSION, "sessions_tests.py")
MIXIN = "SessionTestsMixin"


def keep() -> None:
    """Put the file where the tests look for it, unless it is there."""
    if KEPT.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        download = ["download", "--quiet", "--no-deps", "--no-binary", "Django", "--dest", folder]
        subprocess.run([sys.executable, "-m", "pip", *download, f"Django=={VERSION}"], check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as source:
            (member,) = (each for each in source if each.name.endswith("/tests/sessions_tests/tests.py"))
            file = source.extractfile(member)
            assert file is not None
            KEPT.parent.mkdir(parents=True, exist_ok=True)
            KEPT.write_bytes(file.read())


def mixin() -> Any:
    """Return the tests that are for every engine; those of Django's own engines need its test project."""
    module = ast.parse(KEPT.read_text())
    module.body = [each for each in module.body if _is_wanted(each)]
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(module, KEPT, "exec"), names)  # noqa: S102 - Django's own code
    return names[MIXIN]


def _is_wanted(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ClassDef):
        return statement.name == MIXIN
    return isinstance(statement, ast.Import) or (
        isinstance(statement, ast.ImportFrom) and not statement.level
    )


if __name__ == "__main__":
    keep()
