"""A place is what it is, not what it is called: the store in use under another name logs nobody out.

From a report: REDIS ``127.0.0.1`` entered as ``localhost``, the TLS port of the same server, MONGODB likewise, two
aliases of one PostgreSQL, and a promoted replica each logged everybody out on their second page, without any drain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from django.core.management import CommandError, call_command
from pytest_django import DjangoDbBlocker, Settings

from sessionpersist import conf
from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.engine import SessionStore
from sessionpersist.handover import draining, nodes, places, routing, snapshot
from sessionpersist.models import LoginConfiguration, Node, Revision, columns_of
from sessionpersist.stores import build_store, open_store
from sessionpersist.stores.base import PLACE
from sessionpersist.stores.memory import MemoryStore
from tests.handover.test_stores import new_session, wait_for_the_guard
from tests.load import stores
from tests.servers import MongoDB, Postgres, Redis, Valkey, require, shared
from tests.sizes import long_unless
from tests.stores.databases import added_database

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("switches_at_once"),
]

Names = tuple[dict[str, Any], dict[str, Any]]


def of_redis() -> Names:
    fields = stores.fields_on(Valkey)
    return fields, fields | {"redis_host": "localhost"}


def of_mongodb() -> Names:
    fields = stores.fields_on(MongoDB)
    return fields, fields | {"mongodb_host": "LOCALHOST"}


def of_jdbc() -> Names:
    return tuple({"persistence_type": "JDBC", "jdbc_database": alias} for alias in ("one", "two"))  # type: ignore[return-value]


KINDS: dict[str, Callable[[], Names]] = {"REDIS": of_redis, "MONGODB": of_mongodb, "JDBC": of_jdbc}
TWO_CONNECTIONS = pytest.mark.django_db(transaction=True, databases="__all__")  # to one database


def kinds(quick: Collection[str]) -> list[ParameterSet]:
    """Return each kind of store. After each test all rows are deleted, in other databases only where they are used."""
    return [
        pytest.param(
            kind, marks=[*long_unless(kind in quick), *([TWO_CONNECTIONS] if kind == "JDBC" else [])]
        )
        for kind in KINDS
    ]


# Each kind finds out in its own way where it is; what follows from that is the same for all.
OF_EACH_KIND = pytest.mark.parametrize("names", kinds(quick=KINDS), indirect=True)


@pytest.fixture(autouse=True, scope="module")
def two_aliases(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Of one database; before any test, which forbids what it does not know of."""
    require(Postgres)
    url = shared(Postgres).create_database(f"places_{time.monotonic_ns()}")
    with added_database("one", url), added_database("two", url):
        with django_db_blocker.unblock():
            call_command("migrate", database="one", verbosity=0)  # a test is followed by a flush
        yield


@pytest.fixture(params=kinds(quick=["REDIS"]))
def names(request: pytest.FixtureRequest) -> Names:
    """The fields that choose one place, and those that choose it under another name."""
    return KINDS[request.param]()


def save(fields: dict[str, Any]) -> None:
    """As ``.save()`` by some code, which tries nothing."""
    configuration = LoginConfiguration.get_solo()
    for name, value in fields.items():
        setattr(configuration, name, value)
    configuration.save()
    snapshot.expire()
    wait_for_the_guard()


def submit(fields: dict[str, Any], **options: Any) -> LoginConfigurationForm:
    """As staff on the page: the store is tried, then saved."""
    data = LoginConfigurationForm.data_of(LoginConfiguration.get_solo())
    form = LoginConfigurationForm(data | fields, **options)
    assert form.is_valid(), form.errors
    form.save(saved_by="ada")
    snapshot.expire()
    wait_for_the_guard()
    return form


def load_revision(fields: dict[str, Any]) -> None:
    """As ``loaddata`` of a fixture: rows, and nothing else."""
    configuration = LoginConfiguration(pk=1, edition=7, **fields)
    configuration.save_base(raw=True)
    newest, columns = Revision.objects.latest("pk"), columns_of(configuration.store_settings())
    Revision(pk=newest.pk + 1, activates_at=newest.activates_at, **columns).save_base(raw=True)
    snapshot.expire()


def visit(session: SessionStore, number: int) -> None:
    """One page: it reads the session, and saves it."""
    page = SessionStore(session.session_key)
    assert page["name"] == "ada", f"logged out on page {number}"
    page["visits"] = number
    page.save()


class TestOnThePage:
    @OF_EACH_KIND
    def test_the_revision_is_updated_in_place_and_nothing_drains(self, names: Names) -> None:
        submit(names[0])
        session, before = new_session(name="ada"), Revision.objects.count()
        form = submit(names[1])
        for number in range(1, 4):
            visit(session, number)
        assert form.renamed
        assert Revision.objects.count() == before
        assert all(each.per_node for each in draining.going_on())
        assert routing.current_settings() == LoginConfiguration.get_solo().store_settings()

    def test_a_store_that_was_saved_by_an_earlier_release_is_asked_for_its_place_first(
        self, names: Names
    ) -> None:
        save(names[0])
        assert Revision.objects.latest("pk").place == ""
        session, before = new_session(name="ada"), Revision.objects.count()
        submit(names[1])
        visit(session, 1)
        visit(session, 2)
        assert Revision.objects.count() == before

    def test_the_test_says_so_before_anything_is_saved(self, names: Names) -> None:
        submit(names[0])
        data = LoginConfigurationForm.data_of(LoginConfiguration.get_solo()) | names[1]
        form = LoginConfigurationForm(data, prepare=False)
        assert form.is_valid(), form.errors
        assert any("under another name" in step.message for step in form.steps)

    def test_switching_back_to_it_under_another_name_is_a_switch_back(self, names: Names) -> None:
        submit(names[0])
        stayed, moved = new_session(name="ada"), new_session(name="ada")
        submit({"persistence_type": "JDBC", "jdbc_database": "default"})
        visit(moved, 1)
        submit(names[1])
        for number in range(2, 5):
            visit(stayed, number)
            visit(moved, number)
        call_command("drain_sessions")
        visit(stayed, 5)
        visit(moved, 5)

    def test_the_first_store_that_is_saved_may_be_the_initial_one_under_another_name(
        self, names: Names, settings: Settings
    ) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "INITIAL": names[0]}
        snapshot.reset()
        session = new_session(name="ada")
        submit(names[1])
        visit(session, 1)
        visit(session, 2)
        assert Revision.objects.count() == 1


def test_a_place_that_lost_its_id_is_asked_again() -> None:
    """From a review: after FLUSHALL every node was marked as reaching another store, and a drain never ended."""
    submit(stores.fields_on(Valkey))
    noted = Revision.objects.latest("pk").place
    store = open_store(routing.current_settings())
    with shared(Valkey).connect() as client:
        client.delete(f"{conf.key_prefix()}:{PLACE}")
    nodes._report_once()
    found = store.place()
    assert found not in (None, noted)
    assert Revision.objects.latest("pk").place == found == Node.objects.get(name="here").place


def test_nor_does_a_drain_go_on_for_ever_where_it_was_lost_before_another_name_was_saved() -> None:
    first, second = of_redis()
    submit(first)
    session = new_session(name="ada")
    with shared(Valkey).connect() as client:
        client.delete(f"{conf.key_prefix()}:{PLACE}")
    submit(second)
    visit(session, 1)
    call_command("drain_sessions")
    visit(session, 2)
    assert all(each.per_node for each in draining.going_on())


def test_what_another_node_finds_under_the_name_is_left_alone() -> None:
    """A name such as localhost is each node itself."""
    submit(stores.fields_on(Valkey))
    revision = Revision.objects.latest("pk")
    Revision.objects.filter(pk=revision.pk).update(place="a" * 32)
    Node.objects.create(name="there", process=1, revision=revision.pk, place="a" * 32)
    snapshot.expire()
    nodes._report_once()
    assert Revision.objects.latest("pk").place == "a" * 32
    assert Node.objects.get(name="here").place not in ("", "a" * 32)


@pytest.mark.parametrize("way", [save, load_revision], ids=["saved", "loaded"])
class TestWithoutAProbe:
    """Nobody has asked where the store is: it is taken for another one, until somebody learns better."""

    def test_nobody_is_logged_out(self, names: Names, way: Callable[[dict[str, Any]], None]) -> None:
        save(names[0])
        session = new_session(name="ada")
        way(names[1])
        for number in range(1, 4):
            visit(session, number)

    def test_a_logout_holds(self, names: Names, way: Callable[[dict[str, Any]], None]) -> None:
        save(names[0])
        session = new_session(name="ada")
        way(names[1])
        visit(session, 1)
        SessionStore(session.session_key).flush()
        assert SessionStore(session.session_key).get("name") is None
        assert not SessionStore().exists(str(session.session_key))

    @OF_EACH_KIND
    def test_a_drain_deletes_nothing_and_finds_out(
        self, names: Names, way: Callable[[dict[str, Any]], None]
    ) -> None:
        save(names[0])
        session, other = new_session(name="ada"), new_session(name="ada")
        way(names[1])
        visit(session, 1)
        call_command("drain_sessions")
        visit(session, 2)
        visit(other, 1)
        assert all(each.per_node for each in draining.going_on())
        assert len({each.place for each in Revision.objects.exclude(place="")}) == 1

    def test_the_drain_of_a_process_that_can_not_find_out_deletes_nothing(
        self, names: Names, way: Callable[[dict[str, Any]], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save(names[0])
        session, other = new_session(name="ada"), new_session(name="ada")
        way(names[1])
        visit(session, 1)
        monkeypatch.setattr(places, "learn", lambda known: None)
        source = draining.going_on()[0]
        list(source.batches())
        assert source.finish() > 0  # and the handover from it goes on
        visit(session, 2)
        visit(other, 1)


def test_a_replica_that_was_promoted_is_the_same_place() -> None:
    """The primary is gone, and staff enter its replica by hand: it has every session, and nobody must log in again."""
    require(Valkey)
    with Valkey() as primary, Valkey() as replica:
        submit(stores.fields(primary))
        session = new_session(name="ada")
        follow(replica, primary)
        primary.kill()
        with replica.connect() as client:
            client.replicaof("NO", "ONE")
        before = Revision.objects.count()
        submit(stores.fields(replica))
        visit(session, 1)
        visit(session, 2)
        assert Revision.objects.count() == before


def follow(replica: Redis, primary: Redis) -> None:
    """Have one server copy another, and wait until it has."""
    with replica.connect() as client, primary.connect() as source:
        client.config_set("masterauth", primary.password)
        client.replicaof(primary.host, str(primary.port))
        while (
            client.info("replication").get("master_link_status") != "up" or client.dbsize() < source.dbsize()
        ):
            time.sleep(0.02)


class TestInMemory:
    """Another user, or another folder, has another memory: a drain of that one says nothing about the site's."""

    @pytest.fixture
    def reported(self) -> None:
        """A site in memory that has moved to a database, and whose process has said so."""
        new_session(name="ada")
        save({"persistence_type": "JDBC", "jdbc_database": "default"})
        nodes._report_once()

    def test_a_process_reports_its_memory_and_what_is_left_in_it(self, reported: None) -> None:
        node = Node.objects.get(name="here")
        store = build_store(LoginConfiguration().store_settings())
        assert isinstance(store, MemoryStore)
        assert node.memory == store.place()
        assert node.left == 1
        assert node.place == build_store(LoginConfiguration.get_solo().store_settings()).place()

    def test_a_drain_of_another_memory_refuses_with_a_sentence(
        self, reported: None, settings: Settings, tmp_path: Any
    ) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "MEMORY_DIR": tmp_path / "of-root"}
        with pytest.raises(CommandError, match="not the memory that the site keeps its sessions in"):
            call_command("drain_sessions")
        assert not Revision.objects.filter(drained_how="drained").exists()

    def test_so_it_does_while_only_nodes_of_0_2_0_have_reported(
        self, reported: None, settings: Settings, tmp_path: Any
    ) -> None:
        Node.objects.update(memory="", sealing=1)
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "MEMORY_DIR": tmp_path / "of-root"}
        with pytest.raises(CommandError, match="not the memory that the site keeps its sessions in"):
            call_command("drain_sessions")
        assert not Revision.objects.filter(drained_how="drained").exists()

    def test_a_report_that_can_not_ask_leaves_what_is_known(
        self, reported: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = Node.objects.get(name="here").memory
        monkeypatch.setattr(places, "_asked", lambda revision: "")
        nodes._report_once()
        assert Node.objects.get(name="here").memory == known != ""

    def test_a_drain_of_the_memory_that_is_meant_moves_it(self, reported: None) -> None:
        call_command("drain_sessions")
        assert Revision.objects.get(persistence_type="IN_MEMORY").drained_how == "drained"


class TestWithoutTheRowsOfMigrations:
    """From a report: after ``manage.py flush`` the first switch logged everybody out."""

    def test_who_logged_in_before_anything_was_saved_is_not_logged_out_by_the_first_switch(self) -> None:
        Revision.objects.all().delete()
        LoginConfiguration.objects.all().delete()
        snapshot.reset()
        session = new_session(name="ada")
        save({"persistence_type": "JDBC", "jdbc_database": "default"})
        visit(session, 1)
        visit(session, 2)

    def test_the_store_of_the_beginning_is_noted_as_the_site_serves(self, settings: Settings) -> None:
        """From a review: whoever removed ADOPT_FROM, as the page advised, moved the site into memory."""
        start = {"persistence_type": "JDBC", "jdbc_database": "default"}
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "INITIAL": start}
        session = new_session(name="ada")
        nodes._report_once()
        settings.SESSIONPERSIST = {
            name: value for name, value in settings.SESSIONPERSIST.items() if name != "INITIAL"
        }
        snapshot.reset()
        assert routing.current_settings().type == "JDBC"
        visit(session, 1)
        save({"persistence_type": "IN_MEMORY"})
        visit(session, 2)

    def test_nor_who_logged_in_under_a_revision_that_is_gone(self) -> None:
        save({"persistence_type": "JDBC", "jdbc_database": "default"})
        save({"persistence_type": "IN_MEMORY"})
        session = new_session(name="ada")
        Revision.objects.all().delete()
        LoginConfiguration.objects.all().delete()
        snapshot.reset()
        visit(session, 1)
        save({"persistence_type": "JDBC", "jdbc_database": "default"})
        visit(session, 2)
        visit(session, 3)
        call_command("drain_sessions")
        visit(session, 4)
