"""Every time on the page is the local one, whatever USE_TZ, TIME_ZONE and the database are."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pytest_django import Settings

from sessionpersist.handover import times
from tests.load.site import Site
from tests.servers import Postgres, require, shared

ZONE = "Asia/Kolkata"  # half an hour past the hours of UTC, and far from it
DATE = re.compile(r"(\w+\.? \d+, \d{4}), (noon|midnight|\d+(?::\d+)? [ap]\.m\.)")
ON_HOVER = re.compile(r'title="(\w+)\.? (\d+, \d{4}, \d\d:\d\d:\d\d) IST"')


def read_by_staff(folder: Path, url: str, *, use_tz: bool) -> dict[str, str]:
    site = Site(folder, {"default": url}, REFRESH_SECONDS=0.1, ACTIVATION_SECONDS=2)
    site.environment |= {
        "DJANGO_SETTINGS_MODULE": "tests.admin.zoned_settings",
        "TIME_ZONE": ZONE,
        "USE_TZ": "true" if use_tz else "false",
    }
    done = site.python("-m", "tests.admin.zoned", seconds=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def dates_in(page: str) -> list[datetime]:
    """Every date with a time of day, as Django writes them in English, and those that are shown on hover."""
    found = []
    for day, clock in DATE.findall(page):
        clock = {"noon": "12:00 p.m.", "midnight": "12:00 a.m."}.get(clock, clock).replace(".", "").upper()
        clock = clock if ":" in clock else clock.replace(" ", ":00 ")
        month = day[:3]
        written = f"{month} {day.partition(' ')[2]} {clock} +0000"
        found.append(datetime.strptime(written, "%b %d, %Y %I:%M %p %z").replace(tzinfo=None))
    for month, written in ON_HOVER.findall(page):
        found.append(
            datetime.strptime(f"{month[:3]} {written} +0000", "%b %d, %Y, %H:%M:%S %z").replace(tzinfo=None)
        )
    return found


@pytest.mark.parametrize(
    ("server", "use_tz"),
    [
        pytest.param("SQLite", False, id="SQLite-no USE_TZ"),
        pytest.param("SQLite", True, id="SQLite-USE_TZ", marks=pytest.mark.long),
        pytest.param("PostgreSQL", True, id="PostgreSQL-USE_TZ"),
        pytest.param("PostgreSQL", False, id="PostgreSQL-no USE_TZ", marks=pytest.mark.long),
    ],
)
def test_every_time_on_the_page_is_the_local_one(server: str, use_tz: bool, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/site.sqlite3"
    if server == "PostgreSQL":
        require(Postgres)
        url = shared(Postgres).create_database(f"times_{tmp_path.name}".lower())
    read = read_by_staff(tmp_path, url, use_tz=use_tz)
    now = datetime.fromisoformat(read["now"]).replace(tzinfo=None)
    assert abs(now - datetime.now(ZoneInfo(ZONE)).replace(tzinfo=None)) < timedelta(minutes=2)
    # The switch to come, overtaken by, since, over, and the lines of the history.
    for page, least in {"saved": 2, "overtaken": 2, "moving": 2, "over": 3}.items():
        dates = dates_in(read[page])
        assert len(dates) >= least, (page, read[page])
        assert all(abs(each - now) < timedelta(minutes=2) for each in dates), (page, dates, now)


@pytest.mark.parametrize("use_tz", [True, False])
def test_a_time_of_the_database_is_the_same_in_summer_and_in_winter(use_tz: bool, settings: Settings) -> None:
    """SQLite's clock is UTC, and how far the local time is from that depends on the day."""
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "Europe/Berlin"
    for month, hour in ((1, 13), (7, 14)):
        noted = datetime(2026, month, 5, 12, tzinfo=UTC if use_tz else None)
        assert times.instant(noted) == datetime(2026, month, 5, 12, tzinfo=UTC)
        assert times.noted(noted).strftime("%m-%d %H:%M") == f"0{month}-05 {hour}:00"
