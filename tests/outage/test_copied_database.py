"""A copy of the site's database in another environment, made in the midst of a handover: the old store is not there."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command
from pytest_django import Settings

from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.models import LoginConfiguration
from tests.servers.places import free_port
from tests.telemetry.reading import sentences

ABANDON = "drain_sessions --abandon"
GONE_ALIAS = {"persistence_type": "JDBC", "jdbc_database": "only-there"}

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("switches_at_once")]


@pytest.fixture(params=["REDIS", "JDBC"])
def old(request: pytest.FixtureRequest) -> str:
    """How the store is called that the copy still drains and can't reach."""
    fields: dict[str, Any] = GONE_ALIAS
    if request.param == "REDIS":
        port = free_port()
        fields = {"persistence_type": "REDIS", "redis_host": "127.0.0.1", "redis_port": port}
    LoginConfiguration(**fields).save()
    description = LoginConfiguration.get_solo().store_settings().describe()
    LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
    return description


def warnings() -> list[CheckMessage]:
    found = run_checks(databases=["default"])
    return [each for each in found if each.id == "sessionpersist.W006"]


def miss(times: int) -> None:
    for _ in range(times):
        with pytest.raises(StoreUnavailable):
            SessionStore("0" * 32).get("visits")


def test_the_log_says_once_what_to_do(old: str, caplog: pytest.LogCaptureFixture) -> None:
    miss(5)
    said = sentences(each for each in caplog.messages if ABANDON in each)
    assert len(said) == 1
    assert said[0].startswith(f"{old} is draining: ")


def test_check_names_the_store_and_says_what_to_do(old: str, settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "TIMEOUT_SECONDS": 1}
    begun = time.monotonic()
    (message,) = warnings()
    assert time.monotonic() - begun < 3
    assert message.msg.startswith(f"{old} is draining and does not answer")
    assert ABANDON in str(message.hint)


def test_after_that_nobody_is_told_anything(old: str) -> None:
    call_command(ABANDON.split()[0], "--abandon", "--no-input")
    assert warnings() == []
    assert SessionStore("0" * 32).get("visits") is None


def test_a_draining_store_that_answers_is_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
    assert warnings() == []
    assert SessionStore("0" * 32).get("visits") is None
    assert caplog.records == []


def test_the_store_in_force_that_is_lost_is_another_matter(caplog: pytest.LogCaptureFixture) -> None:
    fields = {"redis_host": "127.0.0.1", "redis_port": free_port()}
    LoginConfiguration(persistence_type="REDIS", **fields).save()
    miss(5)
    assert "is lost" in caplog.text
    assert ABANDON not in caplog.text
