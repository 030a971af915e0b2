"""Saving: what is accepted, what stays, what the history and the log keep, and who is refused."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.signals import got_request_exception
from django.db import connections
from django.http import HttpRequest
from django.test import Client
from django.urls import resolve
from django.views.debug import ExceptionReporter
from pytest_django import DjangoAssertNumQueries, Settings

from sessionpersist.configuration import probing
from sessionpersist.configuration.forms import LoginConfigurationForm, Overtaken
from sessionpersist.handover import routing
from sessionpersist.models import LoginConfiguration, Revision
from tests.admin.support import (
    PAGE,
    create_staff,
    errors_of,
    login_of,
    save,
    saved_state,
    shown,
    switch,
    typed,
)
from tests.admin.test_page import text_of
from tests.commands.running import run
from tests.servers import MongoDB, Redis, Valkey, shared

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("cls", "tls"), [(Valkey, False), (Redis, False), (MongoDB, False), (MongoDB, True)])
def test_what_the_probe_accepts_is_saved_with_a_revision(
    browser: Client, settings: Settings, cls: Any, tls: bool
) -> None:
    login = login_of(cls, tls=tls)
    if tls:
        settings.SESSIONPERSIST = {
            **settings.SESSIONPERSIST,
            "TLS_CA_FILE": str(shared(cls, tls=True).ca_file),
        }
    response = save(browser, **login)
    assert response.status_code == 302
    assert response["Location"] == PAGE
    saved, revision = LoginConfiguration.get_solo(), Revision.objects.latest("pk")
    for name, value in login.items():
        assert str(getattr(saved, name)) == str(value if name[-4:] != "_tls" else True)
    assert (saved.edition, saved.saved_by) == (1, "ada")
    assert revision.store_settings() == saved.store_settings()
    assert revision.saved_by == "ada"


def test_a_project_database_is_saved(browser: Client) -> None:
    assert save(browser, persistence_type="JDBC", jdbc_database="default").status_code == 302
    assert LoginConfiguration.get_solo().jdbc_database == "default"


@pytest.mark.usefixtures("switches_at_once")
def test_who_switches_the_store_stays_logged_in(browser: Client) -> None:
    for choice in (
        {"persistence_type": "JDBC", "jdbc_database": "default"},
        {"persistence_type": "IN_MEMORY"},
    ):
        switch(browser, **choice)
        assert routing.current_settings().type == choice["persistence_type"]
        assert browser.get(PAGE).status_code == 200


def test_going_back_to_memory_keeps_what_was_entered_for_the_server(browser: Client) -> None:
    login = login_of(Valkey)
    save(browser, **login)
    assert save(browser, persistence_type="IN_MEMORY").status_code == 302
    saved = LoginConfiguration.get_solo()
    assert (saved.persistence_type, saved.redis_port) == ("IN_MEMORY", login["redis_port"])
    assert saved.redis_password == login["redis_password"]


def test_fields_of_another_type_are_neither_checked_nor_saved(browser: Client) -> None:
    nonsense = {"redis_host": "a b", "redis_port": "x", "redis_password": "pw", "mongodb_database": "$"}
    assert save(browser, persistence_type="IN_MEMORY", **nonsense).status_code == 302
    saved = LoginConfiguration.get_solo()
    assert (saved.redis_host, saved.redis_port, saved.redis_password) == ("", 6379, "")
    assert LogEntry.objects.get().get_change_message() == "No fields changed."


def test_fields_of_another_type_may_be_left_out(browser: Client) -> None:
    data = {"persistence_type": "IN_MEMORY", "edition": "0"}
    assert browser.post(PAGE, data).status_code == 302
    assert LoginConfiguration.get_solo().redis_port == 6379


@pytest.mark.parametrize(
    ("host", "kept"),
    [
        ("::1", "::1"),
        ("[::1]", "::1"),
        (" cache ", "cache"),
        ("cache_1", "cache_1"),
        ("büro.de.", "büro.de."),
    ],
)
def test_hosts_that_are_fine(db: None, host: str, kept: str) -> None:
    form = LoginConfigurationForm(typed(persistence_type="REDIS", redis_host=host), probe=False)
    assert form.is_valid(), form.errors
    assert form.save().redis_host == kept


# Passwords.


def test_a_password_left_empty_stays(browser: Client) -> None:
    login = login_of(Valkey)
    save(browser, **login)
    save(browser, persistence_type="IN_MEMORY")
    assert save(browser, persistence_type="REDIS").status_code == 302
    assert LoginConfiguration.get_solo().redis_password == login["redis_password"]


@pytest.mark.parametrize("change", [{"redis_host": "localhost"}, {"redis_port": "1"}])
def test_the_saved_password_is_not_sent_elsewhere(
    browser: Client, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    save(browser, **login_of(Valkey))
    monkeypatch.setattr(probing, "probe", lambda *args, **kwargs: pytest.fail("somebody was asked"))
    errors = errors_of(save(browser, **change))
    assert "Enter the password again" in errors["redis_password"][0]


def test_the_saved_password_is_not_sent_in_the_clear_where_it_was_saved_for_tls(db: None) -> None:
    saved = {"redis_host": "h", "redis_password": "pw", "redis_tls": True, "persistence_type": "REDIS"}
    LoginConfiguration(pk=1, **saved).save()
    form = LoginConfigurationForm(typed(redis_tls=""), probe=False)
    assert "Enter the password again" in form.errors["redis_password"][0]


@pytest.mark.parametrize("prefix", ["redis", "mongodb"])
def test_a_password_is_removed_on_demand(db: None, prefix: str) -> None:
    saved = {f"{prefix}_host": "h", f"{prefix}_username": "u", f"{prefix}_password": "pw"}
    LoginConfiguration(pk=1, persistence_type=prefix.upper(), mongodb_database="d", **saved).save()
    changes = {f"{prefix}_username": "", f"{prefix}_password_clear": "on"}
    form = LoginConfigurationForm(typed(**changes), probe=False)
    assert form.is_valid(), form.errors
    form.save()
    assert getattr(LoginConfiguration.get_solo(), f"{prefix}_password") == ""
    assert f"{prefix}_password_clear" not in shown(LoginConfigurationForm())


def test_a_password_is_not_both_entered_and_removed(db: None) -> None:
    LoginConfiguration(pk=1, persistence_type="REDIS", redis_host="h", redis_password="pw").save()
    form = LoginConfigurationForm(typed(redis_password_clear="on", redis_password="new"), probe=False)
    assert "Either" in form.errors["redis_password"][0]


def test_a_password_is_read_from_the_environment(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    login = login_of(Valkey)
    monkeypatch.setenv("SESSIONPERSIST_STORE_PASSWORD", login["redis_password"])
    assert save(browser, **login | {"redis_password": "env:SESSIONPERSIST_STORE_PASSWORD"}).status_code == 302
    assert LoginConfiguration.get_solo().redis_password == "env:SESSIONPERSIST_STORE_PASSWORD"


def test_no_password_is_ever_rendered(browser: Client) -> None:
    login = login_of(Valkey)
    save(browser, **login)
    history = browser.get(f"{PAGE}1/history/")
    for response in (
        browser.get(PAGE),
        browser.get(f"{PAGE}?check=now"),
        history,
        save(browser, redis_port="0"),
    ):
        text = response.content.decode()
        assert response.status_code == 200
        assert login["redis_password"] not in text
        assert "gAAAA" not in text  # how the encrypted one begins
    assert "Saved; leave empty to keep it" in browser.get(PAGE).content.decode()
    assert 'autocomplete="new-password"' in browser.get(PAGE).content.decode()


def test_a_password_that_was_typed_has_to_be_typed_again(browser: Client) -> None:
    page = save(browser, persistence_type="REDIS", redis_port="0", redis_password="typed-pw").content.decode()
    assert "typed-pw" not in page
    assert "enter it again" in page


@pytest.mark.parametrize("address", [PAGE, f"{PAGE}test/"])
def test_the_report_of_a_crash_has_no_password(
    browser: Client, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Django mails what was posted to ADMINS, but for what a view declares to be sensitive."""
    reports: list[str] = []

    def crash(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a fault of ours")

    def note(request: HttpRequest, **kwargs: Any) -> None:
        reports.append(ExceptionReporter(request, *sys.exc_info()).get_traceback_html())

    monkeypatch.setattr(probing, "probe", crash)
    got_request_exception.connect(note)
    try:
        with pytest.raises(RuntimeError):
            browser.post(address, typed(persistence_type="REDIS", redis_host="h", redis_password="typed-pw"))
    finally:
        got_request_exception.disconnect(note)
    [report] = reports
    assert "redis_password" in report
    assert "typed-pw" not in report


# The log.


def test_the_log_has_field_names_and_the_store_and_no_other_value(browser: Client, staff: User) -> None:
    login = login_of(Valkey)
    address = f"{login['redis_host']}:{login['redis_port']}"
    save(browser, **login)
    entry = LogEntry.objects.get()
    fields = ["Session persistence", "REDIS: Host", "REDIS: Port", "REDIS: Password"]
    store = LoginConfiguration.get_solo().store_settings().describe()
    changed = {"name": "store", "object": store, "fields": fields}
    assert json.loads(entry.change_message) == [{"changed": changed}]
    assert entry.get_change_message().endswith(
        f"and REDIS: Password for store “REDIS at {address}, database 0”."
    )
    assert (entry.user, entry.object_repr) == (staff, "Login Configuration")
    assert login["redis_password"] not in entry.change_message + entry.object_repr


def test_a_password_left_empty_is_not_logged_as_changed(browser: Client) -> None:
    save(browser, **login_of(Valkey))
    save(browser, redis_database="1")
    assert "Password" not in LogEntry.objects.latest("pk").change_message


def test_the_saved_password_typed_again_is_not_logged_as_changed(browser: Client) -> None:
    login = login_of(Valkey)
    save(browser, **login)
    save(browser, redis_database="1", redis_password=login["redis_password"])
    assert "Password" not in LogEntry.objects.latest("pk").change_message


def test_what_was_done_by_command_is_in_the_history(browser: Client, staff: User, settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 0, "GUARD_SECONDS": 0}
    assert run("login_configuration", "set", "--type", "JDBC", "--database", "default").error is None
    assert not LogEntry.objects.exists(), "the log has users of the site only"
    history = text_of(browser.get(f"{PAGE}1/history/"))
    who = LoginConfiguration.get_solo().saved_by
    assert who.endswith("(command line)")
    assert re.search(rf"Saved last .* by {re.escape(who)}\.", history)
    assert f"{who} In-Memory JDBC, database “default”" in history
    Revision.objects.in_force()  # in a test nothing is ever committed: who reads it first sets its time
    assert run("drain_sessions", "--abandon", "--no-input").error is None
    browser.force_login(staff)  # what was abandoned may be the session of the staff
    assert "abandoned 0 s ago" in text_of(browser.get(f"{PAGE}1/history/"))


def test_the_history_page_and_the_links_of_the_log_work(browser: Client) -> None:
    save(browser, persistence_type="JDBC", jdbc_database="default")
    response = browser.get(f"{PAGE}1/history/")
    assert "Session persistence" in response.content.decode()
    link = LogEntry.objects.get().get_admin_url()
    assert link is not None
    assert browser.get(link)["Location"] == PAGE


def test_the_history_page_comes_before_anything_was_saved_too(browser: Client) -> None:
    response = browser.get(f"{PAGE}1/history/")
    assert response.status_code == 200
    assert "No change yet." in response.content.decode()


# Two people at once.


def test_a_form_that_was_overtaken_is_refused_and_keeps_what_was_typed(browser: Client) -> None:
    mine = typed(persistence_type="REDIS", redis_host="mine.example")
    LoginConfiguration(pk=1, persistence_type="JDBC", jdbc_database="default").save(saved_by="grace")
    before = saved_state()
    response: Any = browser.post(PAGE, mine)
    [message] = errors_of(response)["__all__"]
    assert message.startswith("grace saved this configuration on ")
    assert "JDBC, database “default”" in message
    assert "mine.example" in response.content.decode()
    assert saved_state() == before


def test_who_was_overtaken_may_save_once_more(browser: Client) -> None:
    mine = typed(persistence_type="JDBC", jdbc_database="default")
    LoginConfiguration(pk=1).save()
    response: Any = browser.post(PAGE, mine)
    assert "Somebody else saved this configuration" in errors_of(response)["__all__"][0]
    again = mine | {"edition": response.context_data["form"]["edition"].value()}
    assert browser.post(PAGE, again).status_code == 302
    assert LoginConfiguration.get_solo().persistence_type == "JDBC"


def test_who_is_overtaken_while_the_store_is_tried_is_refused_too(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(*args: Any, **kwargs: Any) -> list[Any]:
        LoginConfiguration(pk=1, edition=6).save(saved_by="grace")
        return []

    monkeypatch.setattr(probing, "probe", probe)
    response = save(browser, persistence_type="JDBC", jdbc_database="default")
    assert "grace saved" in errors_of(response)["__all__"][0]
    assert LoginConfiguration.get_solo().persistence_type == "IN_MEMORY"
    assert not LogEntry.objects.exists()


def test_without_a_request_being_overtaken_is_an_exception(db: None) -> None:
    form = LoginConfigurationForm(typed(), probe=False)
    assert form.is_valid()
    LoginConfiguration(pk=1).save(saved_by="grace")
    with pytest.raises(Overtaken, match="grace"):
        form.save()


# Who may.


@pytest.mark.parametrize("address", [PAGE, f"{PAGE}test/"])
def test_a_post_without_the_permission_is_refused(address: str) -> None:
    client = Client()
    client.force_login(create_staff("eve", "view_loginconfiguration"))
    before = saved_state()
    assert client.post(address, typed(persistence_type="JDBC")).status_code == 403
    assert saved_state() == before


@pytest.mark.parametrize("address", [PAGE, f"{PAGE}test/"])
def test_a_post_without_the_token_is_refused(staff: User, address: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff)
    before = saved_state()
    assert client.post(address, typed(persistence_type="JDBC")).status_code == 403
    assert saved_state() == before


@pytest.mark.parametrize("address", [PAGE, f"{PAGE}test/", f"{PAGE}status/", f"{PAGE}progress/"])
def test_nobody_gets_in_without_a_login(db: None, client: Client, address: str) -> None:
    for response in (client.get(address), client.post(address, {})):
        assert response.status_code == 302
        assert "/login/" in response["Location"]


@pytest.mark.parametrize("address", [PAGE, f"{PAGE}status/", f"{PAGE}progress/"])
def test_staff_without_any_permission_see_nothing(db: None, address: str) -> None:
    client = Client()
    client.force_login(create_staff("eve"))
    assert client.get(address).status_code == 403


def test_other_methods_are_not_allowed(browser: Client) -> None:
    before = saved_state()
    assert browser.get(f"{PAGE}test/", typed(persistence_type="JDBC")).status_code == 405
    assert browser.put(PAGE).status_code == 405
    assert browser.put(f"{PAGE}status/").status_code == 405
    assert browser.post(f"{PAGE}progress/").status_code == 405
    assert browser.delete(f"{PAGE}abandon/1/").status_code == 405
    assert browser.delete(f"{PAGE}switch-back/1/").status_code == 405
    assert browser.get(f"{PAGE}add/").status_code == 403
    assert browser.post(f"{PAGE}1/delete/", {"post": "yes"}).status_code == 403
    assert saved_state() == before


def test_not_even_a_superuser_adds_or_deletes_it(db: None) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    before = saved_state()
    assert client.get(f"{PAGE}add/").status_code == 403
    assert client.post(f"{PAGE}1/delete/", {"post": "yes"}).status_code == 403
    assert saved_state() == before


def test_the_log_and_the_save_are_one(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from sessionpersist.admin import LoginConfigurationAdmin

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no log")

    monkeypatch.setattr(LoginConfigurationAdmin, "log_change", fail)
    before = saved_state()
    with pytest.raises(RuntimeError, match="no log"):
        save(browser, persistence_type="JDBC", jdbc_database="default")
    assert saved_state() == before


@pytest.mark.parametrize("address", [PAGE, f"{PAGE}test/", f"{PAGE}status/"])
def test_the_page_is_outside_atomic_requests(address: str) -> None:
    """A probe that fails on the project's own database would leave the transaction of the request broken."""
    assert resolve(address).func._non_atomic_requests == set(connections)  # type: ignore[attr-defined]


def test_the_page_asks_the_database_few_questions(
    browser: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for index in range(25):
        LoginConfiguration(pk=1, edition=index, persistence_type=["JDBC", "IN_MEMORY"][index % 2]).save()
    browser.get(PAGE)
    with django_assert_max_num_queries(14):
        response: Any = browser.get(PAGE)
    assert len(response.context_data["history"]) == 20
