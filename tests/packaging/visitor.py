"""Uses the empty project as a visitor would, in its own process, and prints as JSON what was found."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import django


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    django.setup()
    from django.conf import settings
    from django.test.utils import setup_test_environment

    # A password costs half a second of work on purpose, otherwise.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

    setup_test_environment()
    store_folder = Path(memory_store().folder)
    try:
        print(json.dumps(visit()))  # noqa: T201 - for the test
    finally:
        shutil.rmtree(store_folder)


def visit() -> dict[str, Any]:
    from django.contrib.auth.models import User
    from django.test import Client

    import sessionpersist

    User.objects.create_superuser("ada", password="secret")
    client = Client()
    login: Any = client.post("/admin/login/?next=/admin/", {"username": "ada", "password": "secret"})
    page: Any = client.get("/admin/sessionpersist/loginconfiguration/", follow=True)
    return {
        "imported_from": sessionpersist.__file__,
        "login": login.status_code,
        "admin": client.get("/admin/").status_code,
        "page": page.status_code,
        "static": statics(page.content.decode()),
        "sessions": memory_store().count(),
    }


def statics(html: str) -> dict[str, bool]:
    """Which files of the app the page asks for, and whether the app brings each."""
    import re

    from django.contrib.staticfiles import finders

    names = re.findall(r"static/(sessionpersist/[\w./-]+)", html)
    return {name: finders.find(name) is not None for name in names}


def memory_store() -> Any:
    from sessionpersist.stores import build_store
    from sessionpersist.stores.settings import MemorySettings

    return build_store(MemorySettings())


if __name__ == "__main__":
    main()
