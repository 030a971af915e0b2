"""What the page sends to a host that somebody typed: nothing that its protocol could take for more than a value, not
more often than ten times a minute, and never without a line in the log."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django import forms
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from sessionpersist.configuration import allowed, throttling
from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.configuration.reauthentication import Reauthentication
from sessionpersist.configuration.throttling import TESTS
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.stores import allowed_hosts
from tests.admin.support import PAGE, TEST, create_staff, errors_of, login_of, save, saved_state, shown, typed
from tests.admin.test_page import JSON, text_of
from tests.admin.test_panels import text_of_html
from tests.commands.running import run
from tests.servers import Valkey
from tests.servers.places import free_port
from tests.sizes import first_of_each
from tests.telemetry.reading import sentences

CONTROL = {"line break": "\r\n", "null": "\0", "escape": "\x1b", "C1": "\x85", "line separator": "\u2028"}
FILES = ("ca_file", "client_certificate", "client_key")
TEXTS = [
    *(f"redis_{name}" for name in ("host", "username", "password", *FILES)),
    *(f"redis_sentinel_{name}" for name in ("name", "username", "password")),
    *(f"mongodb_{name}" for name in ("host", "username", "password", "database", "auth_source", *FILES)),
    "mongodb_replica_set",
    "mongodb_alias",
    "jdbc_database",
]
LISTS = {"redis_nodes", "mongodb_nodes"}  # of which each line is refused, see test_forms.py
REFUSED = "This field must not contain control characters, such as line breaks."
TOO_OFTEN = (
    "Each user can try a store 10 times a minute, and you have reached that limit. "
    "Wait a minute, then try again."
)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Something that listens and is no store."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


def filled_in(field: str, port: int = 6379) -> dict[str, Any]:
    """The fields of the type that this one belongs to, with the choices made by which it counts."""
    prefix, _, name = field.partition("_")
    names = {"host": "127.0.0.1", "port": str(port), "username": "app", "password": "pw", "database": "0"}
    if name in FILES:
        names["tls"] = "on"
    if name.startswith("sentinel"):
        names |= {"mode": "SENTINEL", "nodes": f"127.0.0.1:{port}", "sentinel_name": "mymaster"}
    return {
        "persistence_type": prefix.upper(),
        **{f"{prefix}_{name}": value for name, value in names.items()},
    }


def test_the_fields_below_are_all_that_take_text(db: None) -> None:
    fields = shown(LoginConfigurationForm()).items()
    texts = {name for name, bound in fields if isinstance(bound.field, forms.CharField)}
    assert texts - LISTS == set(TEXTS)


@pytest.mark.parametrize("character", CONTROL)
def test_each_control_character_is_refused_in_each_field(character: str, staff: User) -> None:
    for field in TEXTS:
        data = filled_in(field) | {field: f"a{CONTROL[character]}b"}
        assert LoginConfigurationForm(typed(**data)).errors == {field: [REFUSED]}, field


@pytest.mark.parametrize("character", ["line break"])
@pytest.mark.parametrize("field", first_of_each(TEXTS, lambda field: field.partition("_")[0]))
def test_a_control_character_is_refused_at_its_field_and_nobody_is_asked(
    field: str, character: str, browser: Client, listener: socket.socket
) -> None:
    data = filled_in(field, listener.getsockname()[1]) | {field: f"a{CONTROL[character]}b"}
    before = saved_state()
    assert errors_of(save(browser, **data)) == {field: [REFUSED]}
    found = browser.post(TEST, typed(**data), headers=JSON).json()
    assert [each["message"] for each in found["errors"][field]] == [REFUSED]
    assert saved_state() == before
    with pytest.raises(TimeoutError):
        listener.accept()


def test_the_command_refuses_it_too(db: None) -> None:
    arguments = ["--type", "REDIS", "--host", "127.0.0.1", "--username", "a\r\nSET x y"]
    done = run("login_configuration", "set", *arguments)
    assert REFUSED in str(done.error)
    assert not Revision.objects.exists()


def test_an_earlier_choice_that_has_one_can_not_be_switched_back_to(browser: Client) -> None:
    LoginConfiguration(persistence_type="REDIS", redis_host="127.0.0.1", redis_username="a\r\nb").save()
    LoginConfiguration(persistence_type="IN_MEMORY").save()
    number = Revision.objects.get(persistence_type="REDIS").pk
    address = reverse("admin:sessionpersist_loginconfiguration_switch_back", args=[number])
    response = browser.post(address, {"edition": LoginConfiguration.get_solo().edition})
    assert REFUSED in text_of(response)
    assert Revision.objects.latest("pk").persistence_type == "IN_MEMORY"


ELSEWHERE = {"redis_host": "inner.example.org", "redis_password": "env:SESSIONPERSIST_OTHER"}


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> list[str]:
    """The hosts and variables that somebody wanted to know of."""
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ALLOWED_STORE_HOSTS": ["store.example.org"]}
    asked: list[str] = []

    def refuse(host: str, *args: Any, **kwargs: Any) -> None:
        asked.append(host)
        raise StoreMisconfigured("This host is not allowed.", "host")

    monkeypatch.setattr(allowed_hosts, "check_host", refuse)
    monkeypatch.setattr(allowed, "check_variable", asked.append)
    return asked


@pytest.mark.django_db
def test_who_does_not_confirm_a_save_has_nothing_looked_up(
    browser: Client, looked_up: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    LoginConfiguration(persistence_type="REDIS", **ELSEWHERE).save()
    LoginConfiguration(persistence_type="IN_MEMORY").save()
    number = Revision.objects.get(persistence_type="REDIS").pk
    data = typed(persistence_type="REDIS", **ELSEWHERE)
    monkeypatch.setattr(Reauthentication, "confirm", lambda self, action: False)
    before = saved_state()
    for address in (PAGE, reverse("admin:sessionpersist_loginconfiguration_switch_back", args=[number])):
        assert browser.post(address, data).status_code == 200
    assert looked_up == []
    assert saved_state() == before


@pytest.mark.django_db
class TestTenAMinute:
    """At a port where nobody listens, which is quickly told."""

    @pytest.fixture(autouse=True)
    def a_long_minute(self, monkeypatch: pytest.MonkeyPatch) -> datetime:
        """However busy the machine is, what was tried so far was tried within the minute. When it ends."""
        begun = timezone.now()
        monkeypatch.setattr(throttling, "timezone", SimpleNamespace(now=lambda: begun))
        return begun

    @pytest.fixture
    def data(self, db: None) -> dict[str, Any]:
        return typed(persistence_type="REDIS", redis_host="127.0.0.1", redis_port=str(free_port()))

    @pytest.fixture
    def nine(self, staff: User, a_long_minute: datetime) -> None:
        """As many that another process has noted."""
        for _ in range(TESTS.times - 1):
            assert TESTS.note(staff, "Tested the connection.", "REDIS")

    @pytest.fixture
    def tested(self, nine: None, browser: Client, data: dict[str, Any]) -> None:
        """Ten times already."""
        assert browser.post(TEST, data, headers=JSON).status_code == 200

    def test_the_next_asks_nobody_and_the_script_is_told(
        self, browser: Client, data: dict[str, Any], listener: socket.socket
    ) -> None:
        for _ in range(TESTS.times):
            assert browser.post(TEST, data, headers=JSON).status_code == 200
        response = browser.post(TEST, data | {"redis_port": str(listener.getsockname()[1])}, headers=JSON)
        assert response.status_code == 429
        found = response.json()
        assert (found["ok"], found["steps"], found["errors"]) == (False, [], {})
        assert TOO_OFTEN in found["html"]
        assert "correct the marked fields" not in found["html"]
        with pytest.raises(TimeoutError):
            listener.accept()

    def test_without_the_script_the_page_says_so_and_keeps_what_was_typed(
        self, tested: None, browser: Client, data: dict[str, Any]
    ) -> None:
        response = browser.post(TEST, data)
        assert response.status_code == 429
        assert TOO_OFTEN in text_of_html(response.content.decode())
        assert data["redis_port"] in response.content.decode()

    def test_saving_is_a_look_as_well(self, tested: None, browser: Client, data: dict[str, Any]) -> None:
        response = browser.post(PAGE, data)
        assert response.status_code == 429
        assert TOO_OFTEN in text_of_html(response.content.decode())
        assert not Revision.objects.exists()

    def test_a_save_that_fails_counts(self, nine: None, browser: Client, data: dict[str, Any]) -> None:
        assert browser.post(PAGE, data).status_code == 200
        assert browser.post(PAGE, data).status_code == 429

    def test_a_save_that_succeeds_does_not(self, nine: None, browser: Client) -> None:
        for _ in range(2):
            assert save(browser, persistence_type="IN_MEMORY").status_code == 302

    def test_switching_back_is_one_too(self, tested: None, browser: Client) -> None:
        LoginConfiguration(persistence_type="REDIS", redis_host="127.0.0.1").save()
        LoginConfiguration(persistence_type="IN_MEMORY").save()
        number = Revision.objects.get(persistence_type="REDIS").pk
        address = reverse("admin:sessionpersist_loginconfiguration_switch_back", args=[number])
        response = browser.post(address, {"edition": LoginConfiguration.get_solo().edition})
        assert response.status_code == 429
        assert TOO_OFTEN in text_of_html(response.content.decode())

    def test_a_refused_one_does_not_count(self, tested: None, browser: Client, data: dict[str, Any]) -> None:
        browser.post(TEST, data, headers=JSON)
        assert LogEntry.objects.filter(object_id=TESTS.name).count() == TESTS.times

    def test_others_are_not_held_up(self, tested: None, data: dict[str, Any]) -> None:
        other = Client()
        other.force_login(create_staff("grace", "change_loginconfiguration"))
        assert other.post(TEST, data, headers=JSON).status_code == 200

    def test_a_minute_later_it_goes_on(
        self, a_long_minute: datetime, tested: None, browser: Client, data: dict[str, Any]
    ) -> None:
        earlier = a_long_minute - timedelta(seconds=TESTS.seconds + 1)
        LogEntry.objects.update(action_time=earlier)
        assert browser.post(TEST, data, headers=JSON).status_code == 200

    @pytest.mark.parametrize("address", [TEST, PAGE], ids=["test", "save"])
    @pytest.mark.parametrize("changes", [{"redis_port": "0"}, {"edition": "4711"}], ids=["port", "overtaken"])
    def test_what_is_invalid_counts(
        self, nine: None, browser: Client, data: dict[str, Any], changes: dict[str, str], address: str
    ) -> None:
        assert browser.post(address, data | changes, headers=JSON).status_code == 200
        assert browser.post(address, data | changes, headers=JSON).status_code == 429

    @pytest.mark.parametrize("address", [TEST, PAGE], ids=["test", "save"])
    def test_the_next_looks_up_no_host_and_no_variable(
        self, tested: None, browser: Client, data: dict[str, Any], looked_up: list[str], address: str
    ) -> None:
        browser.post(address, data | ELSEWHERE, headers=JSON)
        assert looked_up == []


def test_those_that_are_made_at_the_same_moment_are_counted_too(committing_browser: Client) -> None:
    """On connections of their own, as processes have."""
    data = typed(persistence_type="REDIS", redis_host="127.0.0.1", redis_port=str(free_port()))

    def test(_: int) -> int:
        client = Client()
        client.cookies = committing_browser.cookies
        try:
            return client.post(TEST, data, headers=JSON).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(test, range(2 * TESTS.times)))
    assert set(codes) == {200, 429}
    assert codes.count(200) <= TESTS.times


@pytest.mark.django_db
class TestTheRecord:
    def test_each_test_is_a_line_with_who_and_the_target_and_no_secret(
        self, browser: Client, staff: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        login = login_of(Valkey)
        with caplog.at_level(logging.INFO, "sessionpersist.audit"):
            browser.post(TEST, typed(**login), headers=JSON)
        target = f"REDIS at {login['redis_host']}:{login['redis_port']}, database {login['redis_database']}"
        assert f"store tried: user {staff.pk}, {target}" in sentences(caplog.messages)
        assert login["redis_password"] not in caplog.text

    def test_one_too_many_is_a_line_as_well(
        self, browser: Client, staff: User, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = typed(persistence_type="REDIS", redis_host="127.0.0.1", redis_port=str(free_port()))
        with caplog.at_level(logging.INFO, "sessionpersist.audit"):
            for _ in range(TESTS.times + 1):
                browser.post(TEST, data, headers=JSON)
        lines = [line for line in sentences(caplog.messages) if line.startswith("store ")]
        assert len(lines) == TESTS.times + 1
        assert lines[-1].startswith(f"store not tried, too often: user {staff.pk}, REDIS at 127.0.0.1:")

    @pytest.mark.parametrize("address", [TEST, PAGE], ids=["test", "save"])
    def test_a_host_that_is_refused_is_a_line_with_its_name(
        self,
        browser: Client,
        staff: User,
        caplog: pytest.LogCaptureFixture,
        looked_up: list[str],
        address: str,
    ) -> None:
        data = typed(persistence_type="REDIS", **ELSEWHERE)
        with caplog.at_level(logging.INFO, "sessionpersist.audit"):
            browser.post(address, data, headers=JSON)
        target = "REDIS at inner.example.org:6379, database 0"
        assert f"store tried: user {staff.pk}, {target}" in sentences(caplog.messages)
        assert LogEntry.objects.get().object_repr == target
        assert "env:" not in caplog.text

    @pytest.mark.parametrize(
        ("changes", "target"),
        [
            ({"persistence_type": "REDIS", "redis_host": "redis://app:s3cret@h"}, "REDIS"),
            ({"persistence_type": "MONGODB", "mongodb_host": "h", "mongodb_database": "s3cret x"}, "MONGODB"),
            ({"persistence_type": "JDBC", "jdbc_database": "s3cret"}, "JDBC"),
            ({"persistence_type": "s3cret"}, "no known type"),
        ],
    )
    def test_what_is_invalid_is_a_line_with_the_type_alone(
        self,
        browser: Client,
        staff: User,
        caplog: pytest.LogCaptureFixture,
        changes: dict[str, str],
        target: str,
    ) -> None:
        with caplog.at_level(logging.INFO, "sessionpersist.audit"):
            browser.post(TEST, typed(**changes), headers=JSON)
        assert f"store tried: user {staff.pk}, {target}" in sentences(caplog.messages)
        assert LogEntry.objects.get().object_repr == target
        assert "s3cret" not in caplog.text

    def test_the_admin_s_log_names_the_target_and_links_to_the_page(self, browser: Client) -> None:
        data = typed(persistence_type="REDIS", redis_host="127.0.0.1", redis_port=str(port := free_port()))
        browser.post(TEST, data, headers=JSON)
        entry = LogEntry.objects.get()
        assert (entry.object_repr, entry.get_change_message()) == (
            f"REDIS at 127.0.0.1:{port}, database 0",
            "Tested the connection.",
        )
        assert browser.get(str(entry.get_admin_url())).headers["Location"] == PAGE
