"""The upkeep of live sites: beside users, with the mover killed, on two nodes, and without the site's database."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sessionpersist.stores.base import Record, now_ms
from sessionpersist.stores.redis.store import RedisStore
from tests.load import stores
from tests.load.clients import Browser, Load
from tests.load.site import Site
from tests.load.users import Visitor
from tests.servers import Postgres, Valkey, require
from tests.sizes import quick_and_long
from tests.stores.places import redis_store
from tests.upkeep.moved import ask, is_over, mover, newest, some, wait_for
from tests.upkeep.servers import Gunicorn

pytestmark = pytest.mark.xdist_group("upkeep")

JDBC = {"persistence_type": "JDBC", "jdbc_database": "default"}


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[RedisStore]:
    store = redis_store(Valkey, prefix=tmp_path.name)
    yield store
    store.close()


def a_site(folder: Path, databases: dict[str, str] | None = None, **settings: Any) -> Site:
    return Site(
        folder,
        databases,
        ACTIVATION_SECONDS=0.5,
        REFRESH_SECONDS=0.3,
        KEY_PREFIX=folder.name,
        TIMEOUT_SECONDS=5,
        **settings,
    )


def a_site_with_sessions(
    count: int, folder: Path, valkey: RedisStore, **settings: Any
) -> tuple[Site, dict[str, Record]]:
    """A site in Valkey, with sessions whose users do not come back."""
    site = a_site(folder, **settings)
    site.migrate()
    site.configure(**stores.fields_on(Valkey))
    time.sleep(1)
    sleeping = some(count, newest(site))
    assert valkey.create_many(sleeping) == sleeping.keys()
    return site, sleeping


@pytest.mark.parametrize("size", quick_and_long((600, 4), (3_000, 30)))
def test_who_moves_is_killed_under_load_and_another_goes_on(
    size: tuple[int, int], tmp_path: Path, valkey: RedisStore
) -> None:
    sessions, users = size
    site, sleeping = a_site_with_sessions(sessions, tmp_path, valkey, DRAIN_RATE=sessions // 12)
    with Gunicorn(site, "node") as node:
        visitors = [Visitor([node.url], f"visitor-{number}") for number in range(users)]
        for visitor in visitors:
            visitor.log_in()
        by_browser = {id(visitor.browser): visitor for visitor in visitors}
        with Load(
            [each.browser for each in visitors], lambda browser: by_browser[id(browser)].visit(), pause=0.1
        ):
            site.configure(**JDBC)
            first = wait_for(lambda: mover(site), node)
            wait_for(lambda: valkey.count() < sessions, node)
            os.kill(first, signal.SIGKILL)
            assert valkey.count() > 0
            assert wait_for(lambda: mover(site) not in (0, first) and mover(site), node)
            ask(site, "UPDATE sessionpersist_revision SET drain_rate = 2000 WHERE drained_at IS NULL")
            wait_for(lambda: is_over(site), node, seconds=120)
    assert [fault for visitor in visitors for fault in visitor.faults] == []
    assert min(visitor.visits for visitor in visitors) > 10
    assert valkey.count() == 0
    there = {key for (key,) in ask(site, "SELECT stored_key FROM sessionpersist_storedsession")}
    assert there >= sleeping.keys()


def test_the_command_works_beside_it(tmp_path: Path, valkey: RedisStore) -> None:
    site, sleeping = a_site_with_sessions(600, tmp_path, valkey, DRAIN_RATE=50)
    with Gunicorn(site, "node") as node:
        site.configure(**JDBC)
        wait_for(lambda: mover(site) and valkey.count() < 600, node)
        assert "none is left" in site.manage("drain_sessions")
        assert is_over(site)
        wait_for(lambda: not mover(site), node)
    there = {key for (key,) in ask(site, "SELECT stored_key FROM sessionpersist_storedsession")}
    assert there >= sleeping.keys()


def test_each_of_two_nodes_moves_what_is_in_its_own_memory(tmp_path: Path, valkey: RedisStore) -> None:
    site = a_site(tmp_path, DRAIN_RATE=1000)
    site.migrate()
    with ExitStack() as stack:
        nodes = []
        for name in ("north", "south"):
            site.environment["MEMORY_DIR"] = str(tmp_path / name)
            (tmp_path / name).mkdir()
            nodes.append(stack.enter_context(Gunicorn(site, name)))
        browsers = [Browser([node.url]) for node in nodes for _ in range(15)]
        for number, browser in enumerate(browsers):
            assert browser.post(f"/login/user-{number}/").status == 200
        site.configure(**stores.fields_on(Valkey))
        wait_for(lambda: is_over(site), *nodes)
        assert valkey.count() == len(browsers)
        for number, browser in enumerate(browsers):
            browser.urls = [node.url for node in reversed(nodes)]
            assert [browser.get("/whoami/").body["user"] for _ in nodes] == [f"user-{number}"] * 2
    at_work = ask(
        site, "SELECT scope, node FROM sessionpersist_lease WHERE scope LIKE 'node%' ORDER BY scope"
    )
    assert at_work == [("node north", "north"), ("node south", "south")]


def test_a_node_without_requests_says_that_it_has_switched(tmp_path: Path) -> None:
    site = a_site(tmp_path, CLEAR_SECONDS=300)
    site.migrate()
    with Gunicorn(site, "node") as node:
        browser = Browser([node.url])
        assert browser.post("/login/user-1/").status == 200
        wait_for(lambda: reported(site), node)
        site.configure(**JDBC)
        wait_for(lambda: {row[0] for row in reported(site)} == {newest(site)}, node)


def reported(site: Site) -> list[Any]:
    """Return the revisions that the processes of the site have said they go by."""
    return ask(site, "SELECT revision FROM sessionpersist_node")


def test_a_pause_holds_and_a_faster_pace_is_taken_up(tmp_path: Path, valkey: RedisStore) -> None:
    site, _ = a_site_with_sessions(400, tmp_path, valkey, DRAIN_RATE=20)
    with Gunicorn(site, "node") as node:
        site.configure(**JDBC)
        wait_for(lambda: mover(site), node)
        ask(site, "UPDATE sessionpersist_revision SET drain_rate = 0 WHERE drained_at IS NULL")
        wait_for(lambda: not mover(site), node)
        left = valkey.count()
        assert left > 0
        time.sleep(1.5)
        assert valkey.count() == left
        ask(site, "UPDATE sessionpersist_revision SET drain_rate = 4000 WHERE drained_at IS NULL")
        wait_for(lambda: is_over(site), node)


def test_expired_sessions_are_cleared_in_the_database_and_in_memory(tmp_path: Path) -> None:
    site = a_site(tmp_path, CLEAR_SECONDS=1)
    site.migrate()
    site.configure(**JDBC)
    time.sleep(1)
    old = now_ms() - 1000

    def plant(count: int) -> None:
        for key in some(count, 1):
            ask(
                site, "INSERT INTO sessionpersist_storedsession VALUES (?, x'00', 1, ?, ?, '')", key, old, old
            )

    def expired() -> int:
        [(count,)] = ask(
            site, "SELECT count(*) FROM sessionpersist_storedsession WHERE expires_at <= ?", now_ms()
        )
        return int(count)

    plant(50)
    with Gunicorn(site, "node") as node:
        wait_for(lambda: not expired(), node)
        plant(20)
        wait_for(lambda: not expired(), node)


def test_a_database_that_is_gone_is_one_line_in_the_log_and_then_it_goes_on(
    tmp_path: Path, valkey: RedisStore
) -> None:
    require(Postgres)
    with Postgres() as postgres:
        site = a_site(tmp_path, {"default": postgres.url}, DRAIN_RATE=100, CLEAR_SECONDS=1)
        site.migrate()
        site.configure(**stores.fields_on(Valkey))
        time.sleep(1)
        with postgres.connect() as connection:
            [(number,)] = connection.execute("SELECT max(id) FROM sessionpersist_revision").fetchall()
        valkey.create_many(some(500, number))
        with Gunicorn(site, "node", workers=1) as node:
            site.configure(persistence_type="IN_MEMORY")
            wait_for(lambda: valkey.count() < 450, node)
            postgres.kill()
            time.sleep(3)
            left = valkey.count()
            assert node.log.read_text().count(" ERROR ") == 1, node.log.read_text()
            assert node.log.read_text().count("could not be read") == 1
            assert "has to wait" not in node.log.read_text()
            postgres.start()
            wait_for(lambda: valkey.count() == 0, node)
            assert left > 0
