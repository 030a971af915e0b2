"""What a process knows of the revisions, on a clock that the test moves."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import partial

import pytest
from django.db import OperationalError
from pytest_django import Settings

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import routing, snapshot
from sessionpersist.handover.snapshot import DEFAULT, Known, Snapshot, compose
from sessionpersist.stores.settings import RedisSettings

DATABASE_CLOCK = 1_000_000.0  # what the database's clock says when the monotonic one says 0
REFRESH = 5.0
OLD = Known(1, RedisSettings(host="old"), DATABASE_CLOCK - 100)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Database:
    """The revisions as the database has them; counts how often it is asked, and can be down."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.revisions = [OLD]
        self.reads = 0
        self.down = False
        self.before_answer: Callable[[], None] = lambda: None

    def read(self) -> Snapshot:
        self.reads += 1
        self.before_answer()
        if self.down:
            raise OperationalError("the database is down")
        return compose(self.revisions, self.clock(), DATABASE_CLOCK)

    def switch(self, number: int, activates_at: float) -> Known:
        """Append a revision that activates at that monotonic time."""
        revision = Known(number, RedisSettings(host=f"new-{number}"), DATABASE_CLOCK + activates_at)
        self.revisions.append(revision)
        return revision


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(snapshot, "monotonic", clock)
    return clock


@pytest.fixture
def database(clock: Clock, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Database:
    settings.SESSIONPERSIST = {"REFRESH_SECONDS": REFRESH}
    database = Database(clock)
    monkeypatch.setattr(snapshot, "_read", database.read)
    return database


def hold_up(reading: threading.Event, go_on: threading.Event) -> None:
    """Tell that a reader is at the database, and keep it there until it may go on."""
    reading.set()
    go_on.wait(10)


def in_force() -> Known:
    return snapshot.current().current


class TestRefresh:
    def test_database_is_asked_once_within_the_deadline(self, database: Database, clock: Clock) -> None:
        for clock.now in (0.0, 1.0, 4.9):
            assert in_force() == OLD
        assert database.reads == 1

    def test_database_is_asked_again_at_the_deadline(self, database: Database, clock: Clock) -> None:
        snapshot.current()
        new = database.switch(2, activates_at=-1)
        clock.now = 4.9
        assert in_force() == OLD
        clock.now = 5.0
        assert in_force() == new
        assert database.reads == 2

    def test_expired_knowledge_is_read_anew(self, database: Database) -> None:
        snapshot.current()
        new = database.switch(2, activates_at=-1)
        snapshot.expire()
        assert in_force() == new

    def test_expired_knowledge_is_kept_where_the_database_is_down(self, database: Database) -> None:
        snapshot.current()
        database.down = True
        snapshot.expire()
        assert in_force() == OLD

    def test_forgotten_knowledge_is_gone(self, database: Database) -> None:
        snapshot.current()
        database.down = True
        snapshot.reset()
        with pytest.raises(StoreUnavailable):
            snapshot.current()

    def test_refresh_of_zero_seconds_asks_each_time(self, database: Database, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"REFRESH_SECONDS": 0}
        for _ in range(3):
            snapshot.current()
        assert database.reads == 3


class TestActivation:
    def test_pending_revision_is_in_force_from_its_moment_on(self, database: Database, clock: Clock) -> None:
        new = database.switch(2, activates_at=3.0)
        assert (in_force(), snapshot.current().pending) == (OLD, (new,))
        clock.now = 2.999
        assert in_force() == OLD
        assert database.reads == 1
        clock.now = 3.0
        assert (in_force(), snapshot.current().pending) == (new, ())

    def test_of_two_that_are_due_the_newer_is_in_force(self, database: Database, clock: Clock) -> None:
        database.switch(2, activates_at=1.0)
        newer = database.switch(3, activates_at=2.0)
        snapshot.current()
        database.down = True
        clock.now = 2.5
        assert (in_force(), snapshot.current().pending) == (newer, ())

    def test_newer_one_that_was_due_earlier_is_not_replaced_by_the_older(
        self, database: Database, clock: Clock
    ) -> None:
        database.switch(2, activates_at=4.0)
        newer = database.switch(3, activates_at=1.0)
        snapshot.current()
        database.down = True
        for clock.now in (1.0, 4.5, 100.0):
            assert in_force() == newer

    def test_one_at_a_time_as_each_is_due(self, database: Database, clock: Clock) -> None:
        second, third = database.switch(2, activates_at=1.0), database.switch(3, activates_at=2.0)
        seen = []
        for clock.now in (0.0, 1.0, 2.0):
            seen.append(in_force())
        assert seen == [OLD, second, third]

    def test_pending_revision_activates_on_time_while_the_database_is_down(
        self, database: Database, clock: Clock
    ) -> None:
        new = database.switch(2, activates_at=8.0)
        snapshot.current()
        database.down = True
        clock.now = 7.99
        assert in_force() == OLD
        clock.now = 8.0
        assert in_force() == new

    @pytest.mark.parametrize(
        ("now", "read_at"),
        [(1795794778.165973, 2615988.885562539), (1795431322.513265, 4299226.480343938), (2.0, 1.0)],
    )
    def test_revision_of_this_very_instant_is_in_force(self, now: float, read_at: float) -> None:
        """As floats, read_at + (now - read_at) is sometimes less than now: so with the first two."""
        known = compose([Known(1, RedisSettings(host="new"), now)], read_at, now - read_at)
        assert (known.current.number, known.pending) == (1, ())

    def test_nothing_chosen_yet_is_in_memory(self) -> None:
        assert compose([], 0.0, 0.0).current == DEFAULT
        assert DEFAULT.settings.type == "IN_MEMORY"


class TestDraining:
    def test_a_store_drains_for_the_longest_life_after_the_switch_to_the_next(
        self, clock: Clock, settings: Settings
    ) -> None:
        life = settings.SESSION_COOKIE_AGE
        begun = Known(1, RedisSettings(host="old"), DATABASE_CLOCK - 3 * life)
        for left_ago, drains in ((life - 1, True), (life + 1, False)):
            now = Known(2, RedisSettings(host="new"), DATABASE_CLOCK - left_ago)
            assert (begun in compose([begun, now], 0.0, DATABASE_CLOCK).draining) is drains

    def test_a_store_drains_for_as_long_as_a_policy_had_its_sessions_live(
        self, clock: Clock, settings: Settings
    ) -> None:
        life = 3.0 * settings.SESSION_COOKIE_AGE
        begun = Known(1, RedisSettings(host="old"), DATABASE_CLOCK - 9 * life, policy_life=life)
        for left_ago, drains in ((life - 1, True), (life + 1, False)):
            known = compose(
                [begun, Known(2, RedisSettings(host="new"), DATABASE_CLOCK - left_ago)], 0.0, DATABASE_CLOCK
            )
            assert (begun in known.draining) is drains
            assert known.longest_life == (life if drains else settings.SESSION_COOKIE_AGE)


class TestUndecided:
    @pytest.mark.parametrize(
        ("now", "seconds"), [(9.4, 0.0), (9.6, 0.9), (10.0, 0.5), (10.4, 0.1), (10.6, 0.0), (50.0, 0.0)]
    )
    def test_processes_may_differ_for_the_guard_time_before_a_switch_and_after_it(
        self, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch, now: float, seconds: float
    ) -> None:
        monkeypatch.setattr(routing, "monotonic", clock)
        database.switch(2, activates_at=10.0)
        clock.now = now
        known = compose(database.revisions, now, DATABASE_CLOCK)
        assert known.undecided() == pytest.approx(seconds)
        assert routing.CurrentView(known).undecided() == pytest.approx(seconds)

    def test_a_view_that_was_made_before_the_guard_time_notices_it(
        self, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(routing, "monotonic", clock)
        database.switch(2, activates_at=10.0)
        view = routing.CurrentView(compose(database.revisions, clock(), DATABASE_CLOCK))
        waits = [view.undecided() for clock.now in (9.4, 9.6)]
        assert waits == [0.0, pytest.approx(0.9)]


class TestOutage:
    def test_it_is_stale_once_it_is_older_than_twice_the_refresh(
        self, database: Database, clock: Clock
    ) -> None:
        known = snapshot.current()
        clock.now = 1.9 * REFRESH
        assert not known.stale
        clock.now = 2.1 * REFRESH
        assert known.stale

    def test_who_goes_on_while_another_thread_reads_switches_on_time(
        self, database: Database, clock: Clock
    ) -> None:
        new = database.switch(2, activates_at=4.0)
        snapshot.current()
        clock.now = 4.1
        with snapshot._lock:  # somebody is reading
            assert in_force() == new

    def test_a_short_refresh_is_tried_again_as_soon(
        self, database: Database, clock: Clock, settings: Settings
    ) -> None:
        settings.SESSIONPERSIST = {"REFRESH_SECONDS": 0.2}
        snapshot.current()
        database.down = True
        for clock.now in (0.2, 0.3, 0.41):
            snapshot.current()
        assert database.reads == 1 + 2

    @pytest.mark.parametrize("refresh", [0, 0.01])
    def test_what_was_just_read_is_not_stale_however_short_the_refresh(
        self, database: Database, clock: Clock, settings: Settings, refresh: float
    ) -> None:
        settings.SESSIONPERSIST = {"REFRESH_SECONDS": refresh}

        def slowly() -> None:
            clock.now += 0.5

        database.before_answer = slowly
        known = snapshot.current()
        clock.now += 0.5
        assert not known.stale

    @pytest.mark.parametrize("refresh", [0, 0.01])
    def test_what_could_not_be_read_again_is_stale_at_once_where_the_refresh_is_that_short(
        self, database: Database, clock: Clock, settings: Settings, refresh: float
    ) -> None:
        settings.SESSIONPERSIST = {"REFRESH_SECONDS": refresh}
        snapshot.current()
        database.down = True
        clock.now = 0.05
        assert snapshot.current().stale
        clock.now = 0.1
        snapshot.current()
        assert database.reads == 1 + 1, "a database that hangs would hold up each request"

    def test_last_good_knowledge_stays_for_as_long_as_the_database_is_down(
        self, database: Database, clock: Clock
    ) -> None:
        snapshot.current()
        database.down = True
        for clock.now in (5.0, 60.0, 3600.0, 1e6):
            assert in_force() == OLD

    def test_database_that_is_down_is_asked_once_a_second(self, database: Database, clock: Clock) -> None:
        snapshot.current()
        database.down = True
        for clock.now in (5.0, 5.5, 5.9, 6.0, 6.5, 7.0):
            snapshot.current()
        assert database.reads == 1 + 3

    def test_database_that_is_back_is_noticed_within_a_second(self, database: Database, clock: Clock) -> None:
        snapshot.current()
        database.down = True
        clock.now = 5.0
        snapshot.current()
        database.down = False
        new = database.switch(2, activates_at=-1)
        clock.now = 6.0
        assert in_force() == new

    def test_configuration_that_was_never_read_is_an_outage_and_not_in_memory(
        self, database: Database
    ) -> None:
        database.down = True
        with pytest.raises(StoreUnavailable) as caught:
            snapshot.current()
        assert isinstance(caught.value.__cause__, OperationalError)
        database.down = False
        assert in_force() == OLD

    def test_log_has_one_line_when_it_is_lost_and_one_when_it_is_back(
        self, database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        snapshot.current()
        database.down = True
        for clock.now in (5.0, 6.0, 7.0):
            snapshot.current()
        database.down = False
        for clock.now in (8.0, 13.0):
            snapshot.current()
        assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


class TestThreads:
    def test_others_go_on_while_one_reads(self, database: Database, clock: Clock) -> None:
        snapshot.current()
        reading, go_on = threading.Event(), threading.Event()
        database.before_answer = partial(hold_up, reading, go_on)
        new = database.switch(2, activates_at=-1)
        clock.now = 6.0
        found: list[Known] = []
        reader = threading.Thread(target=lambda: found.append(in_force()))
        reader.start()
        assert reading.wait(10)
        assert in_force() == OLD  # at once: nobody has let the reader go on
        go_on.set()
        reader.join(10)
        assert found == [new]
        assert database.reads == 2

    def test_knowledge_that_is_too_old_is_waited_for(self, database: Database, clock: Clock) -> None:
        snapshot.current()
        reading, go_on = threading.Event(), threading.Event()
        database.before_answer = partial(hold_up, reading, go_on)
        new = database.switch(2, activates_at=-1)
        clock.now = 2 * REFRESH
        found: list[Known] = []
        readers = [threading.Thread(target=lambda: found.append(in_force())) for _ in range(3)]
        for reader in readers:
            reader.start()
        assert reading.wait(10)
        assert found == []
        go_on.set()
        for reader in readers:
            reader.join(10)
        assert found == [new] * 3
        assert database.reads == 2

    @pytest.mark.parametrize("known", [True, False])
    def test_request_that_begins_waits_for_no_reader(
        self, database: Database, clock: Clock, known: bool
    ) -> None:
        """However old what is known is: whoever asks for a session waits, and this page may need none."""
        if known:
            snapshot.current()
        reading, go_on = threading.Event(), threading.Event()
        database.before_answer = partial(hold_up, reading, go_on)
        clock.now = 2 * REFRESH
        reader, beginning = (
            threading.Thread(target=snapshot.current),
            threading.Thread(target=snapshot.refresh),
        )
        reader.start()
        assert reading.wait(10)
        beginning.start()
        beginning.join(2)
        waits = beginning.is_alive()
        go_on.set()
        for each in (reader, beginning):
            each.join(10)
        assert not waits

    def test_first_requests_of_a_process_read_once(self, database: Database) -> None:
        ready = threading.Barrier(6)
        found: list[Known] = []

        def ask() -> None:
            ready.wait()
            found.append(in_force())

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert found == [OLD] * 6
        assert database.reads == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
class TestFork:
    def test_child_reads_for_itself(self, database: Database) -> None:
        snapshot.current()
        new = database.switch(2, activates_at=-1)
        assert in_force() == OLD
        assert in_child(lambda: in_force() == new)

    def test_child_forked_while_a_thread_was_reading_does_not_wait_for_it(
        self, database: Database, clock: Clock
    ) -> None:
        snapshot.current()
        reading, go_on = threading.Event(), threading.Event()
        database.before_answer = partial(hold_up, reading, go_on)
        clock.now = 2 * REFRESH
        reader = threading.Thread(target=snapshot.current)
        reader.start()
        assert reading.wait(10)
        database.before_answer = lambda: None
        try:
            assert in_child(lambda: in_force() == OLD)
        finally:
            go_on.set()
            reader.join(10)


def in_child(check: Callable[[], bool]) -> bool:
    """Return what a check says in a forked child; False where it hangs."""
    child = os.fork()
    if child == 0:
        threading.Timer(5.0, os._exit, (2,)).start()
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
