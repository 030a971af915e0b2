"""A handover ends by itself, on every kind of server, after one request and with nobody watching."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from sessionpersist.stores.base import Record
from sessionpersist.stores.redis.store import RedisStore
from tests.load import stores
from tests.load.site import Site
from tests.servers import Valkey
from tests.servers.process import STOP_SECONDS
from tests.stores.places import redis_store
from tests.upkeep.moved import ask, is_over, newest, some, wait_for
from tests.upkeep.servers import (
    UWSGI,
    Gevent,
    Gunicorn,
    GunicornOnLoops,
    Served,
    Sync,
    Uvicorn,
    UWSGIWithoutThreads,
)

SESSIONS = 300
JDBC = {"persistence_type": "JDBC", "jdbc_database": "default"}


@pytest.fixture
def source(tmp_path: Path) -> Iterator[RedisStore]:
    store = redis_store(Valkey, prefix=tmp_path.name)
    yield store
    store.close()


@pytest.fixture
def site(tmp_path: Path, source: RedisStore) -> Site:
    """A site whose sessions are in Valkey."""
    site = Site(
        tmp_path,
        ACTIVATION_SECONDS=0,
        REFRESH_SECONDS=0.5,
        KEY_PREFIX=tmp_path.name,
        TIMEOUT_SECONDS=5,
        DRAIN_RATE=1000,
        CLEAR_SECONDS=1,
    )
    site.migrate()
    site.configure(**stores.fields_on(Valkey))
    return site


@pytest.fixture
def sessions(site: Site, source: RedisStore) -> dict[str, Record]:
    records = some(SESSIONS, newest(site))
    assert source.create_many(records) == records.keys()
    return records


def require_server(kind: type[Served]) -> None:
    if find_spec(kind.module) is None:
        pytest.skip(f"{kind.module} is not installed")


# Two workers that each load the site, in a Python that has loaded nothing, take a second more; what they do to each
# other is seen with those that are preloaded.
@pytest.mark.parametrize(
    ("kind", "preload", "workers"),
    [
        pytest.param(Sync, False, 2, id="sync", marks=pytest.mark.long),
        pytest.param(Gunicorn, False, 2, id="gthread", marks=pytest.mark.long),
        pytest.param(Gunicorn, True, 2, id="gthread preloaded"),
        pytest.param(Gevent, False, 1, id="gevent"),
        pytest.param(Gevent, False, 2, id="gevent, two workers", marks=pytest.mark.long),
        pytest.param(Gevent, True, 2, id="gevent preloaded", marks=pytest.mark.long),
        pytest.param(Uvicorn, False, 1, id="uvicorn"),
        pytest.param(Uvicorn, False, 2, id="uvicorn, two workers", marks=pytest.mark.long),
        pytest.param(GunicornOnLoops, False, 2, id="gunicorn asgi", marks=pytest.mark.long),
        pytest.param(UWSGI, True, 2, id="uWSGI"),
    ],
)
def test_a_handover_ends_by_itself(
    kind: type[Served],
    preload: bool,
    workers: int,
    site: Site,
    sessions: dict[str, Record],
    source: RedisStore,
) -> None:
    require_server(kind)
    with kind(site, "node", workers=workers, preload=preload) as node:
        site.configure(**JDBC)
        wait_for(lambda: is_over(site), node)
        begun = time.monotonic()
    assert time.monotonic() - begun < STOP_SECONDS, (
        "it ends although its threads sleep, and need not be killed"
    )
    assert source.count() == 0
    moved = ask(site, "SELECT stored_key FROM sessionpersist_storedsession WHERE version > 0")
    assert {key for (key,) in moved} >= sessions.keys()
    held = ask(
        site, "SELECT scope FROM sessionpersist_lease WHERE expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now')"
    )
    assert held == [], "it is let go of at the end"


def test_where_threads_do_not_run_nothing_begins(
    site: Site, sessions: dict[str, Record], source: RedisStore
) -> None:
    require_server(UWSGIWithoutThreads)
    with UWSGIWithoutThreads(site, "node") as node:
        site.configure(**JDBC)
        wait_for(lambda: "without enable-threads" in node.log.read_text(), node)
        time.sleep(2)
    assert source.count() == len(sessions)
    assert ask(site, "SELECT * FROM sessionpersist_lease") == []
