"""A node that is cut off from the site's database while a handover begins, and ends by itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.load import stores
from tests.load.clients import Browser
from tests.load.site import Site
from tests.servers import Valkey, require, shared
from tests.upkeep.moved import is_over, wait_for
from tests.upkeep.servers import Gunicorn

REFRESH = 0.5  # seconds

pytestmark = pytest.mark.xdist_group("upkeep")


def test_it_answers_503_until_it_hears_of_the_switch_and_loses_nobody(tmp_path: Path) -> None:
    require(Valkey)
    own: dict[str, Any] = {
        "REFRESH_SECONDS": REFRESH,
        "ACTIVATION_SECONDS": 3 * REFRESH,
        "KEY_PREFIX": tmp_path.name,
    }
    site = Site(tmp_path, DRAIN_RATE=1000, **own)
    site.migrate()
    site.configure(**stores.fields(shared(Valkey)), redis_database=1)
    time.sleep(4 * REFRESH)
    away = Site(tmp_path, DRAIN_RATE=1000, **own)
    line = tmp_path / "line"
    line.symlink_to(tmp_path)
    away.environment["DATABASE_URL"] = f"sqlite:///{line}/{site.file.name}"
    with Gunicorn(site, "at home") as home, Gunicorn(away, "cut off", workers=1) as node:
        browsers = [Browser([node.url]) for _ in range(10)]
        for browser in browsers:
            assert [browser.get("/count/").body["count"] for _ in range(2)] == [1, 2]

        line.unlink()
        time.sleep(3 * REFRESH)
        assert browsers[0].get("/count/").body["count"] == 3, "nothing has moved: it goes on"
        site.configure(redis_database=2)
        assert Browser([home.url]).get("/count/").status == 200  # which has its upkeep begin
        wait_for(lambda: is_over(site), home)
        behind = [browser.get("/count/") for browser in browsers]
        assert {answer.status for answer in behind} == {503}, "it can't know whether they are logged in"
        assert not any(answer.cookie_deleted for answer in behind)

        line.symlink_to(tmp_path)
        wait_for(lambda: browsers[0].get("/count/").status == 200, node)
        counts = [browser.get("/count/").body["count"] for browser in browsers]
        assert counts == [5] + [3] * 9
