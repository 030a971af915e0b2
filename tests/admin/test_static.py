"""The scripts and styles of the page, collected for production under names with a hash."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from tests.admin.support import PAGE

HASHED = re.compile(r'(?:src|href)="(/static/sessionpersist/[^"]+\.[0-9a-f]{12}\.(?:js|css))"')


@pytest.mark.django_db
def test_each_file_is_found_under_its_hashed_name_and_imports_no_other(
    browser: Client, settings: Settings, tmp_path: Path
) -> None:
    manifest = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    settings.STATIC_ROOT = str(tmp_path)
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": manifest}}
    call_command("collectstatic", interactive=False, verbosity=0)
    staticfiles_storage._setup()  # type: ignore[attr-defined] # what was read before the files were collected
    found = HASHED.findall(browser.get(PAGE).content.decode())
    assert len(found) == len(list((tmp_path / "sessionpersist" / "configuration").iterdir())) / 2
    for address in found:
        text = (tmp_path / address.removeprefix("/static/")).read_text()
        assert not re.search(r"@import|\bimport\b.*\bfrom\b|url\(", text)
