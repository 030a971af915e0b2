"""The admin's page “Sessions” in a real browser: staff find a user, and end a session, whose browser is logged out."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import problems
from tests.browser.conftest import OnOneNode, Screenshot
from tests.browser.pages import PHONE, WIDE, NewPage
from tests.browser.test_login_configuration import strict_policy
from tests.browser.visitor import USER, Visitor
from tests.load.site import Node

pytestmark = pytest.mark.xdist_group("browser users")

CONTENT = "#content-main"  # around it are Django's own breadcrumbs
ON_A_PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1"
)


def test_staff_see_where_a_user_is_signed_in_and_end_one_session_or_all_and_each_browser_reads_why(
    visitor: Visitor, node: Node, new_page: NewPage, screenshot: Screenshot
) -> None:
    page = visitor.page
    visitor.log_in()
    phone = Visitor(new_page(user_agent=ON_A_PHONE), node.url)
    phone.log_in()

    with strict_policy(page):
        page.goto(f"{node.url}/admin/")
        page.get_by_role("link", name="Sessions", exact=True).first.click()
        expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
        expect(page.get_by_role("row", name="In-Memory of this node, node-1")).to_contain_text("2")
        page.get_by_label("User name, e-mail address or primary key").fill("grace")
        page.get_by_role("button", name="Search").click()
        expect(page.get_by_role("link", name=USER, exact=True)).to_be_visible()
        screenshot(page, "sessions")
        page.get_by_role("link", name=USER, exact=True).click()

        rows = page.locator(".sp-table tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.first).to_contain_text("(this is your own session)")
        expect(rows.last).to_contain_text("iPhone")
        screenshot(page, "sessions-of-a-user")
        page.set_viewport_size(PHONE)
        assert visitor.width() <= PHONE["width"]

        page.set_viewport_size(WIDE)
        rows.last.get_by_role("button", name="End").click()
        expect(page.locator(".messagelist .success")).to_have_text("Ended 1 session.")
        expect(rows).to_have_count(1)

    phone.visit_home()
    expect(phone.page.get_by_role("heading", name="You are not logged in")).to_be_visible()
    visitor.visit_home()
    visitor.check_logged_in()

    phone.log_in()
    with strict_policy(page):
        page.goto(f"{node.url}/admin/sessionpersist/sessions/")
        page.get_by_role("link", name="Log everybody out…").click()
        screenshot(page, "log-everybody-out")
        page.get_by_role("button", name="Log everybody out").click()
        expect(page.get_by_role("region", name="Everybody")).to_contain_text(f"by {USER}")
    page.wait_for_timeout(1000)  # until that is in force everywhere
    for each in (phone, visitor):
        each.page.goto(f"{node.url}/admin/")
        expect(each.page.get_by_label("Username")).to_be_visible()
    phone.page.goto(f"{node.url}/login/")
    expect(phone.page.get_by_text("Everybody has been logged out.")).to_be_visible()
    visitor.type_in()


class TestAccessibility(OnOneNode):
    def test_axe_finds_nothing_wrong(self, new_page: NewPage, node: Node) -> None:
        visitor = Visitor(new_page(bypass_csp=True), node.url)  # axe sets styles of its own
        visitor.log_in()
        for address in ("", "?q=grace", "?q=nobody", "user/1/", "everybody/"):
            visitor.page.goto(f"{node.url}/admin/sessionpersist/sessions/{address}")
            assert problems(visitor.page, CONTENT) == [], address
