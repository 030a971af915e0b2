"""Settings that are as small as they may be, or missing: the site works all the same."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from sessionpersist import conf
from sessionpersist.engine import SessionStore
from sessionpersist.handover import routing
from sessionpersist.models import LoginConfiguration
from tests.configuration.test_processes import wait_for

pytestmark = pytest.mark.django_db

SHORT: list[dict[str, Any]] = [
    {"REFRESH_SECONDS": 0},
    {"REFRESH_SECONDS": 0.01},
    {"REFRESH_SECONDS": 0, "ACTIVATION_SECONDS": None},
    {"REFRESH_SECONDS": 0.001, "ACTIVATION_SECONDS": None},
    {"GUARD_SECONDS": 0},
    {"TIMEOUT_SECONDS": conf.SHORTEST_TIMEOUT},
]


@pytest.mark.parametrize("short", SHORT)
def test_a_visitor_with_an_old_cookie_is_no_outage_and_all_the_rest_works(
    settings: Settings, short: dict[str, Any]
) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, **short}
    assert SessionStore("0" * 32).get("visits") is None
    session = SessionStore()
    session["visits"] = 1
    session.save()
    LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
    wait_for(lambda: routing.current_settings().type == "JDBC")
    again = SessionStore(session.session_key)
    again["visits"] += 1
    again.save()
    assert SessionStore(session.session_key)["visits"] == 2
    again.flush()
    assert SessionStore(session.session_key).get("visits") is None


def test_a_project_without_a_root_urlconf_has_sessions(settings: Settings) -> None:
    del settings.ROOT_URLCONF
    session = SessionStore()
    session["visits"] = 1
    session.save()
    assert SessionStore(session.session_key)["visits"] == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, "5", True])
def test_what_no_check_has_stopped_says_which_setting_is_wrong(settings: Settings, value: object) -> None:
    settings.SESSIONPERSIST = {"REFRESH_SECONDS": value}
    with pytest.raises(ImproperlyConfigured, match="REFRESH_SECONDS"):
        conf.refresh_seconds()
