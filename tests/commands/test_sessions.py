"""``manage.py sessions``."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client
from pytest_django import Settings

from sessionpersist import sessions
from sessionpersist.engine import SessionStore
from sessionpersist.handover import snapshot
from sessionpersist.models import LoginConfiguration, Node
from sessionpersist.session.reasons import Reason
from sessionpersist.session.sealing import stored_key
from tests.commands.running import Result, run
from tests.servers.places import free_port
from tests.telemetry.reading import sentences

pytestmark = pytest.mark.django_db

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture(autouse=True)
def at_once(own_settings: None, settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 0, "GUARD_SECONDS": 0}


@pytest.fixture
def grace(db: None) -> User:
    return User.objects.create_user("grace.hopper", "grace@example.org", "compiler-1952")


def logged_in(user: User) -> Client:
    client = Client(headers={"user-agent": FIREFOX})
    client.force_login(user)
    return client


def lives(client: Client) -> bool:
    return SessionStore().exists(client.cookies["sessionid"].value)


def manage(*arguments: str) -> Result:
    return run("sessions", *arguments)


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("builtins.input", lambda question: text)


class TestList:
    def test_how_many_each_store_has(self, grace: User) -> None:
        logged_in(grace)
        LoginConfiguration(persistence_type="JDBC", jdbc_database="default").save()
        snapshot.expire()
        logged_in(grace)
        logged_in(grace)
        found = json.loads(manage("list", "--json").output)
        assert [(each["sessions"], each["at_least"], each["moving"]) for each in found] == [
            (2, False, False),
            (1, False, True),
        ]
        lines = manage("list").output.splitlines()
        assert lines[0].endswith(": 2")
        assert lines[1].endswith(": 1 (still to move)")

    def test_those_of_a_user_by_name_or_key_and_no_key_of_a_session(self, grace: User) -> None:
        client = logged_in(grace)
        logged_in(User.objects.create_user("other"))
        (mine,) = sessions.of(grace)
        result = manage("list", "--user", "grace.hopper")
        assert result.output.startswith(f"{mine.id}  ")
        assert len(result.output.splitlines()) == 1
        assert manage("list", "--user", str(grace.pk)) == result
        (found,) = json.loads(manage("list", "--user", "grace.hopper", "--json").output)
        assert (found["id"], found["begun"]) == (mine.id, mine.begun.isoformat())
        key = client.cookies["sessionid"].value
        for secret in (key, stored_key(key)[:12]):
            assert secret not in f"{result.everything} {found}"

    def test_a_user_who_is_nowhere(self, grace: User) -> None:
        assert manage("list", "--user", "grace.hopper").output == "This user is not signed in anywhere.\n"
        assert json.loads(manage("list", "--user", "grace.hopper", "--json").output) == []

    def test_a_user_who_is_not_there(self) -> None:
        assert manage("list", "--user", "nobody").error == "There is no user with this name or primary key."

    def test_a_site_without_a_list(self, grace: User, settings: Settings) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ROSTER": False}
        assert "keeps no list" in str(manage("list", "--user", "grace.hopper").error)

    def test_a_store_that_is_down_is_no_empty_one(self, grace: User) -> None:
        LoginConfiguration(
            persistence_type="REDIS", redis_host="127.0.0.1", redis_port=free_port(), redis_password="s3cret"
        ).save()
        result = manage("list", "--user", "grace.hopper")
        assert result.error is not None
        assert "not signed in" not in result.everything
        assert "s3cret" not in result.everything

    def test_in_the_place_of_its_number_it_says_what_is_wrong(self) -> None:
        LoginConfiguration(persistence_type="REDIS", redis_host="127.0.0.1", redis_port=free_port()).save()
        redis, memory = json.loads(manage("list", "--json").output)
        assert (redis["sessions"], redis["at_least"], memory["sessions"]) == (None, False, 0)
        assert "the connection was refused" in redis["problem"]
        assert manage("list").output.startswith(f"{redis['store']}: {redis['problem']}\n")

    def test_another_memory_than_that_of_the_site_is_no_empty_one(self, grace: User) -> None:
        Node.objects.create(name="here", process=1, revision=0, memory="0" * 32)
        assert "This is not the memory" in str(manage("list", "--user", "grace.hopper").error)


class TestEnd:
    def test_all_of_a_user_and_nobody_elses(self, grace: User, caplog: pytest.LogCaptureFixture) -> None:
        hers, other = [logged_in(grace), logged_in(grace)], logged_in(User.objects.create_user("other"))
        with caplog.at_level(logging.INFO, "sessionpersist.audit"):
            result = manage("end", "--user", "grace.hopper", "--yes")
        assert (result.output, result.error) == ("grace.hopper: 2 ended.\n", None)
        assert [lives(each) for each in (*hers, other)] == [False, False, True]
        ended = SessionStore(hers[0].cookies["sessionid"].value)
        ended.load()
        assert ended.ended_reason == Reason.BY_STAFF
        assert any(
            line.startswith(f"ended by staff: 2 of user {grace.pk}, by ") and line.endswith("(command line)")
            for line in sentences(caplog.messages)
        )

    def test_one_by_its_id(self, grace: User) -> None:
        first, second = logged_in(grace), logged_in(grace)
        mine = sessions.of(grace, first.session)[0]
        result = manage("end", "--user", "grace.hopper", "--session", mine.id, "--json")
        assert json.loads(result.output) == {"user": "grace.hopper", "ended": 1}
        assert (lives(first), lives(second)) == (False, True)

    def test_an_id_of_another_user_ends_nothing(self, grace: User) -> None:
        other = User.objects.create_user("other")
        his = logged_in(other)
        (one,) = sessions.of(other)
        result = manage("end", "--user", "grace.hopper", "--session", one.id)
        assert result.error == f"grace.hopper has no such session: {one.id}."
        assert lives(his)

    @pytest.mark.parametrize(("typed", "ended"), [("yes", True), ("no", False), ("", False)])
    def test_all_are_ended_only_once_that_is_confirmed(
        self, grace: User, monkeypatch: pytest.MonkeyPatch, typed: str, ended: bool
    ) -> None:
        hers = logged_in(grace)
        answer(monkeypatch, typed)
        result = manage("end", "--user", "grace.hopper")
        assert result.error == (None if ended else "Nothing was ended.")
        assert lives(hers) is not ended


class TestEndEverybody:
    def test_all_are_logged_out(self, grace: User) -> None:
        hers = logged_in(grace)
        assert json.loads(manage("end-everybody", "--yes", "--json").output) == {"ended": "everybody"}
        snapshot.expire()
        assert not lives(hers)

    def test_it_asks_no_store_and_says_when_it_holds(self, settings: Settings) -> None:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 10}
        Node.objects.create(name="here", process=1, revision=0, memory="0" * 32)
        said = "Everybody is logged out in 10 s, on all nodes at the same moment.\n"
        assert manage("end-everybody", "--yes") == Result(said)

    def test_nodes_that_know_nothing_of_it_are_named(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Node.objects.create(name="old", process=1, revision=1, sealing=2)
        answer(monkeypatch, "no")
        manage("end-everybody")
        assert "An older release still runs on old." in capsys.readouterr().err

    def test_nobody_is_unless_that_is_confirmed(self, grace: User, monkeypatch: pytest.MonkeyPatch) -> None:
        hers = logged_in(grace)
        answer(monkeypatch, "no")
        assert manage("end-everybody").error == "Nothing was ended."
        snapshot.expire()
        assert lives(hers)


@pytest.mark.parametrize(
    "arguments", [["list"], ["end", "--user", "grace.hopper", "--yes"], ["end-everybody", "--yes"]]
)
def test_without_its_database_it_says_so(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any, **options: Any) -> Any:
        raise OperationalError("could not connect: password s3cret")

    monkeypatch.setattr(LoginConfiguration, "get_solo", fail)
    error = manage(*arguments).error
    assert error == "The login configuration could not be read (OperationalError). Has “migrate” been run?"
