"""A lease is one process's at a time, by the clock of the database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from secrets import token_hex
from time import monotonic

import pytest
from django.db import connections
from django.db.models import Model
from django.db.models.functions import Now
from pytest_django import DjangoDbBlocker, Settings

from sessionpersist.models import Lease
from sessionpersist.upkeep import lease
from sessionpersist.upkeep.lease import SITE, Holding, LeaseLost
from tests.servers import MariaDB, Postgres, require, shared
from tests.stores.databases import added_database
from tests.stores.parallel import in_threads

ALIAS = "leases"


class ToTheLeases:
    """A router: leases are in a database of their own."""

    def db_for_read(self, model: type[Model], **hints: object) -> str | None:
        return ALIAS if model is Lease else None

    db_for_write = db_for_read


@pytest.fixture(scope="module", params=[None, Postgres, MariaDB], ids=["SQLite", "PostgreSQL", "MariaDB"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    server: type[Postgres | MariaDB] | None = request.param
    if server is None:
        return f"sqlite:///{tmp_path_factory.mktemp('leases')}/leases.sqlite3"
    require(server)
    return shared(server).create_database(f"leases_{token_hex(4)}")


@pytest.fixture(autouse=True)
def nobody_has_one(url: str, settings: Settings, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    settings.DATABASE_ROUTERS = [f"{__name__}.ToTheLeases"]
    with django_db_blocker.unblock(), added_database(ALIAS, url):
        with connections[ALIAS].schema_editor() as editor:
            editor.create_model(Lease)
        yield
        with connections[ALIAS].schema_editor() as editor:
            editor.delete_model(Lease)


def taken(scope: str = SITE) -> Holding:
    holding = lease.take(scope)
    assert holding is not None
    return holding


def pass_by(seconds: float) -> None:
    """Let time pass on the database's clock."""
    Lease.objects.update(expires_at=Now() - timedelta(seconds=seconds))


def test_one_at_a_time_has_it() -> None:
    holding = taken()
    holding.renew(moves=7, rate=12.5)
    holding.require()
    assert lease.take(SITE) is None
    row = Lease.objects.in_force().get()
    assert (row.moves, row.rate) == (7, 12.5)


def test_of_many_who_ask_at_once_one_gets_it() -> None:
    assert sum(in_threads([lambda: lease.take(SITE) is not None] * 8)) == 1


def test_another_scope_is_another_lease() -> None:
    taken()
    taken(lease.scope_of_node())


def test_it_can_be_taken_at_once_when_it_was_released() -> None:
    holding = taken()
    holding.renew(moves=7)
    holding.release()
    assert not Lease.objects.in_force().exists()
    taken()
    assert Lease.objects.get().moves == 0


def test_who_does_not_renew_it_loses_it() -> None:
    late = taken()
    pass_by(1)
    other = taken()
    with pytest.raises(LeaseLost):
        late.renew()
    late.release()  # of the other nothing is released
    other.renew()


def test_it_is_not_renewed_once_it_has_expired_even_if_nobody_has_taken_it() -> None:
    late = taken()
    pass_by(1)
    with pytest.raises(LeaseLost):
        late.renew()


def test_before_each_step_a_process_knows_by_its_own_clock_that_it_is_too_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holding = taken()
    later = monotonic() + lease.seconds() + 1
    monkeypatch.setattr("sessionpersist.upkeep.lease.monotonic", lambda: later)
    with pytest.raises(LeaseLost):
        holding.require()


def test_a_lease_of_a_clock_that_was_wrong_is_free() -> None:
    taken()
    Lease.objects.update(expires_at=Now() + timedelta(days=300))
    assert not Lease.objects.in_force().exists()
    taken()


@pytest.mark.parametrize(("timeout", "seconds"), [(2, 15), (10, 50), (100_000, 3600)])
def test_it_lasts_longer_than_a_step(settings: Settings, timeout: float, seconds: float) -> None:
    settings.SESSIONPERSIST = {"TIMEOUT_SECONDS": timeout}
    assert lease.seconds() == seconds


def test_when_a_scope_was_cleared_last() -> None:
    assert lease.cleared_ago(SITE) == float("inf")
    holding = taken()
    assert lease.cleared_ago(SITE) == float("inf")
    holding.renew(cleared_at=Now() - timedelta(seconds=90))
    assert 90 <= lease.cleared_ago(SITE) < 120
