"""The translations are complete: each message of the app, and of the site that comes with it, has one in each language,
with the same gaps."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polib
import pytest

import sessionpersist

APP = Path(sessionpersist.__file__).parent
SITE = Path(__file__).parents[2] / "templates"
LANGUAGES = ("ar", "de", "es", "fr", "ja", "pt_BR", "zh_Hans")
# Of Python's two ways, and of Django's templates; what JavaScript puts a number into; what marks words as HTML.
GAPS = re.compile(r"\{\w*\}|%\(\w+\)[sd]|%%|#|</?\w[^>]*>")


def catalogue(language: str, folder: Path) -> polib.POFile:
    return polib.pofile(str(path_of(language, "po", folder)), wrapwidth=0)


def path_of(language: str, kind: str, folder: Path = APP) -> Path:
    return folder / "locale" / language / "LC_MESSAGES" / f"django.{kind}"


def messages(language: str, folder: Path) -> list[polib.POEntry]:
    return [each for each in catalogue(language, folder) if not each.obsolete]


each_catalogue = pytest.mark.parametrize("folder", [APP, SITE], ids=["app", "site"])


@each_catalogue
def test_these_are_the_languages(folder: Path) -> None:
    assert sorted(each.name for each in (folder / "locale").iterdir()) == sorted(LANGUAGES)


@each_catalogue
@pytest.mark.parametrize("language", LANGUAGES)
class TestLanguage:
    def test_every_message_has_a_translation(self, language: str, folder: Path) -> None:
        missing = [each.msgid for each in messages(language, folder) if not each.translated()]
        assert missing == []

    def test_no_gap_is_missing_or_made_up(self, language: str, folder: Path) -> None:
        for each in messages(language, folder):
            allowed = [sorted(GAPS.findall(text)) for text in (each.msgid, each.msgid_plural) if text]
            for text in each.msgstr_plural.values() if each.msgid_plural else [each.msgstr]:
                assert sorted(GAPS.findall(text)) in allowed, (each.msgid, text)

    def test_no_message_ends_otherwise(self, language: str, folder: Path) -> None:
        """A sentence is a sentence in every language, and a label is a label."""
        for each in messages(language, folder):
            for text in each.msgstr_plural.values() if each.msgid_plural else [each.msgstr]:
                assert text.strip() == text, each.msgid
                assert each.msgid.endswith((".", "?", ":")) == text.endswith(
                    (".", "?", ":", "。", "\uff1f", "\uff1a", "؟")
                ), (each.msgid, text)

    def test_what_django_reads_is_what_is_written(self, language: str, folder: Path) -> None:
        assert path_of(language, "mo", folder).read_bytes() == catalogue(language, folder).to_binary()


@pytest.mark.skipif(not shutil.which("xgettext"), reason="gettext is not installed.")
@each_catalogue
def test_no_message_is_left_out(tmp_path: Path, folder: Path) -> None:
    """Nor is one kept that is said no more: `make messages` changes nothing."""
    shutil.copytree(folder, tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "django", "makemessages", "--locale=de", "--no-obsolete"]
    surroundings = {name: each for name, each in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(command, cwd=tmp_path / "app", check=True, capture_output=True, env=surroundings)
    path = tmp_path / "app/locale/de/LC_MESSAGES/django.po"
    now = {(each.msgid, each.msgid_plural) for each in polib.pofile(str(path))}
    for language in LANGUAGES:
        assert {(each.msgid, each.msgid_plural) for each in catalogue(language, folder)} == now
