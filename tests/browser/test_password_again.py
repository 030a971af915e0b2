"""Staff are asked for their password again in a real browser, and lose nothing by it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OnOneNode
from tests.browser.pages import NewContext, NewPage
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

    def test_it_is_entered_beside_the_button_and_nobody_is_logged_out(
        self, visitor: Visitor, stores: Stores
    ) -> None:
        place, page = stores["REDIS"], visitor.page
        visitor.log_in()
        visitor.open_configuration()
        before = visitor.session_key
        with strict_policy(page):
            page.reload()
            visitor.choose(place)
            visitor.test_connection()
            expect(visitor.verdict()).to_have_text("The connection works.")
            own_password(page).fill(PASSWORD)
            expect(visitor.verdict()).to_have_text("The connection works.")
            visitor.save()
            visitor.check_saved(place)
        visitor.wait_until_in_force(place)
        assert visitor.session_key != before

    # Save is a form that is sent, with the script and without.
    @pytest.mark.parametrize("script", first_of_each([True, False], lambda script: "sent"))
    def test_a_wrong_one_keeps_what_was_typed_and_has_the_focus(
        self,
        script: bool,
        new_page: NewPage,
        node: Node,
        stores: Stores,
    ) -> None:
        visitor = Visitor(new_page(java_script_enabled=script), node.url)
        place, page = stores["REDIS"], visitor.page
        visitor.log_in()
        before = configured(node)  # with what a site notes at its first login
        visitor.open_configuration()
        visitor.choose(place)
        own_password(page).fill("not-the-password")
        visitor.save()
        expect(page.get_by_text("This is not your password.")).to_be_visible()
        expect(own_password(page)).to_be_focused()
        expect(own_password(page)).to_have_value("")
        expect(visitor.field(place, "Port")).to_have_value(place.fields["Port"])
        assert configured(node) == before

        visitor.field(place, "Password").fill(place.fields["Password"])
        own_password(page).fill(PASSWORD)
        visitor.save()
        visitor.check_saved(place)

    def test_a_store_is_given_up_by_the_keyboard_alone(self, visitor: Visitor, stores: Stores) -> None:
        page = visitor.page
        visitor.log_in()
        visitor.open_configuration()
        visitor.choose(stores["JDBC"])
        own_password(page).fill(PASSWORD)
        visitor.save()
        visitor.wait_until_in_force(stores["JDBC"])
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
        self, new_context: NewContext, node: Node, stores: Stores
    ) -> None:
        visitor = Visitor(page := new_context().new_page(), node.url)
        visitor.log_in()
        page.clock.install()
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
