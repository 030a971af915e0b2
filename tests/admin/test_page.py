"""What the page shows: the status, the test of a connection, the databases, the history."""

from __future__ import annotations

import re
import socket
from dataclasses import fields
from datetime import timedelta
from html import unescape
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from django.db import connections
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoDbBlocker, Settings

from sessionpersist.configuration import databases, probing, pulse
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.stores.probe import Step
from sessionpersist.stores.settings import TYPES
from tests.admin.support import (
    PAGE,
    STATUS,
    TEST,
    create_staff,
    errors_of,
    login_of,
    save,
    saved_state,
    start_over,
    typed,
)
from tests.engine.support import extra_database, postgres_values, sqlite_values
from tests.servers import MongoDB, Postgres, Valkey, require, shared
from tests.servers.places import free_port
from tests.stores.contract import eventually

JSON = {"accept": "application/json"}


def text_of(response: Any) -> str:
    """What the page says, with its markup and its line breaks taken out."""
    assert response.status_code == 200
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", response.content.decode())))


@pytest.fixture
def baseline(db: None) -> None:
    start_over()


def test_it_is_in_the_section_security_and_straight_to_the_form(browser: Client) -> None:
    index = browser.get(reverse("admin:index")).content.decode()
    assert "Security" in index
    assert f'<a href="{PAGE}"' in index
    assert "Stored session" not in index
    assert "Revision" not in index
    assert 'name="persistence_type"' in browser.get(PAGE).content.decode()


def test_every_group_is_there_for_those_without_the_script(browser: Client) -> None:
    page = browser.get(PAGE).content.decode()
    groups = re.findall(r'<fieldset class="sp-group" data-type="(\w+)"', page)
    assert groups == [name for name, cls in TYPES.items() if fields(cls)]
    assert {"REDIS", "JDBC", "MONGODB"} <= set(groups)
    assert "hidden>" not in page


def test_no_script_or_style_is_inline(browser: Client) -> None:
    content = browser.get(PAGE).content.decode()
    assert not re.findall(r"<script(?![^>]*src=)", content)
    assert not re.findall(r"<style|\son\w+=|\sstyle=", content[content.index('id="content-main"') :])


def test_who_may_only_look_gets_no_buttons(db: None) -> None:
    client = Client()
    client.force_login(create_staff("eve", "view_loginconfiguration"))
    page = client.get(PAGE).content.decode()
    assert "_save" not in page
    assert "_test" not in page
    assert "<input" not in page[page.index('id="sp-report"') :], "it is a page for reading"
    assert "<dt>Idle time-out (minutes)</dt>" in page
    assert "You may view this configuration, but not change it." in page
    assert client.get(STATUS).status_code == 200


def test_who_may_only_look_is_not_told_how_to_enter_a_password(db: None) -> None:
    LoginConfiguration(persistence_type="REDIS", redis_host="127.0.0.1", redis_password="s3cret").save()
    client = Client()
    client.force_login(create_staff("eve", "view_loginconfiguration"))
    page = client.get(PAGE).content.decode()
    assert "<dt>Password</dt><dd>saved, not shown</dd>" in page
    assert "<dt>Host</dt><dd>127.0.0.1</dd>" in page
    assert "<dt>Use TLS</dt><dd>no</dd>" in page
    assert "Certificate authority" not in page, "which counts with TLS only"
    for text in ("s3cret", "env:NAME", "leave empty to keep it", "Remove the saved password"):
        assert text not in page


# Test connection.


@pytest.mark.parametrize("cls", [Valkey, MongoDB])
def test_a_connection_that_works_shows_its_steps(browser: Client, cls: Any) -> None:
    login, before = login_of(cls), saved_state()
    response = browser.post(TEST, typed(**login), headers=JSON)
    found = response.json()
    assert found["ok"] is True
    assert found["errors"] == {}
    assert [step["name"] for step in found["steps"]][:2] == ["Resolve host name", "Connect"]
    assert all(step["ok"] and step["milliseconds"] >= 0 for step in found["steps"])
    assert "The connection works." in found["html"]
    assert " ms" in found["html"]
    assert next(value for name, value in login.items() if "password" in name) not in response.content.decode()
    assert saved_state() == before


def test_a_test_makes_nothing_on_the_server(browser: Client) -> None:
    login = login_of(MongoDB)
    with shared(MongoDB).connect() as client:
        database = client[shared(MongoDB).database]
        database.drop_collection("sessionpersist_sessions")
        found = browser.post(TEST, typed(**login), headers=JSON).json()
        assert found["ok"] is True
        assert "made when you save" in found["html"]
        assert "sessionpersist_sessions" not in database.list_collection_names()
        assert save(browser, **login).status_code == 302
        assert "expires_at_ttl" in database["sessionpersist_sessions"].index_information()


def test_a_connection_that_fails_shows_where_and_on_which_field(browser: Client) -> None:
    login = login_of(Valkey) | {"redis_password": "wrong-pw"}
    response = browser.post(TEST, typed(**login), headers=JSON)
    found = response.json()
    assert found["ok"] is False
    assert list(found["errors"]) == ["redis_password"]
    assert found["steps"][-1]["ok"] is False
    assert found["steps"][-1]["message"] == found["errors"]["redis_password"][0]["message"]
    assert "wrong-pw" not in response.content.decode()


def test_the_saved_password_is_used_where_none_is_typed(browser: Client) -> None:
    save(browser, **login_of(Valkey))
    assert browser.post(TEST, typed(), headers=JSON).json()["ok"] is True


def test_a_test_of_what_is_invalid_asks_nobody(browser: Client) -> None:
    found = browser.post(TEST, typed(persistence_type="REDIS", redis_host="a b"), headers=JSON).json()
    assert (found["ok"], found["steps"]) == (False, [])
    assert list(found["errors"]) == ["redis_host"]
    assert "correct the marked fields" in found["html"]


def test_without_the_script_the_page_comes_back_with_the_steps(browser: Client) -> None:
    before = saved_state()
    response = browser.post(TEST, typed(**login_of(Valkey)))
    assert "The connection works." in text_of(response)
    assert "Resolve host name" in text_of(response)
    assert str(login_of(Valkey)["redis_port"]) in response.content.decode()
    assert saved_state() == before


@pytest.mark.parametrize(
    "address", [TEST, f"{TEST}?check=now", STATUS, f"{PAGE}progress/", f"{PAGE}drain/1/", f"{PAGE}adopt/"]
)
def test_whoever_visits_the_address_of_a_button_or_a_part_comes_to_the_page(
    browser: Client, address: str
) -> None:
    """As without the script, by a link or a reload on the page that a test has shown; it was a blank 405."""
    visit = browser.get(address, headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (visit.status_code, visit.headers["Location"]) == (302, PAGE)


def test_warnings_are_shown_as_such(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [Step("Connect", True, 1.0), Step("Warning", True, 0.0, "It <evicts> keys.", warning=True)]
    monkeypatch.setattr(probing, "probe", lambda *args, **kwargs: steps)
    found = browser.post(TEST, typed(), headers=JSON).json()
    assert found["ok"] is True
    assert 'class="sp-warning"' in found["html"]
    assert "It &lt;evicts&gt; keys." in found["html"]


# The status.


def test_the_status_tells_store_and_health(baseline: None, browser: Client) -> None:
    text = text_of(browser.get(STATUS))
    assert "Sessions are stored in In-Memory" in text
    assert re.search(r"✓ Answers in \d+\.\d ms · asked at \d\d:\d\d:\d\d", text)


def test_the_page_itself_does_not_ask_the_store(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "probe", lambda *args, **kwargs: pytest.fail("the store was asked"))
    monkeypatch.setattr(pulse, "take", lambda *args: pytest.fail("the store was asked"))
    assert re.search(r"Not checked yet( \d of \d nodes?)? Check now", text_of(browser.get(PAGE)))


def test_a_store_that_is_down_is_told_with_the_reason(baseline: None, browser: Client) -> None:
    dead = {"host": "127.0.0.1", "port": free_port(), "database": 0, "username": "", "tls": False}
    Revision.objects.create(persistence_type="REDIS", settings=dead, saved_by="grace", activates_at=Now())
    for response in (browser.get(STATUS), browser.get(f"{PAGE}?check=now")):
        text = text_of(response)
        assert f"REDIS at 127.0.0.1:{dead['port']}, database 0" in text
        assert "✗ Does not answer" in text
        assert "refused" in text


def test_a_switch_to_come_is_announced(baseline: None, browser: Client) -> None:
    later = Now() + timedelta(seconds=30)
    Revision.objects.create(persistence_type="JDBC", settings={"database": "default"}, activates_at=later)
    text = text_of(browser.get(PAGE))
    assert "Sessions are stored in In-Memory" in text
    assert re.search(r"Switches to JDBC, database “default” in (29|30) s \.", text)
    assert text.count("JDBC, database “default”") == 1, "a switch to come is told once"


def test_after_saving_the_page_says_when_the_store_changes(baseline: None, browser: Client) -> None:
    save(browser, persistence_type="JDBC", jdbc_database="default")
    page = browser.get(PAGE)
    assert "Saved." in text_of(page)
    assert re.search(r"Switches to JDBC, database “default” in \d+ s \.", text_of(page))
    exact = (
        r'<time class="sp-moment" datetime="[^"]+\+00:00" title="[^"]+, \d\d:\d\d:\d\d UTC">in \d+ s</time>'
    )
    assert re.search(exact, page.content.decode())


# The history.


def test_before_the_first_change_the_history_is_empty(baseline: None, browser: Client) -> None:
    text = text_of(browser.get(PAGE))
    assert "No change yet." in text


def test_the_history_tells_who_when_from_and_to(baseline: None, browser: Client) -> None:
    save(browser, persistence_type="JDBC", jdbc_database="default")
    save(browser, persistence_type="IN_MEMORY")
    response: Any = browser.get(PAGE)
    newest, first = response.context_data["history"]
    assert (newest.saved_by, newest.before, newest.after) == ("ada", "JDBC, database “default”", "In-Memory")
    assert (first.before, first.after) == ("In-Memory", "JDBC, database “default”")


# The databases of the project.


def read_only_file(path: Path) -> dict[str, Any]:
    path.touch()
    return {**sqlite_values(path), "NAME": f"file:{path}?mode=ro", "OPTIONS": {"uri": True}}


def test_a_read_only_sqlite_is_marked_and_refused(committing_browser: Client, tmp_path: Path) -> None:
    with extra_database("archive", **read_only_file(tmp_path / "archive.sqlite3")):
        assert "archive: SQLite (read-only: it was opened read-only" in text_of(committing_browser.get(PAGE))
        before = saved_state()
        errors = errors_of(save(committing_browser, persistence_type="JDBC", jdbc_database="archive"))
        assert "read-only" in errors["jdbc_database"][0]
        assert saved_state() == before


def test_a_read_only_postgresql_is_marked_and_refused(committing_browser: Client) -> None:
    options = {"options": "-c default_transaction_read_only=on"}
    with extra_database("reports", **postgres_values() | {"OPTIONS": options}):
        marked = "reports: PostgreSQL (read-only: default_transaction_read_only is on)"
        assert marked in text_of(committing_browser.get(PAGE))
        before = saved_state()
        errors = errors_of(save(committing_browser, persistence_type="JDBC", jdbc_database="reports"))
        assert "read-only" in errors["jdbc_database"][0]
        assert saved_state() == before


def test_choosing_a_postgresql_creates_the_table_on_saving_and_not_on_testing(
    committing_browser: Client,
) -> None:
    with extra_database("fresh", **postgres_values("admin_page")):
        data = typed(persistence_type="JDBC", jdbc_database="fresh")
        found = committing_browser.post(TEST, data, headers=JSON).json()
        assert found["ok"] is True
        assert "created when you save" in found["html"]
        assert connections["fresh"].introspection.table_names() == []
        assert committing_browser.post(PAGE, data).status_code == 302
        assert connections["fresh"].introspection.table_names() == ["sessionpersist_storedsession"]


def test_a_database_that_is_down_is_marked_and_does_not_hold_the_page_up(
    committing_browser: Client, settings: Settings
) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "TIMEOUT_SECONDS": 1}
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts and never says a word
        port = str(mute.getsockname()[1])
        closed = postgres_values() | {"PORT": str(free_port())}
        with extra_database("mute", **postgres_values() | {"PORT": port}), extra_database("closed", **closed):
            begun = monotonic()
            text = text_of(committing_browser.get(PAGE))
            assert monotonic() - begun < 2
    assert "closed: PostgreSQL (it can't be reached)" in text
    assert re.search(r"mute: PostgreSQL \(it (does not answer|can't be reached)\)", text)


def test_a_database_that_was_taken_out_of_the_project_is_still_named(baseline: None, browser: Client) -> None:
    LoginConfiguration(pk=1, persistence_type="JDBC", jdbc_database="gone").save()
    assert "gone (no longer in DATABASES)" in text_of(browser.get(PAGE))
    assert "no database “gone”" in errors_of(save(browser))["jdbc_database"][0]


def test_looking_at_the_databases_leaves_no_connection_open(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> None:
    require(Postgres)
    name = "admin_looked_at"
    with django_db_blocker.unblock(), extra_database("looked_at", **postgres_values(name)):
        states = {state.alias: state for state in databases.look_at_databases()}
        assert (states["looked_at"].engine, states["looked_at"].problem) == ("PostgreSQL", "")
        with shared(Postgres).connect() as connection:
            asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            # The server's process of a connection that was closed ends a moment later.
            assert eventually(lambda: connection.execute(asked, [name]).fetchall()[0][0], (0,))
