"""PostgreSQL and its standby under load, both in DATABASES: the primary is killed, the standby promoted."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.load.stores import ALIAS
from tests.outage.failing_over import FailOver, started, under_load
from tests.servers import Postgres, Standby, require

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("load")]


@pytest.mark.parametrize("synchronous", [True, False], ids=["synchronous", "asynchronous"])
def test_a_fail_over_loses_nothing_where_commits_wait_for_the_standby(
    synchronous: bool, tmp_path: Path
) -> None:
    require(Postgres)
    if Postgres().external:
        pytest.skip("A server that someone else runs gets no standby.")
    with Postgres() as primary, Standby(primary) as standby, ExitStack() as stack:
        if synchronous:
            connection = primary._connect_as_admin()
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
            connection.close()
        fields = {"persistence_type": "JDBC", "jdbc_database": ALIAS}
        running = started(tmp_path, stack, fields, {ALIAS: url_of(primary, standby)})

        def fault(fail_over: FailOver) -> None:
            primary.kill()
            standby.promote()
            fail_over.elected = time.monotonic()

        under_load(running, fault).check(exact=synchronous)


def url_of(primary: Postgres, standby: Standby) -> str:
    """One URL of both, for libpq to find the one that takes writes."""
    login = f"{primary.username}:{quote(primary.password, safe='')}"
    hosts = ",".join(f"{each.host}:{each.port}" for each in (primary, standby))
    return f"postgresql://{login}@{hosts}/{primary.database}?target_session_attrs=read-write"
