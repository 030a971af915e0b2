"""The wheel, in an environment of its own, in an empty Django project with two lines more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("wheel")

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
# Management commands one after the other, in one process: most of what each takes is to start.
IN_TURN = """
import os, sys
import django
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
django.setup()
from django.core.management import call_command
for command in sys.argv[1:]:
    call_command(*command.split())
"""


def run(*command: object, cwd: Path = ROOT, code: int = 0) -> str:
    """Run a command to this exit code and return all that it said. It has not the environment of these tests."""
    environment = {
        name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ
    }
    done = subprocess.run(
        [str(each) for each in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; Django and the rest come from the running one, so no network."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (packages / "running.pth").write_text(sysconfig.get_path("purelib"))
    # By a .pth file: the Python of a distribution may have a sitecustomize of its own, which would win.
    shutil.copy(HERE / "blocked.py", packages / "blocked_drivers.py")
    (packages / "blocked.pth").write_text("import blocked_drivers\n")
    # The running one may have the app, too: that of the matrix has.
    options = ("--no-deps", "--no-index", "--ignore-installed", "--no-compile")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel)
    return python


@pytest.fixture(scope="module")
def project(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project with one line in INSTALLED_APPS and one for SESSION_ENGINE."""
    folder = tmp_path_factory.mktemp("project")
    run(python, "-m", "django", "startproject", "mysite", folder)
    settings = folder / "mysite" / "settings.py"
    text = settings.read_text().replace("INSTALLED_APPS = [", "INSTALLED_APPS = [\n    'sessionpersist',")
    settings.write_text(text + "\nSESSION_ENGINE = 'sessionpersist.engine'\n")
    run(python, "manage.py", "migrate", cwd=folder)
    return folder


def test_wheel_holds_every_file_of_the_app_and_nothing_else(wheel: Path) -> None:
    on_disk = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "sessionpersist").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == on_disk
    assert "sessionpersist/py.typed" in packed
    for folder in ("templates", "static", "migrations", "management/commands"):
        assert any(name.startswith(f"sessionpersist/{folder}/") for name in packed), folder


def test_wheel_says_what_it_needs(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    lines = archive.read(name).decode().splitlines()
    extras = {line.removeprefix("Provides-Extra: ") for line in lines if line.startswith("Provides-Extra: ")}
    stores, others = {"redis", "mongodb", "postgresql"}, {"health", "opentelemetry", "prometheus", "fast"}
    assert extras == stores | others | {"all", "djongo"}
    needed = [line for line in lines if line.startswith("Requires-Dist: ") and "extra ==" not in line]
    drivers = ("redis", "mongo", "psycopg", "environ")  # django-environ is for the site of this repository
    assert needed
    assert not [line for line in needed if any(driver in line.lower() for driver in drivers)]
    assert any("licenses/LICENSE" in name for name in archive.namelist())


def test_empty_project_logs_in_and_keeps_the_session_in_the_store(python: Path, project: Path) -> None:
    shutil.copy(HERE / "visitor.py", project)
    found: dict[str, Any] = json.loads(run(python, "-W", "error", "visitor.py", cwd=project))
    assert Path(found["imported_from"]).is_relative_to(python.parents[1])
    assert (found["login"], found["admin"], found["page"]) == (302, 200, 200)
    assert found["sessions"] == 1
    assert found["static"]
    assert all(found["static"].values())


def test_empty_project_passes_the_system_checks_and_needs_no_migration(python: Path, project: Path) -> None:
    commands = (
        "makemigrations --check --dry-run sessionpersist",
        "check --database default --fail-level ERROR",
        "login_configuration show",
    )
    assert "Configured:  In-Memory" in run(python, "-c", IN_TURN, *commands, cwd=project)


def test_store_without_its_driver_says_what_to_install(python: Path, project: Path) -> None:
    choose_redis = ("login_configuration", "set", "--type", "REDIS", "--host", "127.0.0.1")
    said = run(python, "manage.py", *choose_redis, cwd=project, code=1)
    assert "pip install 'sessionpersist[redis]'" in said
    assert "Traceback" not in said
