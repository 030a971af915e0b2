"""A process says once that it has moved to another revision: a line in the log, and the signal ``store_switched``."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from pytest_django import Settings

from sessionpersist.handover import announcing, snapshot
from sessionpersist.handover.snapshot import DEFAULT, Known, compose
from sessionpersist.models import LoginConfiguration
from sessionpersist.signals import store_switched
from sessionpersist.stores.settings import MemorySettings, RedisSettings
from sessionpersist.testing import override_login_configuration
from tests.configuration import test_snapshot
from tests.configuration.test_snapshot import Clock, Database, hold_up, in_child

__all__ = ["clock", "database"]

clock, database = test_snapshot.clock, test_snapshot.database

Switches = list[dict[str, Any]]


@pytest.fixture
def switches() -> Iterator[Switches]:
    """What receivers of the signal are told."""
    found: Switches = []

    def note(signal: Any, **told: Any) -> None:
        found.append(told)

    store_switched.connect(note)
    yield found
    store_switched.disconnect(note)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return caplog.records


def switched(before: str, after: str, number: int) -> dict[str, Any]:
    return {"sender": RedisSettings, "before": before, "after": after, "number": number}


ONE, TWO, THREE = (f"REDIS at {host}:6379, database 0" for host in ("old", "new-2", "new-3"))


def test_what_a_process_finds_as_it_starts_is_no_switch(
    database: Database, switches: Switches, lines: list[logging.LogRecord]
) -> None:
    snapshot.current()
    assert (switches, lines) == ([], [])


def test_switch_is_told_once(
    database: Database, clock: Clock, switches: Switches, caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    settings.SESSIONPERSIST["NODE_NAME"] = "web-1"
    snapshot.current()
    database.switch(2, activates_at=8.0)
    for clock.now in (1.0, 6.0, 7.9):
        snapshot.current()
    assert switches == []
    for clock.now in (8.0, 8.1, 20.0):
        snapshot.current()
    assert switches == [switched(ONE, TWO, 2)]
    [line] = caplog.records
    assert line.name == "sessionpersist"
    for part in (ONE, TWO, "revision 2", "web-1", str(os.getpid())):
        assert part in line.getMessage()


def test_each_of_several_switches_is_told(database: Database, clock: Clock, switches: Switches) -> None:
    snapshot.current()
    database.switch(2, activates_at=2.0)
    for clock.now in (5.0, 6.0):
        snapshot.current()
    database.switch(3, activates_at=11.0)
    for clock.now in (10.0, 11.0, 12.0):
        snapshot.current()
    assert switches == [switched(ONE, TWO, 2), switched(TWO, THREE, 3)]


def test_switches_that_nobody_looked_at_are_told_as_one(
    database: Database, clock: Clock, switches: Switches
) -> None:
    snapshot.current()
    database.switch(2, activates_at=1.0)
    database.switch(3, activates_at=2.0)
    clock.now = 60.0
    snapshot.current()
    assert switches == [switched(ONE, THREE, 3)]


def test_it_is_told_while_the_database_is_down(database: Database, clock: Clock, switches: Switches) -> None:
    database.switch(2, activates_at=8.0)
    snapshot.current()
    database.down = True
    for clock.now in (7.0, 8.0, 9.0, 60.0):
        snapshot.current()
    assert switches == [switched(ONE, TWO, 2)]


def test_revision_that_is_gone_again_is_told(database: Database, clock: Clock, switches: Switches) -> None:
    """As after a backup of the database was restored."""
    new = database.switch(2, activates_at=-1.0)
    snapshot.current()
    database.revisions.remove(new)
    clock.now = 6.0
    snapshot.current()
    assert switches == [switched(TWO, ONE, 1)]


def test_reading_of_a_clock_that_is_a_little_behind_is_no_way_back(
    database: Database, clock: Clock, switches: Switches
) -> None:
    new = database.switch(2, activates_at=8.0)
    snapshot.current()
    clock.now = 8.0
    snapshot.current()
    database.revisions[1] = replace(new, activates_at=new.activates_at + 0.01)
    snapshot.expire()
    assert snapshot.current().pending, "as it seems now"
    clock.now = 8.1
    snapshot.current()
    assert switches == [switched(ONE, TWO, 2)]


def test_threads_that_come_at_the_same_moment_tell_it_once(
    database: Database, clock: Clock, switches: Switches
) -> None:
    database.switch(2, activates_at=8.0)
    snapshot.current()
    clock.now = 8.0
    ready = threading.Barrier(8)

    def ask() -> None:
        ready.wait(10)
        for _ in range(50):
            snapshot.current()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert switches == [switched(ONE, TWO, 2)]


def test_who_goes_on_while_another_thread_reads_does_not_tell_it_twice(
    database: Database, clock: Clock, switches: Switches
) -> None:
    database.switch(2, activates_at=8.0)
    snapshot.current()
    reading, go_on = threading.Event(), threading.Event()
    database.before_answer = partial(hold_up, reading, go_on)
    clock.now = 8.0
    reader = threading.Thread(target=snapshot.current)
    reader.start()
    assert reading.wait(10)
    assert snapshot.current().current.number == 2
    go_on.set()
    reader.join(10)
    snapshot.current()
    assert switches == [switched(ONE, TWO, 2)]


def test_receiver_that_raises_is_in_nobodys_way(
    database: Database, clock: Clock, switches: Switches, lines: list[logging.LogRecord]
) -> None:
    def careless(**told: Any) -> None:
        raise RuntimeError("no such alarm")

    snapshot.current()
    new = database.switch(2, activates_at=-1.0)
    receivers, store_switched.receivers = store_switched.receivers, []
    store_switched.connect(careless)
    store_switched.receivers += receivers  # the careless one comes first
    try:
        clock.now = 6.0
        assert snapshot.current().current == new
    finally:
        store_switched.disconnect(careless)
    assert switches == [switched(ONE, TWO, 2)]


def test_receiver_may_ask_which_store_is_in_force(database: Database, clock: Clock) -> None:
    seen = []

    def curious(**told: Any) -> None:
        seen.append(snapshot.current().current.number)

    snapshot.current()
    database.switch(2, activates_at=-1.0)
    store_switched.connect(curious)
    try:
        clock.now = 6.0
        snapshot.current()
    finally:
        store_switched.disconnect(curious)
    assert seen == [2]


def test_no_secret_is_told(
    database: Database, clock: Clock, switches: Switches, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "correct horse battery staple"
    snapshot.current()
    database.revisions.append(
        Known(2, RedisSettings(host="new", username="ada", password=secret), DEFAULT.activates_at)
    )
    clock.now = 6.0
    snapshot.current()
    assert len(switches) == len(caplog.records) == 1
    assert secret not in f"{switches} {caplog.text}"


def test_override_in_a_test_is_no_switch(database: Database, clock: Clock, switches: Switches) -> None:
    snapshot.current()
    with override_login_configuration(persistence_type="REDIS", redis_host="other"):
        snapshot.current()
    clock.now = 6.0
    snapshot.current()
    assert switches == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_has_not_moved(database: Database, clock: Clock) -> None:
    snapshot.current()
    database.switch(2, activates_at=-1.0)

    def moved() -> bool:
        found: Switches = []

        def note(**told: Any) -> None:
            found.append(told)

        store_switched.connect(note)
        number = snapshot.current().current.number
        return (number, found) == (2, [])

    assert in_child(moved)


def test_first_revision_that_is_written_is_the_store_that_was_in_force(switches: Switches) -> None:
    """Whoever saves for the first time has what was in force before written down too."""
    first = Known(1, MemorySettings(), 10.0, initial=True)
    second = Known(2, RedisSettings(host="new-2"), 20.0)
    announcing.reset()
    moves = [
        announcing.noted(compose(known, now, 0.0))
        for known, now in (([], 5.0), ([first, second], 15.0), ([first, second], 25.0))
    ]
    announcing.reset()
    assert moves == [None, None, announcing.Switch(first, second)]


@pytest.mark.django_db
def test_switch_of_a_saved_configuration_is_told(switches: Switches) -> None:
    snapshot.reset()
    snapshot.current()
    LoginConfiguration(persistence_type="REDIS", redis_host="new-2").save()
    number = snapshot.current().current.number
    assert switches == [switched("In-Memory", TWO, number)]
