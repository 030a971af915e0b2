"""One uvicorn with the pages of ``pages.py`` and the websockets of ``sockets.py``, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.aio.live.living import Live


@pytest.fixture(scope="session")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    from tests.aio.live.living import started

    with started(tmp_path_factory.mktemp("asgi")) as live:
        yield live


@pytest.fixture(scope="session", params=["IN_MEMORY", "REDIS", "MONGODB", "JDBC"])
def each_kind(request: pytest.FixtureRequest) -> str:
    """For the session, so that tests on one store come one after the other."""
    kind: str = request.param
    return kind


@pytest.fixture
def on_each(living: Live, each_kind: str) -> Live:
    """The node, with its sessions in one store after the other."""
    living.use(each_kind)
    return living


@pytest.fixture
def live(living: Live) -> Live:
    """The node, with its sessions in a Valkey of its own."""
    living.use("REDIS")
    return living
