"""A search that a step of a drain has left off is gone on with by the next step: another request, in another thread,
with another connection."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from sessionpersist.handover import moving
from sessionpersist.handover.carrying import Place
from sessionpersist.handover.driving import drive
from sessionpersist.stores.base import Drainable, now_ms
from sessionpersist.stores.memory import MemoryStore
from sessionpersist.stores.settings import TYPES
from tests.handover.test_contract import ALIAS, SureView, store_of
from tests.handover.world import united
from tests.servers import Postgres, require, shared
from tests.stores.contract import a_key, a_record
from tests.stores.databases import added_database

ENDED, LIVE = 1_000, 400


@pytest.fixture(params=TYPES)
def source(
    request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[Drainable]:
    prefix = secrets.token_hex(4)
    require(Postgres)
    url = shared(Postgres).create_database(f"search_{prefix}")
    with django_db_blocker.unblock(), added_database(ALIAS, url):
        store = store_of(request.param, tmp_path / "old", prefix)
        store.prepare()
        yield store
        store.close()


def test_a_search_is_gone_on_with_in_another_thread_and_comes_to_every_session_once(
    source: Drainable, tmp_path: Path
) -> None:
    for number in range(ENDED):
        source.end(f"{number:064}", now_ms() + 600_000)
    assert len(source.create_many({a_key(): a_record(life=600_000) for _ in range(LIVE)})) == LIVE
    new = MemoryStore(tmp_path / "new", "site", timeout=5)
    view = SureView(Place(new, 1, 1), [Place(source, 0, 0)])
    search = moving.batched(source.scan())

    def step() -> int:
        """Move a few batches, in a thread of its own, which gives its connections back."""
        batches = list(islice(search, 3))
        moved = sum(
            drive(moving.move(view, view.sources[0], batch, united), lambda: view) for batch in batches
        )
        read.append(sum(map(len, batches)))
        source.close()
        new.close()
        connections.close_all()
        return moved

    read: list[int] = []
    moved = 0
    while not read or read[-1]:
        with ThreadPoolExecutor(1) as thread:
            moved += thread.submit(step).result()
    assert (moved, source.count(), new.count()) == (LIVE, 0, LIVE)
    assert sum(read) == ENDED + LIVE
    new.close()
