"""The database that holds the configuration is gone, while the store of the sessions is up."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.load import stores
from tests.load.clients import Browser
from tests.load.site import Node, Site
from tests.servers import Postgres, Valkey

pytestmark = pytest.mark.xdist_group("outage")

PATIENCE = 1.5  # seconds that a process waits for the configuration


def test_the_site_goes_on_with_what_it_last_knew(tmp_path: Path, postgres: Postgres, database: str) -> None:
    site = Site(tmp_path, {"default": database}, REFRESH_SECONDS=0.2, ACTIVATION_SECONDS=0)
    site.configure(**stores.fields_on(Valkey))
    with Node(site, "node-1") as node:
        browser = Browser([node.url])
        pids = ask_every_worker(browser, node)  # each has read the configuration
        reached = len(browser.answers)
        postgres.kill()
        # Each worker finds the configuration gone, and stale, many times over.
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert browser.get("/count/").status == 200
            time.sleep(0.05)
        answers = browser.answers[reached:]
        assert [answer.body["count"] for answer in answers] == list(
            range(reached + 1, reached + 1 + len(answers))
        )
        assert {answer.body["pid"] for answer in answers} == pids

        postgres.start()
        site.configure(persistence_type="IN_MEMORY")
        time.sleep(1)
        assert browser.get("/count/").body["count"] == browser.answers[-2].body["count"] + 1
        ask_every_worker(browser, node)
        assert node.log.read_text().count("could not be read") == len(pids)
        assert node.log.read_text().count("can be read again") == len(pids)


def test_nor_does_it_wait_for_one_that_hangs(tmp_path: Path, postgres: Postgres, database: str) -> None:
    own = {"REFRESH_SECONDS": 0.5, "ACTIVATION_SECONDS": 0, "TIMEOUT_SECONDS": 0.5}
    site = Site(tmp_path, {"default": database}, **own)
    site.configure(**stores.fields_on(Valkey))
    with Node(site, "node-1") as node:
        browser = Browser([node.url])
        ask_every_worker(browser, node)
        postgres.pause()
        try:
            time.sleep(1)
            reached = len(browser.answers)
            assert [browser.get("/count/").status for _ in range(10)] == [200] * 10
            assert browser.answers[-1].body["count"] == reached + 10
        finally:
            postgres.resume()


def test_pages_without_a_session_do_not_wait_for_it_either(
    tmp_path: Path, postgres: Postgres, database: str
) -> None:
    own = {"REFRESH_SECONDS": 0.5, "ACTIVATION_SECONDS": 0, "TIMEOUT_SECONDS": PATIENCE}
    site = Site(tmp_path, {"default": database}, **own)
    with Node(site, "node-1", workers=1) as node:
        browser = Browser([node.url])
        ask_every_worker(browser, node)
        postgres.pause()
        try:
            waits = [seconds_of_a_page_without_a_session(browser) for _ in range(6)]
        finally:
            postgres.resume()
    waited = [wait for wait in waits if wait > PATIENCE / 2]
    assert len(waited) <= 1, "the request that finds it gone"


def seconds_of_a_page_without_a_session(browser: Browser) -> float:
    """Ask for one, after what the process knows of the configuration has become due."""
    time.sleep(0.6)
    begun = time.monotonic()
    assert browser.get("/static-page/").status == 200
    return time.monotonic() - begun


def ask_every_worker(browser: Browser, node: Node) -> set[int]:
    """Count visits until each worker of the node has answered one; return their pids."""
    pids: set[int] = set()
    while len(pids) < node.workers:
        pids.add(browser.get("/count/").body["pid"])
    return pids
