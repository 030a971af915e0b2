"""“Your sessions” in a real browser: two devices, one ends the other; a login that the limit refuses."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from secrets import token_hex
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import LOOKS, Looks, check_looks, problems
from tests.browser.conftest import OnOneNode, Screenshot
from tests.browser.pages import NewPage
from tests.browser.visitor import PASSWORD, USER, Visitor
from tests.load.site import Node

pytestmark = pytest.mark.xdist_group("browser users")

PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1"
)
LAPTOP = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36"
ADDRESS = "/account/sessions/"
LIKE_USER = """
INSERT INTO auth_user (username, password, first_name, last_name, email, is_staff, is_superuser, is_active, date_joined)
SELECT ?, password, first_name, last_name, email, is_staff, is_superuser, is_active, date_joined
FROM auth_user WHERE username = ?
"""

NewVisitor = Callable[..., Visitor]


@pytest.fixture
def user() -> str:
    return USER


@pytest.fixture
def new_visitor(new_page: NewPage, node: Node, user: str) -> NewVisitor:
    """The user at a device."""

    def make(agent: str = LAPTOP, **options: Any) -> Visitor:
        return Visitor(new_page(user_agent=agent, **options), node.url, user)

    return make


@pytest.fixture
def laptop(new_visitor: NewVisitor) -> Visitor:
    visitor = new_visitor()
    visitor.log_in()
    return visitor


@pytest.fixture
def phone(laptop: Visitor, new_visitor: NewVisitor) -> Visitor:
    visitor = new_visitor(PHONE, viewport={"width": 375, "height": 812})
    visitor.log_in()
    return visitor


def open_list(visitor: Visitor) -> Page:
    visitor.visit_home()
    account = visitor.page.get_by_role("navigation", name="Account")  # the page names it, too
    account.get_by_role("link", name="Your sessions").click()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Your sessions")
    return visitor.page


def try_to_log_in(visitor: Visitor) -> Page:
    page = visitor.page
    page.goto(f"{visitor.url}/login/")
    page.get_by_label("Username").fill(USER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    return page


class TestDevices(OnOneNode):
    """Each test is of a user of its own."""

    @pytest.fixture
    def user(self, node: Node) -> str:
        """Somebody who has USER's password, and nobody's sessions."""
        name = f"user-{token_hex(4)}"
        with closing(sqlite3.connect(node.site.file)) as site, site:
            site.execute(LIKE_USER, (name, USER))
        return name

    @pytest.mark.parametrize("looks", LOOKS)
    def test_one_device_ends_the_other_which_reads_why(
        self, laptop: Visitor, phone: Visitor, screenshot: Screenshot, looks: Looks
    ) -> None:
        page = open_list(laptop)
        here, there = page.get_by_role("listitem").all()
        expect(here).to_contain_text("Chrome")
        expect(here).to_contain_text("This device")
        expect(there).to_contain_text("Safari")
        screenshot(page, "your-sessions")
        check_looks(page, looks)
        there.get_by_role("button", name="Log out there").click()
        expect(page.get_by_role("status")).to_contain_text("Logged out:")
        expect(page.get_by_role("listitem")).to_have_count(1)

        phone.page.goto(f"{phone.url}{ADDRESS}")
        expect(phone.page.get_by_role("heading", level=1)).to_have_text("Log in")
        why = "You have been logged out here from another of your sessions."
        expect(phone.page.get_by_role("status")).to_have_text(why)
        assert problems(phone.page) == []
        screenshot(phone.page, "logged-out-elsewhere")
        phone.page.get_by_label("Username").fill(phone.user)
        phone.page.get_by_label("Password").fill(PASSWORD)
        phone.page.get_by_role("button", name="Log in").click()
        expect(phone.page.get_by_role("heading", level=1)).to_have_text("Your sessions")

    def test_all_others_end_at_once_by_the_keyboard(self, laptop: Visitor, phone: Visitor) -> None:
        page = open_list(laptop)
        page.get_by_role("button", name="Log out everywhere else").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_have_text("1 other session has ended.")
        expect(page.get_by_text("You are logged in nowhere else.")).to_be_visible()
        laptop.visit_home()
        laptop.check_logged_in()
        phone.visit_home()
        expect(phone.page.get_by_role("heading", name="You are not logged in")).to_be_visible()

    @pytest.mark.long  # what ends a session is a form that is sent, with the script, too
    def test_it_works_without_the_script(self, laptop: Visitor, new_visitor: NewVisitor) -> None:
        plain = new_visitor(java_script_enabled=False)
        plain.log_in()
        page = open_list(plain)
        page.get_by_role("button", name="Log out there").click()
        expect(page.get_by_role("status")).to_contain_text("Logged out:")


class TestPassword:
    """Where a password is never recent enough."""

    @pytest.fixture
    def site_settings(self) -> dict[str, Any]:
        return {"REAUTHENTICATE_SECONDS": 0}

    def test_it_is_asked_for_first_by_the_keyboard_alone(self, laptop: Visitor, phone: Visitor) -> None:
        page = open_list(laptop)
        page.get_by_role("button", name="Log out there").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Log out on this device:")
        expect(page.get_by_label("Your password")).to_be_focused()
        assert problems(page) == []
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_text("This is not your password.")).to_be_visible()
        assert problems(page) == []
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("Logged out:")


class TestLimit:
    """One session each, and a further login is refused."""

    @pytest.fixture(autouse=True)
    def limit(self, node: Node) -> None:
        node.site.configure(max_sessions=1, at_limit="REFUSE")

    @pytest.mark.parametrize("looks", LOOKS)
    def test_whoever_is_refused_ends_another_session_and_is_logged_in(
        self, laptop: Visitor, new_visitor: NewVisitor, screenshot: Screenshot, looks: Looks
    ) -> None:
        phone = new_visitor(PHONE)
        page = try_to_log_in(phone)
        expect(page.get_by_role("heading", level=1)).to_have_text("You are logged in on too many devices")
        expect(page.get_by_role("listitem")).to_contain_text("Chrome")
        screenshot(page, "limit-refused")
        check_looks(page, looks)
        laptop.visit_home()
        laptop.check_logged_in()
        page.get_by_role("button", name="Log out there and log in here").click()
        phone.check_logged_in()
        laptop.visit_home()
        expect(laptop.page.get_by_role("heading", name="You are not logged in")).to_be_visible()
