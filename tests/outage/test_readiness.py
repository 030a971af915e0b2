"""Readiness while both the store and the database of the site hang."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.load import stores
from tests.load.clients import Browser
from tests.load.site import Node, Site
from tests.servers import Postgres, Valkey, require

pytestmark = pytest.mark.xdist_group("outage")

READY = "/health/ready/"
PATIENCE = 3.0  # seconds that a process waits for either


def test_a_probe_waits_for_both_no_longer_than_for_one(
    tmp_path: Path, postgres: Postgres, database: str
) -> None:
    """That of Kubernetes gives up after a second more, and says nothing of why."""
    require(Valkey)
    with Valkey() as valkey:
        own = {"REFRESH_SECONDS": 0.5, "ACTIVATION_SECONDS": 0, "TIMEOUT_SECONDS": PATIENCE}
        site = Site(tmp_path, {"default": database}, **own)
        site.configure(**stores.fields(valkey))
        with Node(site, "node-1", workers=1) as node:
            browser = Browser([node.url])
            assert browser.get(READY).status == 200
            postgres.pause()
            valkey.pause()
            try:
                time.sleep(1)  # what it knows is older than that
                waits = [seconds_of_a_probe(browser) for _ in range(3)]
            finally:
                postgres.resume()
                valkey.resume()
    assert max(waits) < 1.5 * PATIENCE


def seconds_of_a_probe(browser: Browser) -> float:
    """Ask whether the node is ready; it is not."""
    begun = time.monotonic()
    assert browser.get(READY).status == 503
    return time.monotonic() - begun
