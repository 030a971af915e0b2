"""Saved choices are appended, and activate on the database's clock after they are committed."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import Settings

from sessionpersist.handover import routing, snapshot
from sessionpersist.models import DRAINED_GRACE, LoginConfiguration, Revision
from sessionpersist.stores.settings import RedisSettings

REDIS = {"persistence_type": "REDIS", "redis_host": "one"}
DAY = 86_400  # seconds
ACTIVATION = 1.0  # seconds in which a busy machine has saved and read
committed = pytest.mark.django_db(transaction=True)


def configure(**fields: Any) -> None:
    LoginConfiguration(**fields).save()


def read_snapshot() -> tuple[snapshot.Snapshot, float]:
    """What this process knows, and how many seconds reading it took: that exactly it knows the database's clock."""
    begun = time.monotonic()
    return snapshot.current(), time.monotonic() - begun


def database_now() -> Any:
    """The database's time."""
    return Revision.objects.annotate(now=Now()).values_list("now", flat=True).latest("pk")


def delay_of(revision: Revision) -> timedelta:
    """How long from now until a revision activates."""
    assert revision.activates_at is not None
    return timedelta(seconds=(revision.activates_at - database_now()).total_seconds())


def lives() -> list[int | None]:
    """The longest life noted with each revision, newest first, without that of the installation."""
    return list(Revision.objects.filter(initial=False).order_by("-pk").values_list("longest_life", flat=True))


@pytest.mark.django_db
class TestLongestLife:
    """How long sessions may live by the policy, noted where they are."""

    def test_is_none_where_no_policy_gives_any(self) -> None:
        configure(**REDIS, absolute_hours=8, max_sessions=1)
        assert lives() == [None]

    def test_is_the_longest_that_a_policy_gave(self) -> None:
        for days, longest in ((10, 10), (30, 30), (None, 30), (20, 30)):
            configure(**REDIS, idle_minutes=60, remember_days=days)
            assert lives() == [longest * DAY]

    def test_of_a_new_store_is_that_of_the_policy_in_force(self) -> None:
        configure(**REDIS, idle_minutes=60, remember_days=30)
        configure(**REDIS | {"redis_host": "two"}, idle_minutes=60)
        assert lives() == [60 * 60, 30 * DAY]

    def test_of_a_store_that_was_left_stays_as_it_is(self, settings: Settings) -> None:
        """Else one that is long gone would be asked for sessions once more."""
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 0}
        configure(**REDIS)
        Revision.objects.activate()
        configure(**REDIS | {"redis_host": "two"})
        Revision.objects.activate()
        configure(**REDIS | {"redis_host": "three"}, remember_days=30)
        assert lives() == [30 * DAY, 30 * DAY, None]

    def test_of_the_store_of_before_anybody_saved_is_that_of_initial(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "INITIAL": {"remember_days": 30}}
        configuration = LoginConfiguration.get_solo()
        configuration.remember_days = None
        configuration.save()
        assert Revision.objects.get(initial=True).longest_life == 30 * DAY


@pytest.mark.django_db
class TestSince:
    """When staff have decided on the policy in force."""

    def since(self) -> Any:
        return LoginConfiguration.get_solo().policy_since

    def test_is_when_a_policy_was_saved_that_differs(self) -> None:
        configure(**REDIS)
        assert self.since() is None
        configure(**REDIS, idle_minutes=30)
        first = self.since()
        configure(**REDIS | {"redis_host": "two"}, idle_minutes=30)
        assert self.since() == first
        configure(**REDIS, idle_minutes=31)
        assert self.since() > first

    def test_is_when_that_of_initial_was_saved_as_it_is(self, settings: Settings) -> None:
        """Nobody knows since when INITIAL has said so."""
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "INITIAL": {"idle_minutes": 30}}
        configure(**REDIS, idle_minutes=30)
        assert self.since() is not None


@pytest.mark.django_db
class TestAppending:
    @pytest.mark.parametrize(
        "other",
        [
            {**REDIS, "redis_host": "two"},
            {**REDIS, "redis_port": 6380},
            {**REDIS, "redis_database": 1},
            {"persistence_type": "MONGODB", "mongodb_host": "one", "mongodb_database": "sessions"},
            {"persistence_type": "JDBC", "jdbc_database": "default"},
            {"persistence_type": "IN_MEMORY"},
        ],
    )
    def test_another_target_is_another_revision(self, other: dict[str, Any]) -> None:
        configure(**REDIS)
        before = Revision.objects.count()
        configure(**other)
        assert Revision.objects.count() == before + 1

    @pytest.mark.parametrize(
        "change", [{"redis_password": "new"}, {"redis_username": "app"}, {"redis_tls": True}, {}]
    )
    def test_another_way_to_the_same_target_updates_the_revision(self, change: dict[str, Any]) -> None:
        configure(**REDIS)
        before = list(Revision.objects.values_list("pk", "activates_at"))
        configure(**REDIS, **change)
        assert list(Revision.objects.values_list("pk", "activates_at")) == before
        expected = {name.removeprefix("redis_"): value for name, value in change.items()}
        assert Revision.objects.latest("pk").store_settings() == RedisSettings(host="one", **expected)

    def test_way_back_is_a_revision_of_its_own(self) -> None:
        configure(**REDIS)
        configure(persistence_type="IN_MEMORY")
        configure(**REDIS)
        types = list(Revision.objects.order_by("-pk").values_list("persistence_type", flat=True)[:3])
        assert types == ["REDIS", "IN_MEMORY", "REDIS"]

    def test_revision_says_who_saved_it_and_when(self) -> None:
        LoginConfiguration(**REDIS).save(saved_by="ada")
        revision = Revision.objects.latest("pk")
        assert revision.saved_by == "ada"
        assert abs(revision.saved_at - timezone.now()) < timedelta(minutes=1)

    def test_choice_of_a_test_is_in_force_at_once(self) -> None:
        """A TestCase never commits; the tests of a project that save the configuration expect an effect."""
        configure(**REDIS)
        assert routing.current_settings() == RedisSettings(host="one")


class TestActivation:
    pytestmark = committed

    def test_activation_is_the_set_time_after_the_commit(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"ACTIVATION_SECONDS": 100}
        configure(**REDIS)
        assert timedelta(seconds=95) < delay_of(Revision.objects.latest("pk")) <= timedelta(seconds=100)

    def test_activation_is_by_default_twice_the_refresh(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {"REFRESH_SECONDS": 50}
        configure(**REDIS)
        assert timedelta(seconds=95) < delay_of(Revision.objects.latest("pk")) <= timedelta(seconds=100)

    def test_clock_of_this_machine_does_not_matter(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.SESSIONPERSIST = {"ACTIVATION_SECONDS": 100}
        tomorrow = timezone.now() + timedelta(days=1)
        monkeypatch.setattr(timezone, "now", lambda: tomorrow)
        monkeypatch.setattr(time, "time", tomorrow.timestamp)
        configure(**REDIS)
        assert delay_of(Revision.objects.latest("pk")) <= timedelta(seconds=100)

    def test_time_runs_from_the_commit_on(self, settings: Settings) -> None:
        with transaction.atomic():
            configure(**REDIS)
            assert Revision.objects.latest("pk").activates_at is None
            assert snapshot.current().current.settings != RedisSettings(host="one")
        assert Revision.objects.latest("pk").activates_at is not None
        assert routing.current_settings() == RedisSettings(host="one")

    def test_rollback_leaves_nothing(self) -> None:
        configure(persistence_type="IN_MEMORY")
        before = list(Revision.objects.values())
        with transaction.atomic():
            configure(**REDIS)
            transaction.set_rollback(True)
        assert list(Revision.objects.values()) == before
        assert LoginConfiguration.get_solo().persistence_type == "IN_MEMORY"
        assert routing.current_settings().type == "IN_MEMORY"

    def test_switch_that_waits_is_pending_and_then_in_force(self, settings: Settings) -> None:
        configure(persistence_type="IN_MEMORY")
        settings.SESSIONPERSIST = {"ACTIVATION_SECONDS": ACTIVATION, "REFRESH_SECONDS": 60}
        configure(**REDIS)
        known, took = read_snapshot()
        assert known.current.settings.type == "IN_MEMORY"
        assert [each.settings for each in known.pending] == [RedisSettings(host="one")]
        time.sleep(ACTIVATION + took + 0.05)
        assert routing.current_settings() == RedisSettings(host="one")

    def test_later_choice_that_activates_earlier_takes_the_place_of_the_pending_one(
        self, settings: Settings
    ) -> None:
        settings.SESSIONPERSIST = {"ACTIVATION_SECONDS": 100}
        configure(**REDIS)
        settings.SESSIONPERSIST = {"ACTIVATION_SECONDS": 0}
        configure(**{**REDIS, "redis_host": "two"})
        known = snapshot.current()
        assert (known.current.settings, known.pending) == (RedisSettings(host="two"), ())

    def test_saver_that_died_after_the_commit_leaves_a_revision_that_the_next_reader_activates(
        self, settings: Settings
    ) -> None:
        configure(persistence_type="IN_MEMORY")
        settings.SESSIONPERSIST = {"ACTIVATION_SECONDS": ACTIVATION}
        orphan = Revision.objects.create(persistence_type="REDIS", settings={"host": "one"})
        known, took = read_snapshot()
        assert [each.number for each in known.pending] == [orphan.pk]
        orphan.refresh_from_db()
        assert timedelta(0) < delay_of(orphan) <= timedelta(seconds=ACTIVATION)
        time.sleep(ACTIVATION + took + 0.05)
        assert routing.current_settings() == RedisSettings(host="one")

    def test_reader_in_a_transaction_does_not_see_what_is_not_committed(self) -> None:
        configure(persistence_type="IN_MEMORY")
        with transaction.atomic():
            Revision.objects.create(persistence_type="REDIS", settings={"host": "one"})
            snapshot.expire()
            assert routing.current_settings().type == "IN_MEMORY"
            transaction.set_rollback(True)

    def test_revisions_in_force_are_those_that_are_not_drained(self, settings: Settings) -> None:
        for host in ("one", "two"):
            configure(persistence_type="REDIS", redis_host=host)
        Revision.objects.drained(Revision.objects.get(persistence_type="IN_MEMORY").pk, "abandoned")
        Revision.objects.drained(Revision.objects.get(settings__host="one").pk, "drained")
        Revision.objects.filter(settings__host="one").update(drained_at=Now() - DRAINED_GRACE)
        settings.SESSIONPERSIST = {"ACTIVATION_SECONDS": 100}
        for host in ("three", "four"):
            configure(persistence_type="REDIS", redis_host=host)
        hosts = [revision.settings["host"] for revision in Revision.objects.in_force()]
        assert hosts == ["two", "three", "four"]

    def test_one_that_was_just_drained_counts_a_while_longer(self) -> None:
        """A request that began before may still be carrying a session there, and a logout must leave its mark."""
        configure(**REDIS)
        memory = Revision.objects.get(persistence_type="IN_MEMORY")
        Revision.objects.drained(memory.pk, "drained")
        assert memory in Revision.objects.in_force()

    def test_a_drained_store_ends_with_its_earlier_times_and_no_other(self) -> None:
        for host in ("one", "two", "one", "two", "one"):
            configure(persistence_type="REDIS", redis_host=host)
        first, _, second, _, current = Revision.objects.filter(persistence_type="REDIS").order_by("pk")
        assert Revision.objects.drained(second.pk, "drained") == 2
        ended = set(Revision.objects.exclude(drained_at=None).values_list("pk", flat=True))
        assert ended == {first.pk, second.pk}
        assert Revision.objects.drained(current.pk, "abandoned") == 1
        assert Revision.objects.get(pk=first.pk).drained_how == "drained"

    def test_reading_the_revisions_is_one_query(self) -> None:
        configure(**REDIS)
        with connection.execute_wrapper(forbid_more_than(1)):
            Revision.objects.in_force()


def forbid_more_than(limit: int) -> Any:
    """A wrapper of queries that fails at one too many."""
    made = 0

    def wrapper(execute: Any, *arguments: Any) -> Any:
        nonlocal made
        made += 1
        assert made <= limit
        return execute(*arguments)

    return wrapper
