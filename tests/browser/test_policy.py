"""The section "Session time-outs and limits", in a real browser and under the strictest policy."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import Screenshot
from tests.browser.pages import PHONE
from tests.browser.test_login_configuration import strict_policy
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.xdist_group("browser page")

NUMBER = "Enter a whole number from 1 to 52,596,000, or leave this empty."


def section(visitor: Visitor) -> Locator:
    return visitor.page.get_by_role("group", name="Session time-outs and limits", exact=True)


def test_time_outs_and_limits_are_set_and_what_is_wrong_stands_at_its_field(
    visitor: Visitor, screenshot: Screenshot
) -> None:
    page = visitor.page
    visitor.log_in()
    with strict_policy(page):
        visitor.open_configuration()
        page.get_by_text("Session time-outs and limits").click()
        idle = section(visitor).get_by_label("Idle time-out (minutes)")
        limit = section(visitor).get_by_label("Sessions per user")
        per_node = page.locator(".sp-per-node")
        expect(per_node).to_be_visible()
        page.get_by_role("radio", name="REDIS").check()
        expect(per_node).to_be_hidden()
        page.get_by_role("radio", name="In-Memory").check()

        visitor.test_connection()
        expect(visitor.verdict()).to_have_text("The connection works.")
        idle.fill("soon")
        expect(visitor.verdict()).to_have_text("The connection works.")
        limit.fill("0")
        visitor.save()
        expect(section(visitor).locator(".errorlist")).to_have_text(
            [NUMBER, "Enter -1 for no limit, or 1 or more, up to 200."]
        )
        assert idle.get_attribute("aria-invalid") == "true"

        idle.fill("30")
        section(visitor).get_by_label("Longest session (hours)").fill("12")
        section(visitor).get_by_label("Remember me (days)").fill("14")
        limit.fill("3")
        section(visitor).get_by_label("At a further login").select_option(
            label="End the user's least recently used session"
        )
        visitor.save()
        expect(page.locator(".messagelist .success")).to_contain_text("The time-outs and limits are in force")
        expect(idle).to_have_value("30")
        screenshot(page, "policy", ".sp-policy")
        page.set_viewport_size(PHONE)
        assert visitor.width() <= PHONE["width"]
