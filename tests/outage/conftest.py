"""A database for the configuration of sites, while it is there and while it is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.load.site import Site
from tests.servers import Postgres, require


@pytest.fixture(scope="package")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server with the tables of a site: it takes a second to make. Each test leaves it running."""
    require(Postgres)
    with Postgres() as server:
        Site(tmp_path_factory.mktemp("migrated"), {"default": server.url}).migrate()
        yield server
