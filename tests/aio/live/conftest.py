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


@pytest.fixture
def live(living: Live) -> Live:
    """The node, with its sessions in a Valkey of its own."""
    living.use("REDIS")
    return living
