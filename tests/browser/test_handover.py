"""A handover in a real browser: 20,000 sessions move while staff watch, and a user stays logged in all the while."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.conftest import Screenshot
from tests.browser.filling import fill
from tests.browser.places import Place
from tests.browser.test_login_configuration import move
from tests.browser.visitor import Visitor
from tests.load.site import Node

Stores = dict[str, Place]
SESSIONS = 20_000
LONG = 120_000  # milliseconds, for all of them to move on a busy machine


@pytest.fixture
def user(new_context: Callable[..., BrowserContext], node: Node) -> Visitor:
    """Somebody who is logged in and knows nothing of stores."""
    user = Visitor(new_context().new_page(), node.url)
    user.log_in()
    return user


def handover(page: Page) -> Locator:
    return page.get_by_role("region", name="Handover")


def moved(page: Page) -> int:
    """How far the bar is."""
    return int(handover(page).get_by_role("progressbar").evaluate("bar => bar.value"))


def test_20_000_sessions_move_and_the_page_shows_it(
    visitor: Visitor, user: Visitor, node: Node, stores: Stores, prefix: str, screenshot: Screenshot
) -> None:
    page, (visits, session_key) = visitor.page, (user.visits(), user.session_key)
    visitor.log_in()
    move(visitor, stores["REDIS"])
    visitor.open_configuration()
    handover(page).get_by_role("button", name="Move the rest now").click()  # what is left in memory
    expect(handover(page)).to_contain_text("The handover is over")
    fill(node.site, prefix, SESSIONS)
    move(visitor, stores["JDBC"])
    visitor.open_configuration()
    expect(handover(page)).to_contain_text("20,001 of 20,001 sessions left")  # one is the user's

    handover(page).get_by_role("button", name="Move the rest now").click()
    expect(handover(page).get_by_role("button", name="Pause")).to_be_visible()
    page.wait_for_function("document.querySelector('.sp-bar').value > 8000", timeout=LONG)
    handover(page).get_by_role("button", name="Pause").click()
    expect(handover(page).get_by_role("button", name="Move the rest now")).to_be_visible()
    paused_at = moved(page)
    assert 8000 < paused_at < SESSIONS
    screenshot(page, "handover")
    user.visit_home()
    user.check_logged_in()

    handover(page).get_by_role("button", name="Move the rest now").click()
    expect(handover(page)).to_contain_text("The handover is over", timeout=LONG)
    assert stores["REDIS"].look() == {}
    assert len(stores["JDBC"].look()) >= SESSIONS
    expect(page.get_by_role("region", name="Nodes")).to_contain_text("All nodes have switched.")
    expect(visitor.history().first).to_contain_text("all moved by")
    screenshot(page, "handover-over")
    user.visit_home()
    assert (user.session_key, user.visits()) == (session_key, visits + 2)
