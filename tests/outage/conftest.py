"""A database for the configuration of a site, on a server that a test may take away for a while."""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_hex

import pytest

from tests.load.site import Site
from tests.servers import Postgres, require

MIGRATED = "migrated"


@pytest.fixture(scope="package")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server that is there again at the end of each test, with a database that has the tables of a site: both
    together take most of a second of work."""
    require(Postgres)
    with Postgres() as server:
        Site(tmp_path_factory.mktemp("migrated"), {"default": server.create_database(MIGRATED)}).migrate()
        yield server


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """A copy of that database for one test."""
    yield postgres.create_database(f"site_{token_hex(4)}", MIGRATED)
    postgres.start()  # a test that has killed it may have failed
