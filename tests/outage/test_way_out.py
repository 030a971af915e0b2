"""The store is down, so nobody can log in to the admin: the command is the way out."""

from __future__ import annotations

import time
from pathlib import Path

from tests.load import stores
from tests.load.clients import Browser
from tests.load.site import Node, Site
from tests.servers import Valkey, require


def test_the_command_moves_the_site_off_a_store_that_is_down(tmp_path: Path) -> None:
    require(Valkey)
    with Valkey() as valkey:
        site = Site(tmp_path, REFRESH_SECONDS=0.2, ACTIVATION_SECONDS=0.4, TIMEOUT_SECONDS=0.5)
        site.migrate()
        site.configure(**stores.fields(valkey))
        with Node(site, "node-1") as node:
            browser = Browser([node.url])
            wait_for(browser, 200)
            valkey.kill()
            assert browser.post("/login/ada/").status == 503
            site.manage("login_configuration", "set", "--type", "IN_MEMORY")
            another = Browser([node.url])
            wait_for(another, 200)
            assert another.get("/whoami/").body["user"] == "ada"
            # Nobody can know whether the first one is still logged in: its session lies in the store that is down.
            assert browser.get("/whoami/").status == 503


def wait_for(browser: Browser, status: int) -> None:
    """Log in again and again until the site answers so; some seconds are for a busy machine."""
    for _ in range(100):
        if browser.post("/login/ada/").status == status:
            return
        time.sleep(0.1)
    raise AssertionError(f"the site never answered {status}")
