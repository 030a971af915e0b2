"""`make matrix`: the tests on every Python and Django that the app is for, with the newest drivers and the oldest.

    make matrix ARGS="--list"
    make matrix ARGS="-s 'tests(python3.12-django6.0-newest)' -- tests/engine tests/stores"

A Python that is not on this machine is left out, with a word. What was run, and when, is in docs/reference/versions.md.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import nox

ROOT = Path(__file__).parent

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
OLDEST_PYTHON = {"5.2": "3.11", "6.0": "3.12", "6.1": "3.12"}  # of each Django
BUILD = ("build", "hatchling", "hatch-fancy-pypi-readme")  # for the tests of the wheel
TESTS = ("-m", "not long", "--ignore=tests/browser", "--ignore=tests/benchmarks")
# Daphne brings pyOpenSSL, which PyMongo uses in place of Python's own TLS where its extra is there, too.
DAPHNE = ("daphne~=4.2", "pymongo[ocsp]")
# Its release line is that of Django. From 6.0 on it wants MongoDB 7, and the wheel with mongod has 6.0.
MONGODB_BACKEND = {"5.2": "django-mongodb-backend~=5.2.4"}

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False


def combinations() -> Iterator[tuple[str, str, str]]:
    """Every Python with every Django that it can run and the newest drivers; on both ends the oldest drivers, and the
    first release of that Django."""
    for python in PYTHONS:
        for django, oldest in OLDEST_PYTHON.items():
            if PYTHONS.index(python) >= PYTHONS.index(oldest):
                yield python, django, "newest"
    yield PYTHONS[0], "5.2", "lowest"
    yield PYTHONS[-2], "6.1", "lowest"


@cache
def interpreter(version: str) -> str:
    """Return the path of a Python of this version, or its name where there is none that runs.

    A version manager leaves a python3.12 on the path that does not run: each is tried, not only looked for.
    """
    kept = Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
    for candidate in chain(filter(None, [shutil.which(f"python{version}")]), map(str, sorted(kept))):
        command = [candidate, "-c", "import ensurepip, venv"]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:  # noqa: S603 - a Python
            return candidate
    return version


def name_of(python: str, django: str, drivers: str) -> str:
    return f"python{python}-django{django}-{drivers}"


PARAMETERS = [
    nox.param(interpreter(python), django, drivers, id=name_of(python, django, drivers))
    for python, django, drivers in combinations()
]


@nox.session
@nox.parametrize("python,django,drivers", PARAMETERS)
def tests(session: nox.Session, django: str, drivers: str) -> None:
    """The tests, or those that are named after --."""
    session.install(
        *("-r", "requirements-test.txt", ".[all]", *BUILD),
        f"Django=={django}" if drivers == "lowest" else f"Django~={django}.0",
        *((*others_of_the_site(), *DAPHNE) if drivers == "newest" else oldest_drivers(session)),
        *([MONGODB_BACKEND[django]] if django in MONGODB_BACKEND and drivers == "newest" else ()),
    )
    session.run("python", "-m", "tests.engine.django_source")
    session.run("python", "-m", "pytest", *TESTS, *session.posargs)


def others_of_the_site() -> list[str]:
    """What the site runs on, without Django."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if re.match(r"\w", line) and not line.startswith("Django~")]


def oldest_drivers(session: nox.Session) -> list[str]:
    """The lower bounds, without that of Django, as constraints; and what the site needs beside the app."""
    lines = (ROOT / "requirements-floors.txt").read_text().splitlines()
    constraints = Path(session.create_tmp()) / "constraints.txt"
    constraints.write_text("\n".join(line for line in lines if not line.startswith("Django==")))
    return ["-c", str(constraints), "django-environ", "gunicorn"]
