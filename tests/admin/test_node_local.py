"""Entering In-Memory with several nodes has to be confirmed: each node then knows only its own users."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from sessionpersist.models import LoginConfiguration, Node, Revision
from tests.admin.support import PAGE, TEST, errors_of, save, saved_state, typed
from tests.admin.test_page import JSON, text_of
from tests.commands.running import run

pytestmark = pytest.mark.django_db

FIELD = "memory_accept_node_local"
CONFIRM = "Confirm this, or choose a store that all nodes share."
WHAT_HAPPENS = "Behind a load balancer users are logged out for good"


@pytest.fixture(autouse=True)
def in_a_database(db: None) -> None:
    LoginConfiguration(pk=1, persistence_type="JDBC", jdbc_database="default").save()
    Node.objects.all().delete()


def two_nodes(**ago: float) -> None:
    Node.objects.create(name="web-1", process=1, revision=1)
    Node.objects.create(name="web-2", process=1, revision=1, seen_at=Now() - timedelta(**ago))


def test_the_page_says_what_will_happen_and_names_the_nodes(browser: Client) -> None:
    two_nodes(minutes=50)
    response = browser.get(PAGE)
    text = text_of(response)
    assert "this site has 2: web-1, web-2." in text
    assert WHAT_HAPPENS in text
    assert f'name="{FIELD}"' in response.content.decode()


def test_without_the_confirmation_nothing_is_saved(browser: Client) -> None:
    two_nodes(minutes=50)
    before = saved_state()
    response = save(browser, persistence_type="IN_MEMORY")
    assert errors_of(response) == {FIELD: [CONFIRM]}
    assert saved_state() == before


def test_with_it_memory_is_saved_and_the_log_names_it(browser: Client) -> None:
    two_nodes(minutes=50)
    assert save(browser, persistence_type="IN_MEMORY", **{FIELD: "on"}).status_code == 302
    assert LoginConfiguration.get_solo().persistence_type == "IN_MEMORY"
    assert FIELD not in browser.get(PAGE).content.decode(), "in In-Memory already: nothing to confirm"


def test_a_test_of_the_connection_needs_none(browser: Client) -> None:
    two_nodes(minutes=50)
    assert browser.post(TEST, typed(persistence_type="IN_MEMORY"), headers=JSON).json()["ok"] is True


def test_other_stores_need_none(browser: Client) -> None:
    two_nodes(minutes=50)
    assert save(browser, persistence_type="JDBC", jdbc_database="default").status_code == 302


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_single_live_node_is_asked_nothing(browser: Client, nodes: int) -> None:
    two_nodes(minutes=70)  # the second was not heard from in the last hour
    if nodes == 1:
        Node.objects.filter(name="web-2").delete()
    Node.objects.create(name="web-1", process=2, revision=1)
    assert FIELD not in browser.get(PAGE).content.decode()
    assert save(browser, persistence_type="IN_MEMORY").status_code == 302


def test_switching_back_to_memory_asks_for_it_too(browser: Client) -> None:
    first = Revision.objects.order_by("pk").first()
    assert first is not None
    two_nodes(minutes=50)
    url = reverse("admin:sessionpersist_loginconfiguration_switch_back", args=[first.pk])
    assert WHAT_HAPPENS in text_of(browser.get(url))
    data = {"edition": LoginConfiguration.get_solo().edition}
    assert CONFIRM in text_of(browser.post(url, data))
    assert LoginConfiguration.get_solo().persistence_type == "JDBC"
    assert browser.post(url, data | {FIELD: "on"}).status_code == 302
    assert LoginConfiguration.get_solo().persistence_type == "IN_MEMORY"


class TestCommand:
    def test_it_refuses_with_what_will_happen(self) -> None:
        two_nodes(minutes=50)
        before = saved_state()
        result = run("login_configuration", "set", "--type", "IN_MEMORY")
        assert result.error is not None
        assert result.error.splitlines()[:2] == ["Nothing was saved.", f"--accept-node-local: {CONFIRM}"]
        assert "web-1, web-2" in result.error
        assert WHAT_HAPPENS in result.error
        assert saved_state() == before

    def test_with_the_flag_it_saves(self) -> None:
        two_nodes(minutes=50)
        result = run("login_configuration", "set", "--type", "IN_MEMORY", "--accept-node-local")
        assert result.error is None
        assert LoginConfiguration.get_solo().persistence_type == "IN_MEMORY"

    def test_the_flag_does_no_harm_where_nothing_is_asked(self) -> None:
        result = run("login_configuration", "set", "--type", "IN_MEMORY", "--accept-node-local")
        assert result.error is None

    def test_the_flag_does_not_apply_to_other_types(self) -> None:
        result = run("login_configuration", "set", "--type", "JDBC", "--accept-node-local")
        assert result.error == "--accept-node-local does not apply to JDBC."
