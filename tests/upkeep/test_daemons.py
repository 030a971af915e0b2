"""Which processes do the upkeep, and what one does at a time."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.db.models.functions import Now
from django.test.client import AsyncClientHandler, ClientHandler
from pytest_django import Settings

from sessionpersist import stores
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import draining, routing, snapshot
from sessionpersist.handover.draining import BATCH
from sessionpersist.handover.snapshot import Known, Snapshot
from sessionpersist.models import Lease, LoginConfiguration, Revision, StoredSession
from sessionpersist.stores import breaker
from sessionpersist.stores.base import PLACE, new_version, now_ms
from sessionpersist.stores.breaker import FAULTS
from sessionpersist.stores.guarded import GuardedStore, Parted, PartedStore, behind_breakers
from sessionpersist.stores.redis.store import RedisStore
from sessionpersist.stores.settings import MemorySettings
from sessionpersist.telemetry import gauges
from sessionpersist.testing import do_upkeep
from sessionpersist.upkeep import clearing, daemons, lease, mover, progress, trials
from sessionpersist.upkeep.daemons import Upkeep
from sessionpersist.upkeep.lease import SITE
from tests.load.site import Site
from tests.load.stores import fields_on
from tests.outage.flaky import FlakyStore
from tests.servers import Valkey
from tests.upkeep.moved import some

THREADS = {"sessionpersist-upkeep-site", "sessionpersist-upkeep-node"}
SERVE = """
import django, io, json, os, threading
django.setup()
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client
from django.test.client import RequestFactory

def running():
    return sorted(each.name for each in threading.enumerate() if each.name.startswith("sessionpersist-upkeep"))

def serve():
    environ = {**RequestFactory()._base_environ(PATH_INFO="/static-page/"), "wsgi.input": io.BytesIO()}
    response = WSGIHandler()(environ, lambda *head: None)
    response.close()
    return running()

def forked(look):
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, json.dumps(look()).encode())
        os._exit(0)
    os.close(write)
    return json.loads(os.fdopen(read).read())

client = Client()
found = {"test client": (client.get("/static-page/").status_code, running())}
found["before"] = forked(serve)
found["served"], found["twice"] = serve(), serve()
found["child"], found["child that serves"] = forked(running), forked(serve)
print(json.dumps(found))
"""


def choose_a_store_that_is_down() -> None:
    """Nothing listens there."""
    configuration = LoginConfiguration.get_solo()
    configuration.persistence_type = "REDIS"
    configuration.redis_host, configuration.redis_port = "127.0.0.1", 1
    configuration.save()


def served(site: Site) -> dict[str, Any]:
    done = site.python("-c", SERVE)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_process_begins_when_it_serves_and_so_does_its_child(tmp_path: Path) -> None:
    site = Site(tmp_path, DRAIN_RATE=100)
    site.migrate()
    found = served(site)
    assert found.pop("test client") == [200, []]
    assert found.pop("child") == []
    assert {name: set(each) for name, each in found.items()} == dict.fromkeys(found, THREADS)
    assert {len(each) for each in found.values()} == {2}


ASK = """
import django, json, threading
django.setup()
from sessionpersist.engine import SessionStore

def running():
    SessionStore().save()
    return sorted(each.name for each in threading.enumerate() if each.name.startswith("sessionpersist-upkeep"))

found = {"without an application": running()}
import django.core.asgi
found["under ASGI"] = running()
print(json.dumps(found))
"""


def test_sessions_outside_requests_begin_it_in_a_process_of_an_asgi_server_only(tmp_path: Path) -> None:
    """Those of websockets: Django sends no signal for them."""
    site = Site(tmp_path, CLEAR_SECONDS=3600)
    site.migrate()
    done = site.python("-c", ASK)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["without an application"] == []
    assert set(found["under ASGI"]) == THREADS


def test_none_begins_where_both_are_turned_off(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.migrate()
    found = served(site)
    assert found.pop("test client") == [200, []]
    assert [each for each in found.values() if each] == []


@pytest.mark.parametrize("quiet", [True, False])
def test_a_test_has_it_only_where_it_has_asked_for_it_as_it_is_on_a_site(
    settings: Settings, quiet: bool
) -> None:
    settings.SESSIONPERSIST = {"QUIET_TESTS": quiet}
    assert [daemons.serves(each) for each in (WSGIHandler, ASGIHandler)] == [not quiet] * 2
    assert not daemons.serves(ClientHandler)
    assert not daemons.serves(AsyncClientHandler)
    assert not daemons.serves(None)


def test_a_request_goes_on_where_the_system_allows_no_more_threads(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SESSIONPERSIST = {"DRAIN_RATE": 1}
    daemons.reset()

    def refused(self: Upkeep) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Upkeep, "start", refused)
    try:
        daemons.begin(WSGIHandler)
        daemons.end()
    finally:
        daemons.reset()
    assert caplog.text.count("can't start new thread") == 2


def test_after_an_end_a_request_begins_it_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SESSIONPERSIST = {"DRAIN_RATE": 1, "QUIET_TESTS": False}
    daemons.reset()
    begun: list[Upkeep] = []
    monkeypatch.setattr(Upkeep, "start", lambda self: begun.append(self))
    monkeypatch.setattr(Upkeep, "join", lambda self, timeout: None)
    try:
        for _ in range(2):
            daemons.begin(WSGIHandler)
            daemons.begin(WSGIHandler)
            daemons.end()
    finally:
        daemons.reset()
    assert len(begun) == 4


def test_a_thread_outlives_a_turn_that_raises_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    upkeep, pauses = Upkeep(SITE), []

    def broken() -> float:
        raise RuntimeError("nobody has foreseen this")

    def wait(pause: float) -> bool:
        pauses.append(pause)
        return len(pauses) > 3

    monkeypatch.setattr(upkeep, "turn", broken)
    monkeypatch.setattr(upkeep.ending, "wait", wait)
    upkeep.run()
    assert pauses[1:] == [daemons.LONGEST_PAUSE] * 3
    assert caplog.text.count("has to wait: RuntimeError") == 1


@pytest.mark.parametrize("moving", [True, False])
def test_a_process_without_requests_reads_the_configuration_less_often_where_nothing_moves(
    monkeypatch: pytest.MonkeyPatch, moving: bool
) -> None:
    known = Known(1, MemorySettings(), 0.0)
    held = Snapshot(known, (), 100.0, 0.0, 105.0, draining=(known,) if moving else ())
    clock, reads = [100.0], []
    monkeypatch.setattr(daemons, "monotonic", lambda: clock[0])
    monkeypatch.setattr(snapshot, "held", lambda: held)

    def read() -> Snapshot:
        reads.append(clock[0])
        return held

    monkeypatch.setattr(snapshot, "current", read)
    for clock[0] in range(100, 200):
        daemons.up_to_date()
    assert reads[0] == 100 + (daemons.REREAD_SECONDS if moving else daemons.IDLE_SECONDS)


class OnTwoServers(FlakyStore, Parted):
    """A store whose records lie on two servers, by the last digit of their keys."""

    def part_of(self, key: str) -> str:
        return "even" if int(key[-1], 16) % 2 == 0 else "odd"


class TestAStoreThatIsBack:
    """A process without requests notices: its metrics would say for ever that it is not."""

    @pytest.fixture
    def store(
        self, at_work: None, settings: Settings, tmp_path: Path, request: pytest.FixtureRequest
    ) -> GuardedStore | PartedStore:
        """The store in force, which does not answer. Nothing moves there."""
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "DRAIN_RATE": 0}
        inner: FlakyStore = request.param(tmp_path)
        store = stores._open[stores._fingerprint(MemorySettings())] = behind_breakers(inner, "The store")
        inner.down = True
        for number in range(16 * FAULTS):
            with pytest.raises(StoreUnavailable):
                store.get(f"{number % 16:064x}")
        return store

    @pytest.mark.parametrize("store", [FlakyStore, OnTwoServers], indirect=True)
    def test_its_breakers_close(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(trials, "TRIES", 40)  # else both servers may not have been asked
        Upkeep(SITE).turn()
        assert sum(gauges.open_breakers().values()) > 0
        store.store.down = False
        sleep(breaker.PAUSE + 0.05)
        Upkeep(SITE).turn()
        assert sum(gauges.open_breakers().values()) == 0


SESSIONS = 200


@pytest.fixture
def at_work(settings: Settings, tmp_path: Path, transactional_db: None) -> Iterator[None]:
    """A site that has moved from JDBC to In-Memory, with all of its sessions still in JDBC."""
    settings.SESSIONPERSIST = {
        "MEMORY_DIR": str(tmp_path),
        "ACTIVATION_SECONDS": 0,
        "KEY_PREFIX": tmp_path.name,
        "GUARD_SECONDS": 0,
        "DRAIN_RATE": 5000,
        "CLEAR_SECONDS": 0,
    }
    for model in (Lease, Revision, LoginConfiguration, StoredSession):
        model._default_manager.all().delete()
    snapshot.reset()
    configuration = LoginConfiguration.get_solo()
    configuration.persistence_type, configuration.jdbc_database = "JDBC", "default"
    configuration.save()
    routing.current_view().current.store.create_many(some(SESSIONS, Revision.objects.latest("pk").pk))
    configuration.persistence_type = "IN_MEMORY"
    configuration.save()
    yield
    for model in (Lease, Revision, LoginConfiguration, StoredSession):
        model._default_manager.all().delete()
    snapshot.reset()


def left() -> int:
    return StoredSession.objects.exclude(stored_key=PLACE).count()


def source() -> int:
    """The number of the revision that is draining."""
    return int(Revision.objects.get(persistence_type="JDBC").pk)


@pytest.mark.usefixtures("at_work")
class TestATurn:
    def test_it_moves_what_is_left_and_lets_go_of_the_lease(self) -> None:
        assert Upkeep(SITE).turn() == daemons.LOOK_SECONDS
        assert left() == 0
        assert Revision.objects.get(drained_how="drained").most_left == SESSIONS, "what the bar begins with"
        assert not Lease.objects.in_force().exists()

    def test_so_does_the_helper_for_tests_of_projects(self) -> None:
        do_upkeep()
        assert left() == 0
        assert Revision.objects.get(drained_how="drained")

    def test_it_keeps_to_the_rate(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "DRAIN_RATE": 400}
        begun = monotonic()
        Upkeep(SITE).turn()
        assert monotonic() - begun > 0.8 * SESSIONS / 400
        assert left() == 0

    def test_it_notes_how_many_a_second_it_has_moved_lately(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "DRAIN_RATE": 400}
        monkeypatch.setattr(mover, "TELL_SECONDS", 0.05)
        upkeep, rates = Upkeep(SITE), [0.0]
        wait = upkeep.ending.wait

        def noted(seconds: float) -> bool:
            rates.append(progress.read([source()])[source()].rate)
            return wait(seconds)

        monkeypatch.setattr(upkeep.ending, "wait", noted)
        upkeep.turn()
        assert 0 < max(rates) < 4000

    def test_the_memory_of_the_node_is_another_scope(self) -> None:
        assert Upkeep(lease.scope_of_node()).turn() == daemons.LOOK_SECONDS
        assert left() == SESSIONS
        assert not Lease.objects.exists(), "nothing was to be done, so nobody asked for it"

    def test_each_scope_moves_its_own(self) -> None:
        memory = routing.current_view().current.store
        memory.create_many(some(5, Revision.objects.latest("pk").pk))
        configuration = LoginConfiguration.get_solo()
        for name, value in {**fields_on(Valkey), "redis_database": 0}.items():
            setattr(configuration, name, value)
        configuration.save()
        Upkeep(SITE).turn()
        assert (left(), memory.count()) == (0, 5)
        Upkeep(lease.scope_of_node()).turn()
        assert memory.count() == 0

    def test_it_leaves_that_to_whoever_holds_the_lease(self) -> None:
        lease.take(SITE)
        assert Upkeep(SITE).turn() == daemons.LOOK_SECONDS
        assert left() == SESSIONS

    def test_who_loses_the_lease_in_the_middle_stops(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        upkeep = Upkeep(SITE)
        monkeypatch.setattr(mover, "TELL_SECONDS", 0.0)

        def stolen(seconds: float) -> bool:
            Lease.objects.update(token="another's")
            return False

        monkeypatch.setattr(upkeep.ending, "wait", stolen)
        with caplog.at_level(logging.WARNING, "sessionpersist"):
            assert upkeep.turn() == daemons.LOOK_SECONDS
        assert 0 < left() < SESSIONS
        assert "Another process may have taken over" in caplog.text
        assert Lease.objects.get().token == "another's"

    def test_nor_does_one_go_on_that_was_stopped_for_longer_than_a_lease_lasts(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It finds out by its own clock, before it asks anybody."""
        upkeep, taken = Upkeep(SITE), []
        monkeypatch.setattr(mover, "TELL_SECONDS", 1000.0)

        def stopped(seconds: float) -> bool:
            Lease.objects.update(expires_at=Now() - timedelta(seconds=1))
            taken.append(lease.take(SITE))
            late = monotonic() + lease.seconds()
            monkeypatch.setattr("sessionpersist.upkeep.lease.monotonic", lambda: late)
            return False

        monkeypatch.setattr(upkeep.ending, "wait", stopped)
        assert upkeep.turn() == daemons.LOOK_SECONDS
        assert left() == SESSIONS - BATCH
        assert len(taken) == 1

    def test_while_it_is_paused_nothing_moves(self) -> None:
        mover.paused(source())
        Upkeep(SITE).turn()
        assert left() == SESSIONS
        assert not Lease.objects.exists(), "nor does anybody ask for the lease"
        assert progress.read([source()])[source()].paused
        mover.resumed(source())
        Upkeep(SITE).turn()
        assert left() == 0

    def test_one_that_is_slow_holds_its_lease_and_hears_of_a_pause_meanwhile(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "DRAIN_RATE": 0.01}
        monkeypatch.setattr(mover, "TELL_SECONDS", 0.05)
        upkeep, waits = Upkeep(SITE), []
        wait = upkeep.ending.wait

        def paused_after_a_while(seconds: float) -> bool:
            waits.append(Lease.objects.get().expires_at)
            if len(waits) == 5:
                mover.paused(source())
            return wait(seconds)

        monkeypatch.setattr(upkeep.ending, "wait", paused_after_a_while)
        assert upkeep.turn() == daemons.LOOK_SECONDS
        assert left() == SESSIONS - 1
        assert len(waits) < 10, "the next session was due in 100 seconds"
        assert waits[4] > waits[0]

    def test_by_hand_only(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "DRAIN_RATE": 0}
        mover.faster(source())
        Upkeep(SITE).turn()
        assert left() == SESSIONS

    def test_faster_is_twice_as_fast_up_to_a_limit(self) -> None:
        number = source()
        for _ in range(10):
            mover.faster(number)
            assert mover.rate_of(number) <= mover.FASTEST
        assert mover.rate_of(number) == mover.FASTEST
        mover.paused(number)
        mover.faster(number)
        assert mover.rate_of(number) == 10_000, "twice the usual rate"

    def test_the_process_ends_in_the_middle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        upkeep = Upkeep(SITE)
        upkeep.ending.set()
        upkeep.turn()
        assert left() == SESSIONS - BATCH, "a step was under way"
        assert not Lease.objects.in_force().exists()

    def test_what_cannot_be_moved_is_said_once_and_tried_less_and_less_often(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Sessions of a later revision, as a process that follows another switch writes them, stay where they are."""
        StoredSession.objects.exclude(stored_key=PLACE).update(version=new_version(source() + 10))
        upkeep = Upkeep(SITE)
        pauses = [upkeep.turn() for _ in range(4)]
        assert left() == SESSIONS
        assert pauses[0] < pauses[2]
        assert daemons.LOOK_SECONDS < pauses[3] <= daemons.LONGEST_PAUSE
        assert caplog.text.count(f"has to wait: {SESSIONS} sessions can't be moved yet") == 1

    def test_what_is_raised_as_the_interpreter_ends_keeps_no_lease_from_ending(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refused(self: lease.Holding) -> None:
            raise RuntimeError("can't start new thread at interpreter shutdown")

        monkeypatch.setattr(lease.Holding, "release", refused)
        assert Upkeep(SITE).turn() == daemons.LOOK_SECONDS
        assert "RuntimeError" not in caplog.text

    def test_a_store_that_is_down_is_said_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        choose_a_store_that_is_down()
        upkeep = Upkeep(SITE)
        with caplog.at_level(logging.WARNING, "sessionpersist.upkeep"):
            pauses = [upkeep.turn() for _ in range(4)]
        assert caplog.text.count("has to wait") == 1
        assert pauses[-1] > daemons.LOOK_SECONDS
        assert left() == SESSIONS


def stand_still(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let time pass on the clocks of a process that does nothing meanwhile."""
    later = monotonic() + seconds
    for module in ("handover.draining", "upkeep.lease"):
        monkeypatch.setattr(f"sessionpersist.{module}.monotonic", lambda: later)


@pytest.mark.usefixtures("at_work")
class TestStandingStill:
    """Between the answer that the handover goes on and the first write, for longer than DRAINED_GRACE."""

    @pytest.fixture(autouse=True)
    def asked(self, monkeypatch: pytest.MonkeyPatch, at_work: None) -> list[str]:
        """Have the process stand still after its first answer, while what is named here happens."""
        happens: list[str] = []
        ask = draining.Draining._require_going_on

        def ask_and_stand_still(self: draining.Draining) -> None:
            ask(self)
            if happens:
                if happens.pop() == "drained":
                    Revision.objects.drained(self.number, "drained")
                stand_still(monkeypatch, 31)

        monkeypatch.setattr(draining.Draining, "_require_going_on", ask_and_stand_still)
        return happens

    def test_nothing_is_written_once_another_has_moved_the_rest(self, asked: list[str]) -> None:
        """It may have been logged out again since, without a mark."""
        asked.append("drained")
        assert list(draining.going_on()[0].batches()) == []
        assert (routing.current_view().current.store.count(), left()) == (0, SESSIONS)

    def test_nor_by_the_button(self, asked: list[str]) -> None:
        asked.append("drained")
        assert draining.move_some(source(), 1.0).moved == 0
        assert routing.current_view().current.store.count() == 0

    def test_it_goes_on_where_the_handover_does(self, asked: list[str]) -> None:
        asked.append("nothing")
        assert sum(draining.going_on()[0].batches()) == SESSIONS

    def test_nothing_is_written_without_the_lease(self, asked: list[str]) -> None:
        asked.append("nothing")
        assert Upkeep(SITE).turn() == daemons.LOOK_SECONDS
        assert (routing.current_view().current.store.count(), left()) == (0, SESSIONS)


class TestADatabaseThatHangs:
    """The thread waits for none for ever: each of its questions has a deadline."""

    def test_each_question_is_asked_under_one(self, at_work: None, monkeypatch: pytest.MonkeyPatch) -> None:
        found = {"asked": 0, "bare": 0}
        inside: list[float] = []

        @contextmanager
        def noted(seconds: float, connection: Any) -> Iterator[None]:
            inside.append(seconds)
            try:
                yield
            finally:
                inside.pop()

        def count(execute: Any, sql: str, *rest: Any) -> Any:
            found["asked"] += 1
            found["bare"] += not inside and "storedsession" not in sql
            return execute(sql, *rest)

        for module in ("handover.asking", "handover.snapshot", "handover.nodes", "handover.logouts"):
            monkeypatch.setattr(f"sessionpersist.{module}.answers_within", noted)
        upkeep = Upkeep(SITE)
        with connection.execute_wrapper(count):
            upkeep.turn()
        assert left() == 0
        assert found["asked"] > 10
        assert found["bare"] == 0


@pytest.mark.usefixtures("at_work")
class TestClearing:
    """Both stores are asked, that in force and the one that is draining; each by its scope."""

    @pytest.fixture(autouse=True)
    def expired(self, settings: Settings, at_work: None) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "DRAIN_RATE": 0, "CLEAR_SECONDS": 300}
        StoredSession.objects.exclude(stored_key=PLACE).update(expires_at=1)

    def test_each_scope_clears_its_own_and_says_when(self) -> None:
        Upkeep(lease.scope_of_node()).turn()
        assert left() == SESSIONS
        Upkeep(SITE).turn()
        assert left() == 0
        assert lease.cleared_ago(SITE) < 60

    def test_the_memory_of_the_node(self) -> None:
        store, number = routing.current_view().current.store, Revision.objects.latest("pk").pk

        def fill() -> None:
            expired = {key: each._replace(expires_at=1) for key, each in some(300, number).items()}
            store.create_many(expired)

        fill()
        assert sum(store.clearing()) > 0, "what is written clears a few, not all"
        fill()
        Upkeep(SITE).turn()
        Upkeep(lease.scope_of_node()).turn()
        assert sum(store.clearing()) == 0

    def test_it_is_not_done_again_before_it_is_due_by_whomever(self) -> None:
        first, second = Upkeep(SITE), Upkeep(SITE)
        first.turn()
        version = new_version(source())
        StoredSession.objects.create(
            stored_key="f" * 64, payload=b"", version=version, created_at=1, expires_at=1
        )
        first.turn()
        second.turn()
        assert left() == 1
        Lease.objects.update(cleared_at=Now() - timedelta(seconds=301))
        Upkeep(SITE).turn()
        assert left() == 0

    def test_a_handover_that_takes_long_keeps_nobody_from_clearing(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        StoredSession.objects.exclude(stored_key=PLACE).update(expires_at=now_ms() + 600_000)
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "DRAIN_RATE": 200, "CLEAR_SECONDS": 0.2}
        monkeypatch.setattr(mover, "TELL_SECONDS", 0.1)
        times: list[float] = []
        budgets: list[float] = []
        clear_all = clearing.clear_all

        def noted(*arguments: Any) -> bool:
            times.append(monotonic())
            budgets.append(arguments[3])
            return clear_all(*arguments)

        monkeypatch.setattr(clearing, "clear_all", noted)
        Upkeep(SITE).turn()
        assert left() == 0
        assert len(times) > 1
        assert set(budgets) == {daemons.CLEARING_SECONDS}, "nor does clearing hold up the handover"

    def test_it_is_done_only_once_all_of_it_was_looked_through(self) -> None:
        holding = lease.take(SITE)
        assert holding is not None
        known = snapshot.current()
        stores = [known.current, *known.draining]
        assert not clearing.clear_all(holding, stores, lambda seconds: False, 0.0, {}), "there was no time"
        assert not clearing.clear_all(holding, stores, lambda seconds: True, 60.0, {}), (
            "the process is about to end"
        )
        assert lease.cleared_ago(SITE) == float("inf")
        assert clearing.clear_all(holding, stores, lambda seconds: False, 60.0, {})
        assert left() == 0
        assert lease.cleared_ago(SITE) < 60

    def test_what_there_was_no_time_for_has_its_turn_soon(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "DRAIN_RATE": 5000}
        monkeypatch.setattr(clearing, "clear_all", lambda *arguments: False)
        upkeep, begun = Upkeep(SITE), monotonic()
        upkeep.turn()
        assert upkeep.clear_at <= monotonic() + daemons.CLEARING_REST < begun + 300

    def test_a_store_that_cannot_be_cleared_is_said_and_the_other_one_is_cleared(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        choose_a_store_that_is_down()

        def down(self: RedisStore) -> Iterator[int]:
            self.count()
            yield 0

        monkeypatch.setattr(RedisStore, "clearing", down)
        with caplog.at_level(logging.WARNING, "sessionpersist.upkeep"):
            assert Upkeep(SITE).turn() == daemons.LOOK_SECONDS
        assert caplog.text.count("has to wait") == 1
        assert left() == 0

    def test_leases_of_nodes_that_are_long_gone_are_forgotten(self) -> None:
        for scope, days in (("node gone", 2), ("node away", 0.5)):
            Lease.objects.create(scope=scope, expires_at=Now() - timedelta(days=days))
        Upkeep(SITE).turn()
        assert set(Lease.objects.values_list("scope", flat=True)) == {SITE, "node away"}

    def test_turned_off_nothing_is_cleared(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "CLEAR_SECONDS": 0}
        Upkeep(SITE).turn()
        assert left() == SESSIONS
