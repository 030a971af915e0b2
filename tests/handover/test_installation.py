"""Installing the app on a site of two nodes, whose users are logged in with another engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.load.clients import Browser
from tests.load.site import Node, Site
from tests.servers import Valkey, require, shared

LOG_IN = """
from importlib import import_module
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import User
engine = import_module(settings.SESSIONPERSIST["ADOPT_FROM"])
for number in range(12):
    user = User.objects.create(username=f"user-{number}")
    session = engine.SessionStore()
    session[auth.SESSION_KEY] = str(user.pk)
    session[auth.BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[auth.HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    print(session.session_key)
"""


def cache_on_valkey(backend: str) -> dict[str, Any]:
    require(Valkey)
    return {"CACHE_BACKEND": backend, "CACHE_URL": shared(Valkey).url}


# `make test` has other engines than that of the database in one process (test_adoption.py).
@pytest.mark.parametrize(
    ("engine", "cache"),
    [
        ("db", None),
        pytest.param("cached_db", None, marks=pytest.mark.long),
        pytest.param("cache", "django_redis.cache.RedisCache", marks=pytest.mark.long),
        pytest.param("cache", "django.core.cache.backends.redis.RedisCache", marks=pytest.mark.long),
    ],
)
def test_nobody_is_logged_out_though_each_page_is_of_the_other_node(
    tmp_path: Path, engine: str, cache: str | None
) -> None:
    surroundings: dict[str, Any] = {
        "DJANGO_SETTINGS_MODULE": "tests.load.adopting",
        "ADOPT_FROM": f"django.contrib.sessions.backends.{engine}",
        "KEY_PREFIX": tmp_path.name,
        **(cache_on_valkey(cache) if cache else {}),
    }
    database = {"default": f"sqlite:///{tmp_path}/shared.sqlite3"}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    # Each with a memory of its own, as on two machines.
    first, second = (Site(tmp_path / name, database, **surroundings) for name in ("a", "b"))
    first.migrate()
    cookies = first.manage("shell", "--no-imports", "-c", LOG_IN).split()
    with Node(first, "a", workers=1) as a, Node(second, "b", workers=1) as b:
        browsers = [Browser([a.url, b.url], cookie) for cookie in cookies]
        pages = [browser.get("/visit/").body for _ in range(2) for browser in browsers]
    assert {page["node"] for page in pages} == {"a", "b"}
    expected = [(f"user-{number}", visits) for visits in (1, 2) for number in range(12)]
    assert [(page["user"], page["visits"]) for page in pages] == expected
