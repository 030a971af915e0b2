"""The translations are complete: each message of the app has one in each language, with the same gaps."""

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
LANGUAGES = ("ar", "de", "es", "fr", "ja", "pt_BR", "zh_Hans")
# Of Python's two ways, and of Django's templates; what JavaScript puts a number into; what marks words as HTML.
GAPS = re.compile(r"\{\w*\}|%\(\w+\)[sd]|%%|#|</?\w[^>]*>")


def catalogue(language: str) -> polib.POFile:
    return polib.pofile(str(path_of(language, "po")), wrapwidth=0)


def path_of(language: str, kind: str) -> Path:
    return APP / "locale" / language / "LC_MESSAGES" / f"django.{kind}"


def messages(language: str) -> list[polib.POEntry]:
    return [each for each in catalogue(language) if not each.obsolete]


def test_these_are_the_languages() -> None:
    assert sorted(each.name for each in (APP / "locale").iterdir()) == sorted(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
class TestLanguage:
    def test_every_message_has_a_translation(self, language: str) -> None:
        missing = [each.msgid for each in messages(language) if not each.translated()]
        assert missing == []

    def test_no_gap_is_missing_or_made_up(self, language: str) -> None:
        for each in messages(language):
            allowed = [sorted(GAPS.findall(text)) for text in (each.msgid, each.msgid_plural) if text]
            for text in each.msgstr_plural.values() if each.msgid_plural else [each.msgstr]:
                assert sorted(GAPS.findall(text)) in allowed, (each.msgid, text)

    def test_no_message_ends_otherwise(self, language: str) -> None:
        """A sentence is a sentence in every language, and a label is a label."""
        for each in messages(language):
            for text in each.msgstr_plural.values() if each.msgid_plural else [each.msgstr]:
                assert text.strip() == text, each.msgid
                assert each.msgid.endswith((".", "?", ":")) == text.endswith(
                    (".", "?", ":", "。", "\uff1f", "\uff1a", "؟")
                ), (each.msgid, text)

    def test_what_django_reads_is_what_is_written(self, language: str) -> None:
        assert path_of(language, "mo").read_bytes() == catalogue(language).to_binary()


@pytest.mark.skipif(not shutil.which("xgettext"), reason="gettext is not installed.")
def test_no_message_of_the_app_is_left_out(tmp_path: Path) -> None:
    """Nor is one kept that the app says no more: `make messages` changes nothing."""
    shutil.copytree(APP, tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "django", "makemessages", "--locale=de", "--no-obsolete"]
    surroundings = {name: each for name, each in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(command, cwd=tmp_path / "app", check=True, capture_output=True, env=surroundings)
    path = tmp_path / "app/locale/de/LC_MESSAGES/django.po"
    now = {(each.msgid, each.msgid_plural) for each in polib.pofile(str(path))}
    for language in LANGUAGES:
        assert {(each.msgid, each.msgid_plural) for each in catalogue(language)} == now
