"""The pages in projects of all kinds: with a base.html of their own, without one, and with hashed static files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from sessionpersist import sessions
from sessionpersist.session.reasons import Reason
from sessionpersist.testing import override_login_configuration
from tests.account.support import log_in, text_of

pytestmark = pytest.mark.django_db

PAGES = [reverse(f"sessionpersist:{name}") for name in ("sessions", "back")]
HASHED = re.compile(r'(?:src|href)="(/static/sessionpersist/account/[^"]+\.[0-9a-f]{12}\.(?:js|css))"')


def use_templates(settings: Settings, folder: Path | None) -> None:
    [engine] = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "DIRS": [folder] if folder else []}]


@pytest.mark.parametrize("address", PAGES)
def test_without_a_base_template_they_have_a_frame_of_their_own(
    settings: Settings, client: Client, ada: User, address: str
) -> None:
    use_templates(settings, None)
    client.force_login(ada)
    text = text_of(client.get(address))
    assert "account/frame.css" in text
    assert re.search(r"<title>\s*\S[^<]+</title>", text)
    assert text.count("<h1>") == 1
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>", text)


def test_a_project_with_other_blocks_overrides_one_template(
    settings: Settings, client: Client, ada: User, tmp_path: Path
) -> None:
    (tmp_path / "base.html").write_text("<body id=mine>{% block middle %}{% endblock %}")
    ours = tmp_path / "sessionpersist/account/page.html"
    ours.parent.mkdir(parents=True)
    ours.write_text(
        '{% extends "base.html" %}{% block middle %}{% block sessions_content %}{% endblock %}{% endblock %}'
    )
    use_templates(settings, tmp_path)
    client.force_login(ada)
    text = text_of(client.get(PAGES[0]))
    assert "<body id=mine>" in text
    assert "<h1>Your sessions</h1>" in text


def test_without_messages_an_end_says_nothing_and_is_no_error(
    settings: Settings, client: Client, ada: User
) -> None:
    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if "messages" not in each]
    settings.INSTALLED_APPS = [each for each in settings.INSTALLED_APPS if "messages" not in each]
    use_templates(settings, None)
    assert log_in(client).post(reverse("sessionpersist:end_others"))["Location"] == PAGES[0]
    assert "sp-message" not in text_of(client.get(PAGES[0]))


def test_each_file_is_found_under_its_hashed_name(
    settings: Settings, client: Client, ada: User, tmp_path: Path
) -> None:
    manifest = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    settings.STATIC_ROOT = str(tmp_path)
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": manifest}}
    call_command("collectstatic", interactive=False, verbosity=0)
    storage: Any = staticfiles_storage
    storage._setup()  # what was read before the files were collected
    use_templates(settings, None)
    with override_login_configuration(idle_minutes=30):
        client.force_login(ada)
        found = HASHED.findall("".join(text_of(client.get(address)) for address in PAGES))
    names = {each.rpartition("/")[2].split(".")[0] for each in found}
    assert names == {path.stem for path in Path("sessionpersist/static/sessionpersist/account").iterdir()}
    for address in found:
        assert not re.search(r"@import|url\(", (tmp_path / address.removeprefix("/static/")).read_text())


def test_staff_are_warned_and_read_why_in_the_admin_of_the_site(client: Client, ada: User) -> None:
    User.objects.filter(pk=ada.pk).update(is_staff=True)
    client.force_login(ada)
    with override_login_configuration(idle_minutes=30):
        assert 'id="sp-timeout"' in text_of(client.get("/admin/"))
    sessions.end_all(ada, reason=Reason.BY_STAFF)
    assert str(Reason.BY_STAFF.text) in text_of(client.get("/admin/", follow=True))
