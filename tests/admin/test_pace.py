"""What the handover panel says of what moves by itself, and its buttons."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from functools import partialmethod
from pathlib import Path

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models.functions import Now
from django.test import Client
from pytest_django import Settings

from sessionpersist.configuration.panels.handover import Moving, read_handover
from sessionpersist.configuration.panels.pace import Pace
from sessionpersist.handover import snapshot
from sessionpersist.handover.draining import Draining, Left
from sessionpersist.models import Lease, Revision
from sessionpersist.upkeep import mover
from sessionpersist.upkeep.progress import Moving as AtWork
from sessionpersist.upkeep.progress import Progress
from tests.admin.support import create_staff, start_over
from tests.admin.test_page import text_of
from tests.admin.test_panels import JDBC, PROGRESS, choose, fill, leave_memory, url
from tests.load.stores import fields_on
from tests.servers import Valkey

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def settings_of_a_site(db: None, settings: Settings, tmp_path: Path) -> Iterator[None]:
    settings.SESSIONPERSIST = {
        "MEMORY_DIR": str(tmp_path),
        "KEY_PREFIX": tmp_path.name,
        "ACTIVATION_SECONDS": 0,
        "GUARD_SECONDS": 0,
        "DRAIN_RATE": 500,
    }
    start_over()
    snapshot.reset()
    yield
    snapshot.reset()


@pytest.fixture
def number(browser: Client) -> int:
    """The revision whose sessions are moving: some are left in JDBC."""
    number = choose(**JDBC)
    leave_memory()
    snapshot.expire()
    fill(30)
    choose(**fields_on(Valkey))
    snapshot.expire()
    return number


def at_work(number: int, node: str, rate: float) -> None:
    Lease.objects.create(
        scope=f"node {node}",
        node=node,
        process=7,
        moves=number,
        rate=rate,
        expires_at=Now() + timedelta(seconds=9),
    )


def moving() -> Moving:
    [found] = read_handover(count=True).moving
    return found


def pace() -> Pace:
    found = moving().pace
    assert found is not None
    return found


def test_before_anybody_moves_it_says_what_will_happen(number: int) -> None:
    assert pace().what_happens == (
        "The site moves the rest by itself, at most 500 a second. It begins within seconds."
    )
    assert pace().brief == ""


def test_it_says_how_fast_how_long_and_who(number: int) -> None:
    at_work(number, "web-1", rate=2.0)
    assert pace().what_happens == (
        "The site moves the rest by itself: 2 a second, about 15 s left. It is done by process 7 on web-1."
    )
    assert read_handover(count=True).pace == "2 a second, about 15 s left"


def test_several_nodes_move_their_own(number: int) -> None:
    at_work(number, "web-1", rate=1.0)
    at_work(number, "web-2", rate=0.5)
    assert pace().what_happens == (
        "The site moves the rest by itself: 2 a second, about 20 s left. "
        "It is done by process 7 on web-1, process 7 on web-2, each for its node."
    )


def test_a_lease_that_has_expired_is_nobody_at_work(number: int) -> None:
    at_work(number, "web-1", rate=2.0)
    Lease.objects.update(expires_at=Now() - timedelta(seconds=1))
    assert pace().progress.movers == []


@pytest.mark.parametrize(
    ("left", "rate", "said"),
    [
        (Left(89, False, 89), 1, "about 89 s left"),
        (Left(1000, False, 1000), 5, "about 4 min left"),
        (Left(50_000, True, 50_000), 500, "at least 2 min left"),
        (Left(50_000, False, 50_000), 2, "about 7 h left"),
        (Left(5, False, 5), 0, ""),
        (Left(0, False, 5), 5, ""),
        (None, 5, ""),
    ],
)
def test_time_left(left: Left | None, rate: float, said: str) -> None:
    assert Pace(Progress(1, 500, False, [AtWork("web-1", 7, rate)]), left).time_left == said


def test_pause_go_on_and_faster(browser: Client, number: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sessionpersist.audit"):
        for button, rate, said in (
            ("pause", 0, "Paused: sessions move only as their users come back, or by hand."),
            ("resume", 500, "The site moves the rest by itself, at most 500 a second."),
            ("faster", 1000, "at most 1,000 a second"),
            ("faster", 2000, "at most 2,000 a second"),
            ("resume", 500, "at most 500 a second"),
        ):
            answer = browser.post(url("pace", number), {"pace": button})
            assert answer.status_code == 302
            assert mover.rate_of(number) == rate
            assert said in text_of(browser.get(PROGRESS))
    logged = [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]
    store = Revision.objects.get(pk=number).store_settings().describe()
    assert logged[0] == f"Paused the handover from {store}."
    assert len(logged) == 5
    assert caplog.text.count("by ada") == 5
    assert "handover paused: by ada" in caplog.text


def test_the_buttons_are_those_that_mean_something(browser: Client, number: int) -> None:
    def buttons() -> list[str]:
        text = browser.get(PROGRESS).content.decode()
        return [each for each in ("pause", "resume", "faster") if f'value="{each}"' in text]

    assert buttons() == ["pause", "faster"]
    mover.paused(number)
    assert buttons() == ["resume"]
    mover._choose(number, mover.FASTEST)
    assert buttons() == ["pause"]


def test_by_hand_only_says_so_and_has_no_buttons(browser: Client, number: int, settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "DRAIN_RATE": 0}
    text = browser.get(PROGRESS).content.decode()
    assert "DRAIN_RATE is 0 here" in text
    assert 'name="pace"' not in text


def test_nobody_without_the_permission_changes_the_pace(number: int) -> None:
    reader = Client()
    reader.force_login(create_staff("eve", "view_loginconfiguration"))
    assert reader.post(url("pace", number), {"pace": "pause"}).status_code == 403
    assert 'name="pace"' not in reader.get(PROGRESS).content.decode()
    assert mover.rate_of(number) == 500


def test_nor_by_get_nor_without_the_token_nor_to_anything_else(
    browser: Client, staff: object, number: int
) -> None:
    browser.get(url("pace", number), {"pace": "pause"})
    assert browser.post(url("pace", number), {"pace": "stop"}).status_code == 400
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(staff)  # type: ignore[arg-type]
    assert strict.post(url("pace", number), {"pace": "pause"}).status_code == 403
    assert mover.rate_of(number) == 500


def test_a_handover_that_is_over_has_no_pace(browser: Client, number: int) -> None:
    Revision.objects.drained(number, "drained")
    answer = browser.post(url("pace", number), {"pace": "pause"}, follow=True)
    assert "over already" in text_of(answer)
    assert Revision.objects.get(pk=number).drain_rate is None


def test_nor_has_the_store_in_force(browser: Client, number: int) -> None:
    newest = Revision.objects.latest("pk").pk
    answer = browser.post(url("pace", newest), {"pace": "pause"}, follow=True)
    assert "over already" in text_of(answer)
    assert Revision.objects.get(pk=newest).drain_rate is None


def test_by_hand_only_no_rate_is_noted(browser: Client, number: int, settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "DRAIN_RATE": 0}
    browser.post(url("pace", number), {"pace": "faster"})
    assert Revision.objects.get(pk=number).drain_rate is None
    assert not LogEntry.objects.filter(change_message__contains="Sped up").exists()


def test_the_facts_that_a_step_brings_have_the_buttons_too(
    browser: Client, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessionpersist.configuration.views.draining.STEP_SECONDS", 0)
    monkeypatch.setattr(Draining, "batches", partialmethod(Draining.batches, 10))
    answer = browser.post(url("drain", number), headers={"accept": "application/json"}).json()
    assert 'value="pause"' in answer["facts"]
    assert "csrfmiddlewaretoken" in answer["facts"]
