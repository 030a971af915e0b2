"""Times as the pages say them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.template import Context, Template
from pytest_django import Settings

from sessionpersist.configuration.panels.words import ago, exactly, until

DAY = 86_400


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.9, "0 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (DAY - 1, "23 h ago"),
        (DAY, "1 day ago"),
        (3 * DAY, "3 days ago"),
        (400 * DAY, "400 days ago"),
    ],
)
def test_how_long_ago_is_said_in_the_largest_unit(seconds: float, words: str) -> None:
    assert ago(seconds) == words


def test_of_what_was_very_long_ago_the_date_is_said() -> None:
    at = datetime(2026, 1, 5, 12, tzinfo=UTC)
    assert ago(59 * DAY, at) == "59 days ago"
    assert ago(60 * DAY, at) == "Jan. 5, 2026"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "in 0 s"), (8.1, "in 9 s"), (60, "in 1 min"), (61, "in 2 min"), (3600, "in 1 h")],
)
def test_what_is_to_come_is_not_said_to_come_sooner(seconds: float, words: str) -> None:
    assert until(seconds) == words


@pytest.mark.parametrize("use_tz", [True, False])
def test_the_exact_time_is_local_and_names_its_zone(use_tz: bool, settings: Settings) -> None:
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "Europe/Berlin"
    noon = datetime(2026, 7, 5, 12, tzinfo=UTC)
    assert exactly(noon) == "July 5, 2026, 14:00:00 CEST"
    assert exactly(datetime(2026, 1, 5, 12)) == "Jan. 5, 2026, 12:00:00 CET", "a naive time is local"  # noqa: DTZ001


def shown(at: datetime | None) -> str:
    template = Template("{% load sessionpersist_times %}{% moment at as when %}{{ when }}")
    return template.render(Context({"at": at}))


def test_the_tag_shows_the_words_and_the_exact_time_on_hover() -> None:
    now = datetime.now(UTC)
    pattern = r'<time class="sp-moment" datetime="[-\dT:]+\+00:00" title="[^"]+ UTC">{}</time>'
    assert re.fullmatch(pattern.format("5 min ago"), shown(now - timedelta(minutes=5)))
    assert re.fullmatch(pattern.format("in 5 min"), shown(now + timedelta(minutes=4, seconds=30)))


def test_the_tag_shows_nothing_where_there_is_no_time() -> None:
    assert shown(None) == ""
