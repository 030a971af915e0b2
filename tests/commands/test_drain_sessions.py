"""``drain_sessions`` as an operator runs it: on a real site that has just moved from Valkey to PostgreSQL."""

from __future__ import annotations

import os
import pty
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.db.models.functions import Now
from pytest_django import Settings

from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import draining, moving, snapshot
from sessionpersist.handover.carrying import Place, View
from sessionpersist.handover.draining import NotNow
from sessionpersist.handover.driving import Rule
from sessionpersist.models import LoginConfiguration, Node, Revision, StoredSession
from sessionpersist.stores import open_store
from sessionpersist.stores.base import PLACE, Probed, Record, new_version, now_ms
from sessionpersist.stores.redis.store import RedisStore
from tests.commands.running import run
from tests.load import stores
from tests.load.site import ROOT, Site
from tests.load.warm import TalkingProcess, warm
from tests.servers import Postgres, Valkey, require, shared
from tests.stores.contract import a_key, a_record
from tests.stores.places import redis_store

SESSIONS = 1_000


@pytest.fixture
def source(tmp_path: Path) -> Iterator[RedisStore]:
    store = redis_store(Valkey, prefix=tmp_path.name)
    yield store
    store.close()


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    require(Postgres)
    return shared(Postgres).create_database(f"drain_{os.getpid()}_{time.monotonic_ns()}")


@pytest.fixture
def site(tmp_path: Path, database_url: str, source: RedisStore) -> Site:
    """A site that has moved from Valkey to PostgreSQL, with all of its sessions still in Valkey."""
    site = Site(
        tmp_path,
        {stores.ALIAS: database_url},
        ACTIVATION_SECONDS=0,
        KEY_PREFIX=tmp_path.name,
        TIMEOUT_SECONDS=5,
    )
    site.migrate()
    site.configure_in_turn(
        stores.fields_on(Valkey), {"persistence_type": "JDBC", "jdbc_database": stores.ALIAS}
    )
    return site


@pytest.fixture
def sessions(site: Site, source: RedisStore) -> dict[str, Record]:
    number = in_redis(site)
    records = {a_key(): of_redis(a_record(str(n).encode(), life=600_000), number) for n in range(SESSIONS)}
    assert source.create_many(records) == records.keys()
    return records


def in_redis(site: Site) -> int:
    """The number of the revision that chose it."""
    with closing(sqlite3.connect(site.file)) as database:
        [(number,)] = database.execute(
            "SELECT id FROM sessionpersist_revision WHERE persistence_type = 'REDIS'"
        )
    return int(number)


def of_redis(record: Record, number: int) -> Record:
    return record._replace(version=new_version(number))


def in_postgres(url: str) -> dict[str, bytes]:
    import psycopg

    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT stored_key, payload FROM sessionpersist_storedsession")
        return {str(key): bytes(payload) for key, payload in rows if key != PLACE}


def payloads(records: dict[str, Record]) -> dict[str, bytes]:
    return {key: record.payload for key, record in records.items()}


def start(site: Site, *arguments: str) -> TalkingProcess:
    """Begin a drain in a process of its own."""
    return warm().talk([str(ROOT / "manage.py"), "drain_sessions", *arguments], site.environment)


class TestOnARealSite:
    def test_it_moves_everything_and_ends_the_handover(
        self, site: Site, sessions: dict[str, Record], source: Probed, database_url: str
    ) -> None:
        said = site.manage("drain_sessions")
        assert f"{SESSIONS:,} sessions to move" in said
        assert f"{SESSIONS:,} sessions moved, none is left." in said
        assert in_postgres(database_url) == payloads(sessions)
        assert list(source.scan()) == []
        assert "REDIS" not in site.manage("drain_sessions")

    def test_killed_in_the_middle_it_can_be_started_again(
        self, site: Site, sessions: dict[str, Record], source: Probed, database_url: str
    ) -> None:
        drain = start(site, "--rate", "500")
        while source.count() > SESSIONS - 200:
            time.sleep(0.05)
        drain.kill()
        assert drain.wait() == -signal.SIGKILL
        assert 0 < source.count() < SESSIONS
        site.manage("drain_sessions")
        assert in_postgres(database_url) == payloads(sessions)
        assert source.count() == 0

    @pytest.mark.parametrize("terminal", [False, True], ids=["lines", "bar"])
    def test_ctrl_c_stops_it_with_a_sentence(
        self, site: Site, sessions: dict[str, Record], source: Probed, database_url: str, terminal: bool
    ) -> None:
        output, end = pty.openpty() if terminal else os.pipe()
        command = [str(ROOT / "manage.py"), "drain_sessions", "--rate", "500"]
        drain = warm().start(command, site.environment, (end, end, end))
        os.close(end)
        while source.count() > SESSIONS - 200:
            time.sleep(0.05)
        os.kill(drain.pid, signal.SIGINT)
        said = read_all(output).decode()
        os.close(output)
        assert drain.wait(60) == 130
        assert re.search(r"CommandError: Stopped: [\d,]+ sessions moved. Run this again to go on.", said)
        assert "Traceback" not in said
        site.manage("drain_sessions")
        assert in_postgres(database_url) == payloads(sessions)

    def test_two_at_once_move_everything_once(
        self, site: Site, sessions: dict[str, Record], source: Probed, database_url: str
    ) -> None:
        drains = [start(site), start(site)]
        said = [drain.stdout.read() for drain in drains]
        assert [drain.finish() for drain in drains] == [0, 0], said
        assert in_postgres(database_url) == payloads(sessions)
        assert source.count() == 0

    def test_it_reports_a_line_now_and_then_and_keeps_to_the_rate(
        self, site: Site, source: RedisStore
    ) -> None:
        number = in_redis(site)
        source.create_many({a_key(): of_redis(a_record(life=600_000), number) for _ in range(60)})
        began = time.monotonic()
        said = site.manage("drain_sessions", "--rate", "30")
        assert time.monotonic() - began >= 60 / 30 - 1
        assert "of about 60 moved\n" in said
        assert "\r" not in said

    def test_on_a_terminal_it_has_a_bar(self, site: Site, sessions: dict[str, Record]) -> None:
        output, terminal = pty.openpty()
        command = [str(ROOT / "manage.py"), "drain_sessions"]
        drain = warm().start(command, site.environment, (terminal, terminal, terminal))
        os.close(terminal)
        said = read_all(output)
        assert drain.wait(60) == 0
        assert b"\r[" in said
        assert b"] 100% 1,000" in said

    def test_to_give_up_is_asked_for(self, site: Site, sessions: dict[str, Record]) -> None:
        command = [str(ROOT / "manage.py"), "drain_sessions", "--abandon"]
        for answer in ("no\n", ""):
            refused = site.python(*command, standard_input=answer)
            assert refused.returncode == 1
            assert refused.stdout.startswith("REDIS at ")
            assert f": {SESSIONS:,} sessions have not moved; their users are logged out." in refused.stdout
            assert "Nothing was given up." in refused.stderr
        site.manage("drain_sessions", "--abandon", "--no-input")
        assert "nothing to move" in site.manage("drain_sessions")


def read_all(output: int) -> bytes:
    said = b""
    while True:
        try:
            more = os.read(output, 4096)
        except OSError:  # what Linux answers at the end of a terminal
            return said
        if not more:
            return said
        said += more


@pytest.mark.django_db
@pytest.mark.usefixtures("switches_at_once")
class TestInThisProcess:
    @pytest.fixture
    def left_in_memory(self) -> list[SessionStore]:
        """Sessions in the memory of this node, of a site that has just moved to JDBC."""
        found = [new_session(number=number) for number in range(3)]
        configuration = LoginConfiguration.get_solo()
        configuration.persistence_type, configuration.jdbc_database = "JDBC", "default"
        configuration.save()
        draining.going_on()  # inside a TestCase a revision activates when it is first read
        time.sleep(0.1)  # the guard time
        return found

    def test_in_memory_is_over_when_every_node_has_drained_its_own(
        self, left_in_memory: list[SessionStore]
    ) -> None:
        Node.objects.create(name="here", process=1, revision=2)
        Node.objects.create(name="there", process=1, revision=2)
        result = run("drain_sessions")
        assert "In-Memory of here: 3 sessions moved" in result.output
        assert "on every other node too" in result.output
        assert Revision.objects.get(pk=draining.going_on()[0].number).drained_at is None
        Node.objects.note_drained("there", draining.going_on()[0].number)
        assert "on every other node too" not in run("drain_sessions").output
        assert draining.going_on() == []

    @pytest.mark.parametrize("left", [7, None], ids=["with sessions", "nobody can tell"])
    def test_the_memory_of_another_container_of_this_name_does_not_pass_for_drained(
        self, left_in_memory: list[SessionStore], left: int | None
    ) -> None:
        [store] = draining.going_on()
        number, memory = store.number, open_store(store.settings).place() or ""
        Node.objects.create(name="here", process=1, revision=number + 1, memory=memory)
        Node.objects.create(name="here", process=2, revision=number + 1, memory="b" * 32, left=left)
        assert "3 sessions moved" in str(run("drain_sessions").error)
        assert Revision.objects.get(pk=number).drained_at is None
        assert not Node.objects.filter(drained=number).exists()
        Node.objects.filter(process=2).update(left=0)
        run("drain_sessions")
        assert draining.going_on() == []

    def test_nor_does_one_that_is_gone_hold_it_up(self, left_in_memory: list[SessionStore]) -> None:
        [store] = draining.going_on()
        Node.objects.create(
            name="here", process=1, revision=2, memory=open_store(store.settings).place() or ""
        )
        gone: dict[str, Any] = {"memory": "b" * 32, "left": 7, "seen_at": Now() - timedelta(seconds=31)}
        Node.objects.create(name="here", process=2, revision=2, **gone)
        assert "none is left" in run("drain_sessions").output
        assert draining.going_on() == []

    def test_in_memory_is_not_over_where_no_node_has_reported_itself(
        self, left_in_memory: list[SessionStore]
    ) -> None:
        """Who drains at the command line can't know how many nodes there are."""
        assert "on every other node too" in run("drain_sessions").output
        assert Revision.objects.get(pk=draining.going_on()[0].number).drained_at is None

    @pytest.mark.parametrize("memory", ["", "another"], ids=["of the site", "of another user"])
    def test_to_give_memory_up_the_total_of_all_nodes_is_told_and_how_old_it_is(
        self, left_in_memory: list[SessionStore], monkeypatch: pytest.MonkeyPatch, memory: str
    ) -> None:
        [store] = draining.going_on()
        Node.objects.all().delete()
        for name, left, seconds in (("here", 3, 5), ("there", 3010, 125)):
            seen_at = Now() - timedelta(seconds=seconds)
            node = {"name": name, "process": 1, "revision": store.view.number, "memory": memory}
            Node.objects.create(**node, left=left, seen_at=seen_at)
        Revision.objects.update(activates_at=Now() - timedelta(minutes=5))
        snapshot.reset()
        asked: list[str] = []

        def refuse(question: str) -> str:
            asked.append(question)
            return "no"

        monkeypatch.setattr("builtins.input", refuse)
        assert run("drain_sessions", "--abandon").error == "Nothing was given up."
        [question] = asked
        assert (
            "In-Memory of every node: 3,013 sessions have not moved; their users are logged out." in question
        )
        assert "the oldest figure was reported 2 min ago" in question

    @pytest.mark.parametrize(
        ("others", "said"),
        [(3, "3 sessions moved, 1 is still there: "), (0, "No session could be moved, 1 is still there: ")],
    )
    def test_what_stays_is_told_with_what_was_moved(
        self, left_in_memory: list[SessionStore], others: int, said: str
    ) -> None:
        """A process that goes by a later switch has saved it."""
        [store] = draining.going_on()
        for session in left_in_memory[others:]:
            session.delete()
        later = a_record(life=600_000)._replace(version=new_version(store.view.number))
        assert store.place.store.create(a_key(), later)
        error = str(run("drain_sessions").error)
        assert error.startswith(f"In-Memory of here: {said}")
        assert ("arrived in the meantime" in error) == bool(others)

    def test_one_session_is_one(self, left_in_memory: list[SessionStore]) -> None:
        for session in left_in_memory[1:]:
            session.delete()
        output = run("drain_sessions").output
        assert "In-Memory of here: 1 session to move.\n" in output
        assert "In-Memory of here: 1 session moved, none is left." in output

    def test_a_step_moves_for_as_long_as_it_is_told_and_says_what_is_left(
        self, left_in_memory: list[SessionStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(draining.Draining.batches, "__defaults__", (1,))
        [store] = draining.going_on()
        assert store.left() == draining.Left(3, more=False, most=3)
        assert draining.move_some(store.number, 0) == draining.Moved(1, 2, ended=False)
        assert draining.going_on()[0].left().share == pytest.approx(1 / 3)
        assert draining.move_some(store.number, 60) == draining.Moved(2, 0, ended=True)
        assert all(
            SessionStore(each.session_key)["number"] == number for number, each in enumerate(left_in_memory)
        )

    def test_before_the_switch_a_step_says_why_nothing_moves(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 60}
        configuration = LoginConfiguration.get_solo()
        configuration.persistence_type, configuration.jdbc_database = "JDBC", "default"
        configuration.save()
        assert draining.going_on() == []
        assert "has not happened yet" in str(run("drain_sessions").error)

    def test_an_old_store_that_cannot_be_opened_any_more_is_down_and_can_be_given_up(
        self, left_in_memory: list[SessionStore]
    ) -> None:
        """Its password was in a variable that is gone from this node."""
        gone = {"host": "redis.example.org", "port": 6379, "database": 0}
        Revision.objects.filter(persistence_type="IN_MEMORY").update(
            persistence_type="REDIS", settings=gone, password="env:GONE_FROM_HERE"
        )
        snapshot.reset()
        here = new_session(number=7)
        assert SessionStore(here.session_key)["number"] == 7
        with pytest.raises(StoreUnavailable, match="GONE_FROM_HERE"):
            SessionStore(left_in_memory[0].session_key).get("number")
        assert "GONE_FROM_HERE" in str(run("drain_sessions").error)
        assert "given up" in run("drain_sessions", "--abandon", "--no-input").output
        assert SessionStore(left_in_memory[0].session_key).get("number") is None

    def test_large_sessions_are_moved_in_small_batches(self) -> None:
        records = [(a_key(), a_record(bytes(400_000))) for _ in range(5)]
        sizes = [len(batch) for batch in moving.batched(iter(records))]
        assert sizes == [2, 2, 1]

    @pytest.mark.parametrize("how", ["drained", "abandoned"])
    def test_what_was_read_before_the_handover_was_ended_is_not_brought_over(
        self, left_in_memory: list[SessionStore], how: str
    ) -> None:
        """Another drain was faster, or staff gave the store up: a logout since then has left no mark."""
        [store] = draining.going_on()
        batches = store.batches(1)
        assert next(batches) == 1
        Revision.objects.drained(store.number, how)
        with pytest.raises(StopIteration if how == "drained" else NotNow):
            next(batches)
        draining.abandon(store.number)
        Revision.objects.update(drained_how="abandoned")
        snapshot.expire()
        found = [SessionStore(each.session_key).get("number") is not None for each in left_in_memory]
        assert sum(found) == 1

    def test_what_progress_begins_with_is_the_most_that_was_ever_left(
        self, left_in_memory: list[SessionStore]
    ) -> None:
        """Who knows of no switch yet still adds to it."""
        [store] = draining.going_on()
        assert store.left().most == 3
        assert store.place.store.create(
            a_key(), a_record(b"late")._replace(version=new_version(store.number))
        )
        assert store.left() == draining.Left(4, more=False, most=4)

    def test_with_several_stores_each_drains_since_the_switch_to_the_next(
        self, left_in_memory: list[SessionStore]
    ) -> None:
        configuration = LoginConfiguration.get_solo()
        configuration.persistence_type, configuration.redis_host = "REDIS", "127.0.0.1"
        configuration.save()
        jdbc, memory = draining.going_on()
        _installed, *switches = Revision.objects.order_by("pk").values_list("activates_at", flat=True)
        assert [memory.since, jdbc.since] == [
            pytest.approx(at, abs=timedelta(milliseconds=1)) for at in switches
        ]

    def test_before_another_switch_a_drain_stops(
        self, left_in_memory: list[SessionStore], settings: Settings
    ) -> None:
        [store] = draining.going_on()
        batches = store.batches(1)
        next(batches)
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 60}
        configuration = LoginConfiguration.get_solo()
        configuration.persistence_type = "IN_MEMORY"
        configuration.save()
        draining.going_on()
        with pytest.raises(NotNow, match="has not happened yet"):
            next(batches)

    def test_an_empty_store_is_not_called_drained_before_another_switch(
        self, left_in_memory: list[SessionStore], settings: Settings
    ) -> None:
        """Who has not heard of the last switch may still write to it."""
        Node.objects.create(name="here", process=1, revision=2)
        [store] = draining.going_on()
        assert sum(store.batches()) == 3
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 60}
        choose_memory()
        with pytest.raises(NotNow, match="has not happened yet"):
            draining.move_some(store.number, 60)
        assert Revision.objects.get(pk=store.number).drained_at is None

    def test_what_is_moved_as_the_store_is_switched_again_is_brought_to_where_it_belongs(
        self, left_in_memory: list[SessionStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        move = moving.move

        def switched_meanwhile(
            view: View, source: Place, batch: moving.Batch, unite: moving.Unite
        ) -> Rule[int]:
            moved = yield from move(view, source, batch, unite)
            choose_memory()
            snapshot.reset()
            return moved

        [store] = draining.going_on()
        monkeypatch.setattr(moving, "move", switched_meanwhile)
        with pytest.raises(NotNow, match="switched again"):
            next(store.batches())
        assert store.place.store.count() == len(left_in_memory)
        assert StoredSession.objects.exclude(stored_key=PLACE).count() == 0

    def test_ended_records_alone_are_no_step(
        self, left_in_memory: list[SessionStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They stay where they are, so a step that is content with them would never come to the sessions behind."""
        monkeypatch.setattr(draining.Draining.batches, "__defaults__", (1,))
        [store] = draining.going_on()
        for number in range(3):
            store.place.store.end(f"{number:064}", now_ms() + 60_000)
        assert draining.move_some(store.number, 0).moved == 1

    def test_a_step_ends_where_there_are_more_ended_records_than_it_can_look_at_and_the_next_goes_on_there(
        self, left_in_memory: list[SessionStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(draining.Draining.batches, "__defaults__", (1,))
        monkeypatch.setattr(draining, "PATIENCE", 0.0)
        [store] = draining.going_on()
        for session in left_in_memory[1:]:
            session.delete()
        for number in range(3):
            store.place.store.end(f"{number:064}", now_ms() + 60_000)
        steps = [a_step(store.number) for _ in range(6)]  # each looks at one record
        assert isinstance(steps[0], NotNow)
        assert sum(step.moved for step in steps if isinstance(step, draining.Moved)) == 1

    @pytest.mark.parametrize("live_among_the_first", [False, True], ids=["all ended first", "one live first"])
    def test_steps_look_at_each_ended_record_once(
        self, left_in_memory: list[SessionStore], live_among_the_first: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """From a review, of 12,000 ended records before 2,000 sessions: each step read them all again, and moved one
        batch."""
        [store] = draining.going_on()
        source = store.place.store
        for session in left_in_memory:
            session.delete()
        for number in range(1_000):
            source.end(f"{number:064}", now_ms() + 60_000)
        behind = {f"f{number:063}": a_record(life=60_000) for number in range(300)}
        first = {f"{'0' * 63}a": a_record(life=60_000)} if live_among_the_first else {}
        assert source.create_many({**behind, **first}) == {*behind, *first}
        looked_at: list[int] = []
        move = moving.move

        def counted(view: View, place: Place, batch: moving.Batch, unite: moving.Unite) -> Rule[int]:
            looked_at.append(len(batch))
            return (yield from move(view, place, batch, unite))

        monkeypatch.setattr(moving, "move", counted)
        steps: list[draining.Moved | NotNow] = []
        while draining.going_on() and source.count():
            steps.append(a_step(store.number))
        assert sum(step.moved for step in steps if isinstance(step, draining.Moved)) == 300 + len(first)
        assert len(steps) >= 3
        assert sum(looked_at) <= 1_300 + len(first)

    def test_a_search_that_was_left_off_long_ago_begins_again(
        self, left_in_memory: list[SessionStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What it has read is old by then."""
        monkeypatch.setattr(draining.Draining.batches, "__defaults__", (1,))
        monkeypatch.setattr(draining, "HELD_SECONDS", 0.0)
        [store] = draining.going_on()
        assert draining.move_some(store.number, 0).moved == 1
        store.place.store.create("0" * 64, a_record(life=60_000))
        steps = [draining.move_some(store.number, 0) for _ in range(3)]
        assert [step.left for step in steps] == [2, 1, 0]

    def test_what_arrives_behind_a_search_is_found_by_the_next(
        self, left_in_memory: list[SessionStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(draining.Draining.batches, "__defaults__", (1,))
        [store] = draining.going_on()
        for _ in range(2):
            assert draining.move_some(store.number, 0).moved == 1
        store.place.store.create("0" * 64, a_record(life=60_000))
        steps = [a_step(store.number) for _ in range(3)]
        assert steps[0] == draining.Moved(1, 1, ended=False)
        assert isinstance(steps[1], NotNow)
        assert steps[2] == draining.Moved(1, 0, ended=True)

    def test_a_node_that_had_its_sessions_in_an_earlier_time_of_the_same_memory_counts(
        self, left_in_memory: list[SessionStore]
    ) -> None:
        """The site went from In-Memory to JDBC, back, and to JDBC again, while that node was off."""
        first = Revision.objects.earliest("pk")
        Revision.objects.filter(pk=first.pk).update(activates_at=Now() - timedelta(hours=2))
        Node.objects.create(name="off", process=1, revision=first.pk, seen_at=Now() - timedelta(hours=1))
        choose_memory()
        configuration = LoginConfiguration.get_solo()
        configuration.persistence_type = "JDBC"
        configuration.save()
        [store] = draining.going_on()
        assert store.number > first.pk
        assert store.nodes_left() == ["off"]

    def test_inside_a_transaction_nothing_is_moved(self, left_in_memory: list[SessionStore]) -> None:
        with transaction.atomic():
            [store] = draining.going_on()
            with pytest.raises(NotNow, match="transaction"):
                draining.move_some(store.number, 60)
        assert draining.move_some(store.number, 60).moved == 3

    @pytest.mark.parametrize("rate", ["0", "-1", "inf", "nan", "many"])
    def test_a_rate_that_is_none_is_refused(self, rate: str) -> None:
        error = run("drain_sessions", f"--rate={rate}").error
        assert f"argument --rate: '{rate}' is not a number above 0" in str(error)


def a_step(number: int) -> draining.Moved | NotNow:
    """What one step has come to."""
    try:
        return draining.move_some(number, 0)
    except NotNow as error:
        return error


def choose_memory() -> None:
    configuration = LoginConfiguration.get_solo()
    configuration.persistence_type = "IN_MEMORY"
    configuration.save()
    draining.going_on()  # inside a TestCase a revision activates when it is first read


def new_session(**content: int) -> SessionStore:
    session = SessionStore()
    session.update(content)
    session.save()
    return session
