"""A handover in a real browser: thousands of sessions move while staff watch, and a user stays logged in meanwhile."""

from __future__ import annotations

import re
import time
from copy import copy
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Screenshot
from tests.browser.filling import fill
from tests.browser.hearing import heard
from tests.browser.pages import PHONE, NewPage
from tests.browser.places import Place
from tests.browser.test_login_configuration import move, strict_policy
from tests.browser.visitor import Visitor
from tests.load import stores as places
from tests.load.site import Node
from tests.servers import Valkey
from tests.sizes import quick_and_long

pytestmark = pytest.mark.xdist_group("browser stores")

Stores = dict[str, Place]
LONG = 120_000  # milliseconds, for all of them to move on a busy machine
PAUSE_BEYOND = """(moving, number) => {
  const button = moving.querySelector(".sp-drain button");
  const observer = new MutationObserver(() => {
    if (moving.querySelector("progress").value > number) {
      observer.disconnect();
      document.body.dataset.pressed = button.textContent.trim();
      button.click();
    }
  });
  observer.observe(moving, { attributes: true, childList: true, subtree: true });
}"""


@pytest.fixture
def processes() -> int:
    return 2


@pytest.fixture
def site_settings() -> dict[str, Any]:
    """Steps that take a fifth of their time."""
    return {"STEP_SECONDS": 0.1}


@pytest.fixture
def user(new_page: NewPage, node: Node) -> Visitor:
    """Somebody who is logged in and knows nothing of stores."""
    user = Visitor(new_page(), node.url)
    user.log_in()
    user.visit_home()
    return user


def handover(page: Page) -> Locator:
    return page.get_by_role("region", name="Handover")


def moved(page: Page) -> int:
    """How far the bar is."""
    return int(handover(page).get_by_role("progressbar").first.evaluate("bar => bar.value"))


def end_that_of_memory(page: Page) -> None:
    """Press the button for what is left in the memory of the node, which may be nothing."""
    buttons = handover(page).get_by_role("button")
    buttons.filter(has_text=re.compile("Move the rest now|End the handover")).click()


def move_until(page: Page, number: int) -> None:
    """Press the button, and have the page itself press Stop as soon as the bar is beyond that: on a busy machine
    everything has moved before anybody else sees the bar."""
    moving = handover(page).locator(".sp-moving").first
    moving.evaluate(PAUSE_BEYOND, number)
    moving.get_by_role("button", name="Move the rest now").click()
    expect(page.locator("body")).to_have_attribute("data-pressed", "Stop", timeout=LONG)
    expect(moving.get_by_role("button", name="Move the rest now")).to_be_visible(timeout=LONG)


def start_in_redis(visitor: Visitor, node: Node, stores: Stores, prefix: str, sessions: int) -> None:
    """Move there by commands, and end the handover, which other nodes might not be through with; then have as many
    sessions there as that."""
    node.site.configure(**places.fields_on(Valkey))
    visitor.wait_until_in_force(stores["REDIS"])
    assert "none is left" in node.site.manage("drain_sessions")
    node.site.manage("drain_sessions", "--abandon", "--yes")
    fill(node.site, prefix, sessions)


# Enough for several steps, so that a pause comes in time.
@pytest.mark.parametrize("sessions", quick_and_long(3_000, 20_000))
def test_thousands_of_sessions_move_and_the_page_shows_it(
    new_page: NewPage,
    user: Visitor,
    node: Node,
    stores: Stores,
    prefix: str,
    screenshot: Screenshot,
    sessions: int,
) -> None:
    page = new_page(listening=True)
    visitor, visits, session_key = Visitor(page, node.url), user.visits(), user.session_key
    visitor.log_in()
    start_in_redis(visitor, node, stores, prefix, sessions)
    move(visitor, stores["JDBC"])
    with strict_policy(page):
        visitor.open_configuration()
        expect(handover(page)).to_contain_text(
            f"{sessions + 1:,} of {sessions + 1:,} sessions left"
        )  # one is the user's

        heard(page)
        move_until(page, beyond := sessions * 2 // 5)
        begin, *shares, end = heard(page)
        assert (begin, end) == ("The sessions are being moved.", "Stopped.")
        assert shares, "not each step is said, but each quarter"
        assert all(re.fullmatch(r"\d+ % moved", each) for each in shares)
        paused_at = moved(page)
        assert beyond < paused_at < sessions
        screenshot(page, "handover")
        user.visit_home()
        user.check_logged_in()

        handover(page).get_by_role("button", name="Move the rest now").click()
        expect(handover(page)).to_contain_text("The handover is over", timeout=LONG)
        assert heard(page)[-1] == "The handover is over"
        assert stores["REDIS"].look() == {}
        assert len(stores["JDBC"].look()) >= sessions
        expect(page.get_by_role("region", name="Nodes")).to_contain_text("All nodes have switched.")
        expect(visitor.history().first).to_contain_text("all moved")
        screenshot(page, "handover-over")
    user.visit_home()
    assert (user.session_key, user.visits()) == (session_key, visits + 2)


@pytest.mark.long
def test_on_a_dark_phone_under_a_strict_policy(
    new_page: NewPage,
    node: Node,
    stores: Stores,
    prefix: str,
    screenshot: Screenshot,
) -> None:
    sessions = 20_000
    options = {"viewport": PHONE, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}
    page = new_page(**options)
    visitor = Visitor(page, node.url)
    visitor.log_in()
    move(visitor, stores["REDIS"])
    with strict_policy(page):
        visitor.open_configuration()
        end_that_of_memory(page)
        expect(handover(page)).to_contain_text("The handover is over")
        fill(node.site, prefix, sessions)
        move(visitor, stores["MONGODB"])
        visitor.open_configuration()
        expect(handover(page)).to_contain_text(f"{sessions:,} of {sessions:,} sessions left")
        move_until(page, 2000)
        assert visitor.width() <= PHONE["width"]
        screenshot(page, "handover-phone", ".sp-handover")
        page.get_by_role("link", name="Abandon the old store").click()
        expect(page.get_by_text("sessions have not moved; their users are logged out")).to_be_visible()
        assert visitor.width() <= PHONE["width"]
        page.get_by_role("button", name="Abandon it and log them out").click()
        expect(handover(page)).to_contain_text("The handover is over")


@pytest.mark.long  # the same form, which tests/admin/test_panels.py sends without the script
def test_without_javascript_each_press_moves_some(
    new_page: NewPage, node: Node, stores: Stores, prefix: str
) -> None:
    page = new_page(java_script_enabled=False)
    visitor = Visitor(page, node.url)
    visitor.log_in()
    start_in_redis(visitor, node, stores, prefix, 300)
    move(visitor, stores["JDBC"])
    visitor.open_configuration()
    handover(page).get_by_role("link", name="Count what is left").click()
    expect(handover(page)).to_contain_text("300 of 300 sessions left")
    for _ in range(10):
        handover(page).get_by_role("button", name="Move the rest now").click()
        expect(page.locator(".messagelist")).to_contain_text(re.compile("sessions moved; left|is over"))
        if "is over" in page.locator(".messagelist").inner_text():
            break
    expect(handover(page)).to_contain_text("The handover is over")
    assert stores["REDIS"].look() == {}


@pytest.mark.long  # test_password_again.py gives a store up, and tests/handover/test_dead_store.py one that died
def test_an_old_store_that_died_is_abandoned(visitor: Visitor, user: Visitor, stores: Stores) -> None:
    page = visitor.page
    visitor.log_in()
    with Valkey() as server:
        fields = {"Host": server.host, "Port": str(server.port), "Password": server.password}
        move(visitor, replace(stores["REDIS"], fields=fields))
        user.visit_home()
        user.check_logged_in()
        move(visitor, stores["JDBC"])
    answer = user.page.request.get(user.url)  # with the cookie of the page
    assert (answer.status, "If you were logged in, you still are" in answer.text()) == (503, True)

    visitor.open_configuration()
    expect(handover(page)).to_contain_text("users whose session has not moved get a 503")
    moving = handover(page).locator(".sp-moving").filter(has_text="From REDIS")
    moving.get_by_role("button", name="Move the rest now").click()
    expect(page.locator(".sp-said")).to_contain_text(re.compile("refused|was lost"))
    moving.get_by_role("link", name="Abandon the old store").click()
    expect(page.get_by_text("The store does not answer, so the number is not known.")).to_be_visible()
    page.get_by_role("button", name="Abandon it and log them out").click()
    expect(page.locator(".messagelist .success")).to_contain_text("was abandoned")
    page.wait_for_timeout(500)  # each process hears of it
    user.visit_home()
    expect(user.page.get_by_role("heading", name="You are not logged in")).to_be_visible()
    user.type_in()


@pytest.mark.long  # each thing that it does is tried in tests/admin/test_panels.py, too
def test_switching_back_is_asked_tried_and_done(visitor: Visitor, user: Visitor, stores: Stores) -> None:
    page = visitor.page
    visitor.log_in()
    move(visitor, stores["REDIS"])
    user.visit_home()
    move(visitor, stores["JDBC"])
    visitor.open_configuration()
    visitor.history().first.get_by_role("link", name="Switch back").click()
    expect(page.get_by_role("heading", name="Switch back to REDIS")).to_be_visible()
    page.get_by_role("button", name="Switch back").click()
    visitor.check_saved(stores["REDIS"])
    visitor.wait_until_in_force(stores["REDIS"])
    for each in (visitor, user):
        each.visit_home()
        each.check_logged_in()
    visitor.open_configuration()
    expect(visitor.history().first).to_contain_text("JDBC")
    expect(visitor.history().nth(1)).to_contain_text("in use again")


@pytest.mark.long  # as is this in tests/admin/test_node_local.py
def test_in_memory_on_two_nodes_has_to_be_confirmed(visitor: Visitor, node: Node, stores: Stores) -> None:
    page = visitor.page
    visitor.log_in()
    move(visitor, stores["REDIS"])
    with Node(node.site, "node-2", workers=1) as other:
        Visitor(page, other.url).visit_home()
        visitor.open_configuration()
        expect(page.get_by_role("region", name="Nodes")).to_contain_text("node-2")
        page.get_by_role("radio", name="In-Memory").check()
        expect(page.get_by_text("this site has 2: node-1, node-2.")).to_be_visible()
        visitor.save()
        expect(page.get_by_text("Confirm this, or choose a store that all nodes share.")).to_be_visible()
        page.get_by_role("checkbox", name="I accept").check()
        visitor.save()
        visitor.check_saved(stores["IN_MEMORY"])


@pytest.mark.long  # tests/upkeep/test_at_work.py has two nodes, and tests/admin/test_panels.py the page
def test_what_another_node_holds_in_its_memory_is_told_and_not_abandoned_unseen(
    new_page: NewPage,
    visitor: Visitor,
    node: Node,
    stores: Stores,
) -> None:
    """Each of two nodes has a memory of its own. What the other one holds, it has to report."""
    page = visitor.page
    site = copy(node.site)
    site.environment = site.environment | {"MEMORY_DIR": str(site.folder / "of-node-2")}
    (site.folder / "of-node-2").mkdir(mode=0o700)
    visitor.log_in()
    with Node(site, "node-2", workers=1) as other:
        users = [Visitor(new_page(), other.url) for _ in range(3)]
        for each in users:
            each.log_in()
        move(visitor, stores["REDIS"])
        give_up = time.monotonic() + LONG / 1000
        visitor.open_configuration()
        while "node-2 3 left" not in handover(page).inner_text().replace("\n", " "):
            assert time.monotonic() < give_up, handover(page).inner_text()
            page.request.get(f"{other.url}/healthz")
            page.wait_for_timeout(500)
        expect(handover(page)).to_contain_text(re.compile(r"node-1\s+0 left"))
        expect(handover(page)).to_contain_text(re.compile(r"3\s+of 3 sessions left"))

        handover(page).get_by_role("button", name="Move the rest now").click()
        expect(page.locator(".sp-said")).to_contain_text("Nothing is left to move on this node.")
        handover(page).get_by_role("link", name="Abandon the old store").click()
        expect(page.get_by_text("3 sessions have not moved; their users are logged out.")).to_be_visible()
        page.get_by_role("link", name="No, take me back").click()

        beside = Visitor(page.context.new_page(), other.url)
        beside.open_configuration()
        handover(beside.page).get_by_role("button", name="Move the rest now").click()
        expect(handover(beside.page)).to_contain_text("The handover is over")
        beside.page.close()
        expect(handover(page)).to_contain_text("The handover is over", timeout=LONG)
        for each in users:
            each.visit_home()
            each.check_logged_in()
