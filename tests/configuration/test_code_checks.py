"""W011: code that looks for sessions in Django's own table, which stays empty."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from sessionpersist.configuration.code_checks import lines_of

IMPORT = "from django.contrib.sessions.models import Session\n"

LOST = [
    IMPORT + "Session.objects.all().delete()",
    IMPORT + "for each in Session.objects.filter(pk=1): each.get_decoded()",
    IMPORT + "Session._default_manager.count()",
    IMPORT + "get_object_or_404(Session, pk=1)",
    IMPORT + "admin.site.register(Session)",
    IMPORT + "@admin.register(Session)\nclass SessionAdmin: ...",
    IMPORT + "class Login:\n    session = models.ForeignKey(Session, on_delete=models.CASCADE)",
    IMPORT + "class Sessions(ListView):\n    model = Session",
    IMPORT + "post_delete.connect(note, sender=Session)",
    "from django.contrib.sessions.models import Session as S\nS.objects.all()",
    "from django.contrib.sessions import models\nmodels.Session.objects.all()",
    "import django.contrib.sessions.models\ndjango.contrib.sessions.models.Session.objects.all()",
    "import django.contrib.sessions.models as m\nm.Session.objects.all()",
    "from django.apps import apps\napps.get_model('sessions', 'Session').objects.all()",
    "from django.apps import apps\nSession = apps.get_model('sessions.Session')\nSession.objects.all()",
    "session = models.ForeignKey('sessions.Session', on_delete=models.CASCADE)",
    "from django.contrib.sessions.backends.db import SessionStore\nSessionStore(session_key=key)",
    "from django.contrib.sessions.backends import cached_db\ncached_db.SessionStore()",
    "def end(user):\n    from django.contrib.sessions.models import Session\n    Session.objects.all()",
]

FINE = [
    "",
    "from shop.models import Session\nSession.objects.all()",
    "from sqlalchemy.orm import Session\nSession.objects",
    IMPORT + "def show(session: Session) -> None: ...",
    IMPORT + "isinstance(found, Session)",
    IMPORT + "class Proxy(Session): ...",
    IMPORT + "Session.objects.all().delete()  # what the old engine left: sessionpersist.W011",
    "from django.contrib.sessions.backends.db import SessionStore\nclass Ours(SessionStore): ...",
    "from importlib import import_module\nimport_module(settings.SESSION_ENGINE).SessionStore(key)",
    "# django.contrib.sessions.models: Session.objects.all()",
    "print('Session.objects of django.contrib.sessions')",
    "from django.contrib.sessions.models import Session\nthis is no Python",
]


@pytest.mark.parametrize("source", LOST, ids=range(len(LOST)))
def test_code_that_finds_no_session_is_found(source: str) -> None:
    last = len(source.splitlines())
    (line,) = lines_of(source)
    assert line in (last, last - 1)


@pytest.mark.parametrize("source", FINE, ids=range(len(FINE)))
def test_other_code_is_left_alone(source: str) -> None:
    assert lines_of(source) == []


def an_app(folder: Path, name: str, files: dict[str, str]) -> None:
    for file, text in {"__init__.py": "", **files}.items():
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def warnings() -> list[str]:
    return [each.msg for each in run_checks(databases=()) if each.id == "sessionpersist.W011"]


class Project(NamedTuple):
    folder: Path
    app: str
    package: str


@pytest.fixture
def project(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with an app, a package with its addresses, and code in each that finds no session. The names are those
    of this test alone: a module is imported once."""
    made = Project(tmp_path, f"forum_{tmp_path.name}", f"site_{tmp_path.name}")
    text = f"\n{IMPORT}\nSession.objects.all()\n"
    skipped = ("tests/test_it.py", "test_it.py", "tests.py", "conftest.py", "migrations/0001_it.py")
    an_app(tmp_path, made.app, {"views.py": text, "deep/er.py": text + text, **dict.fromkeys(skipped, text)})
    an_app(tmp_path, made.package, {"urls.py": "urlpatterns = []\n" + text})
    (tmp_path / made.app / "broken.py").write_bytes(b"\xff\xfe Session.objects")
    monkeypatch.syspath_prepend(tmp_path)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, made.app]
    settings.ROOT_URLCONF = f"{made.package}.urls"
    return made


def test_project_is_told_file_and_lines(project: Project) -> None:
    assert sorted(warnings()) == [
        f"Sessions are looked for with Django's own model or engine, which will find none: {project.folder / where}."
        for where in (
            f"{project.app}/deep/er.py, line 4, 8",
            f"{project.app}/views.py, line 4",
            f"{project.package}/urls.py, line 5",
        )
    ]


def test_with_another_engine_nobody_is_told(project: Project, settings: Settings) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    assert warnings() == []


def test_the_sources_are_read_and_not_run(project: Project) -> None:
    assert len(warnings()) == 3
    assert f"{project.app}.views" not in sys.modules
