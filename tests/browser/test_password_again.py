"""Staff are asked for their password again in a real browser, and lose nothing by it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OnOneNode
from tests.browser.pages import NewPage
from tests.browser.places import Place
from tests.browser.test_login_configuration import configured, move, strict_policy
from tests.browser.visitor import PASSWORD, Visitor
from tests.load.site import Node
from tests.sizes import first_of_each

pytestmark = pytest.mark.xdist_group("browser page")

Stores = dict[str, Place]


def own_password(page: Page) -> Locator:
    return page.get_by_label("Your password", exact=True)


class TestAlways:
    """Where a password is never recent enough."""

    @pytest.fixture
    def site_settings(self) -> dict[str, Any]:
        return {"REAUTHENTICATE_SECONDS": 0}

    # Save is a form that is sent, with the script and without.
    @pytest.mark.parametrize("script", first_of_each([True, False], lambda script: "sent"))
    def test_it_is_entered_beside_the_button_and_by_the_keyboard_alone_where_a_store_is_given_up(
        self, script: bool, new_page: NewPage, node: Node, stores: Stores
    ) -> None:
        visitor = Visitor(new_page(java_script_enabled=script), node.url)
        place, page = stores["REDIS"], visitor.page
        visitor.log_in()
        saved = configured(node)  # with what a site notes at its first login
        session_key = visitor.session_key
        with strict_policy(page):
            visitor.open_configuration()
            visitor.choose(place)
            own_password(page).fill("not-the-password")
            visitor.save()
            check_a_wrong_one_keeps_what_was_typed_and_has_the_focus(visitor, place)
            assert configured(node) == saved

            visitor.field(place, "Password").fill(place.fields["Password"])
            if script:
                visitor.test_connection()
                expect(visitor.verdict()).to_have_text("The connection works.")
            own_password(page).fill(PASSWORD)
            if script:
                expect(visitor.verdict()).to_have_text("The connection works.")
            visitor.save()
            visitor.check_saved(place)
            visitor.wait_until_in_force(place)
            assert visitor.session_key != session_key, "nobody is logged out, and the session has another key"
            give_up_by_the_keyboard(visitor)


def check_a_wrong_one_keeps_what_was_typed_and_has_the_focus(visitor: Visitor, place: Place) -> None:
    page = visitor.page
    expect(page.get_by_text("This is not your password.")).to_be_visible()
    expect(own_password(page)).to_be_focused()
    expect(own_password(page)).to_have_value("")
    expect(visitor.field(place, "Port")).to_have_value(place.fields["Port"])


def give_up_by_the_keyboard(visitor: Visitor) -> None:
    page = visitor.page
    visitor.open_configuration()
    page.get_by_role("link", name="Abandon the old store").click()
    expect(own_password(page)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Enter your password.")).to_be_visible()
    expect(own_password(page)).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator(".messagelist .success")).to_contain_text("was abandoned")


class TestShortlyAfterTheLogin(OnOneNode):
    def test_it_is_not_asked_for_and_an_open_page_asks_once_it_is_due(
        self, new_page: NewPage, node: Node, stores: Stores
    ) -> None:
        visitor = Visitor(page := new_page(clock=True), node.url)
        visitor.log_in()
        visitor.open_configuration()
        visitor.choose(stores["REDIS"])
        expect(own_password(page)).to_be_hidden()
        page.clock.fast_forward("10:01")
        expect(own_password(page)).to_be_visible()
        expect(visitor.field(stores["REDIS"], "Password")).to_have_value(re.compile(".+"))


@pytest.mark.long  # as tests of a handover do again and again
def test_shortly_after_the_login_a_store_is_saved_without_it(visitor: Visitor, stores: Stores) -> None:
    visitor.log_in()
    move(visitor, stores["REDIS"])
