"""What an open page shows is true, and says how old it is."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import OnOneNode
from tests.browser.pages import NewPage
from tests.browser.places import Place
from tests.browser.test_login_configuration import move
from tests.browser.visitor import Visitor
from tests.load.site import Node
from tests.servers import Valkey

pytestmark = pytest.mark.xdist_group("browser page")

Stores = dict[str, Place]
POLL = 5_000  # milliseconds between two polls of the status, see status.js
ONE_POLL = POLL + 10_000  # with the time-outs of the store and a busy machine
SHORTLY_BEFORE = POLL - 1_500


def light(page: Page) -> str:
    return page.locator(".sp-light .sp-badge").inner_text()


def pass_by(page: Page, milliseconds: int) -> None:
    """Let time pass for the page's own clock, which goes on by itself, too. A request that is under way meanwhile has
    taken as long, as the page sees it."""
    page.clock.run_for(milliseconds)


class TestLight(OnOneNode):
    @pytest.fixture
    def visitor(self, new_page: NewPage, node: Node) -> Visitor:
        return Visitor(new_page(clock=True), node.url)

    def test_its_age_grows_until_it_is_asked_again_in_silence_and_nobody_loses_the_focus(
        self, visitor: Visitor
    ) -> None:
        visitor.log_in()
        visitor.open_configuration()
        page, age = visitor.page, visitor.page.locator(".sp-age")
        button = page.get_by_role("button", name="Check now")
        expect(age).to_have_text(re.compile(r"asked [0-2] s ago"))
        button.focus()
        pass_by(page, SHORTLY_BEFORE)
        expect(age).to_have_text(re.compile(r"asked [34] s ago"), timeout=ONE_POLL)
        expect(age).to_have_text(re.compile(r"asked [01] s ago"), timeout=ONE_POLL)
        assert light(page) == "✓ Answers"
        expect(button).to_be_focused()

        expect(page.locator(".sp-told")).to_be_empty()  # only another verdict is read out
        live = page.locator(".sp-status, .sp-status *").evaluate_all(
            "all => all.filter(each => each.closest('[aria-live], [role=status], [role=alert]')).length"
        )
        assert live == 0, "what ticks is in no live region"

    def test_a_green_that_nobody_has_asked_again_is_none_and_who_was_logged_out_meanwhile_is_told(
        self, visitor: Visitor
    ) -> None:
        """As in a tab in the background, which does not ask."""
        page = visitor.page
        visitor.log_in()
        visitor.open_configuration()
        expect(visitor.status()).to_contain_text("✓ Answers")
        page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true, configurable: true })")
        page.clock.run_for(40_000)
        expect(visitor.status()).to_contain_text("Not checked recently")
        expect(visitor.status()).not_to_contain_text("Answers")
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
        expect(visitor.status()).to_contain_text("✓ Answers")

        page.context.clear_cookies()
        pass_by(page, POLL)
        expect(visitor.status()).to_contain_text("You may have been logged out", timeout=ONE_POLL)

    def test_check_now_tries_every_verb_and_says_when(self, visitor: Visitor, stores: Stores) -> None:
        visitor.log_in()
        visitor.open_configuration()
        button = visitor.page.get_by_role("button", name="Check now")
        button.click()
        expect(visitor.report()).to_contain_text(re.compile(r"Check at \d\d:\d\d:\d\d"))
        expect(visitor.report()).to_contain_text("Compare and set: works")
        expect(button).to_be_focused()


class TestRefreshing(OnOneNode):
    def test_a_panel_that_somebody_has_unfolded_stays_so(self, visitor: Visitor) -> None:
        visitor.log_in()
        visitor.open_configuration()
        page = visitor.page
        panel = page.locator("#sp-nodes details")
        expect(panel).not_to_have_attribute("open", "")
        page.get_by_role("heading", name="Nodes").click()
        expect(panel).to_have_attribute("open", "")
        with page.expect_response("**/progress/"):
            page.evaluate("document.dispatchEvent(new Event('sp-drained'))")
        page.wait_for_timeout(300)
        expect(panel).to_have_attribute("open", "")

    def test_one_that_has_something_to_say_unfolds_itself(self, visitor: Visitor) -> None:
        visitor.log_in()
        visitor.open_configuration()
        page = visitor.page
        panel = page.locator("#sp-nodes details")
        expect(panel).not_to_have_attribute("open", "")

        def wanted_open(route: Route) -> None:
            text = route.fetch().text()
            before, after = text.split('id="sp-nodes"')
            route.fulfill(
                body=before + 'id="sp-nodes"' + after.replace('data-open="no"', 'data-open="yes" open', 1)
            )

        page.route("**/progress/", wanted_open)
        page.evaluate("document.dispatchEvent(new Event('sp-drained'))")
        expect(panel).to_have_attribute("open", "")
        page.unroute_all(behavior="ignoreErrors")

    def test_a_switch_to_come_is_counted_down(self, new_page: NewPage, node: Node) -> None:
        visitor = Visitor(new_page(clock=True), node.url)
        page = visitor.page
        visitor.log_in()
        visitor.open_configuration()
        expect(visitor.status()).to_contain_text("✓ Answers")

        def pending(route: Route) -> None:
            text = route.fetch().text().replace('class="sp-now"', 'class="sp-now" data-pending="30"')
            end = text.rindex("</div>")
            switch = '<p class="sp-pending">Switches <time class="sp-moment">in 30 s</time>.</p>'
            route.fulfill(body=text[:end] + switch + text[end:])

        page.route("**/status/", pending)
        pass_by(page, POLL)
        expect(page.locator(".sp-pending")).to_have_text(
            re.compile(r"Switches in 2[0-8] s\."), timeout=ONE_POLL
        )
        page.unroute_all(behavior="ignoreErrors")


class TestOutage:
    @pytest.fixture
    def processes(self) -> int:
        return 2

    def test_it_is_red_within_a_poll_of_an_outage_of_the_store_or_the_site_and_green_within_a_poll_of_its_end(
        self, new_page: NewPage, node: Node, stores: Stores
    ) -> None:
        visitor = Visitor(new_page(outage=True), node.url)
        page = visitor.page
        visitor.log_in()
        with Valkey() as server:
            fields = {"Host": server.host, "Port": str(server.port), "Password": server.password}
            move(visitor, replace(stores["REDIS"], fields=fields))
            visitor.open_configuration()
            expect(visitor.status()).to_contain_text("✓ Answers")
            server.pause()
            expect(visitor.status()).to_contain_text("✗ The status is not known", timeout=ONE_POLL)
            expect(visitor.status()).to_contain_text("its store is down")
            expect(visitor.status()).not_to_contain_text("✓")
            expect(page.locator(".sp-age")).to_have_text(re.compile(r"last answer \d+ s ago"))
            expect(page.locator(".sp-told")).to_contain_text("its store is down")
            expect(page.locator(".sp-outdated")).to_contain_text("What you see is from", timeout=2 * ONE_POLL)
            expect(page.locator(".sp-is-outdated")).to_have_count(1)
            server.resume()
            expect(visitor.status()).to_contain_text("✓ Answers", timeout=ONE_POLL)
            expect(page.locator(".sp-outdated")).to_be_empty(timeout=2 * ONE_POLL)
            expect(page.locator(".sp-is-outdated")).to_have_count(0)

            node.kill()
            expect(visitor.status()).to_contain_text("The site does not answer.", timeout=ONE_POLL)
            node.start()
            expect(visitor.status()).to_contain_text("✓ Answers", timeout=ONE_POLL)


class TestVerdict(OnOneNode):
    """What Test connection says is of the fields as they were then."""

    @pytest.fixture
    def tested(self, visitor: Visitor, stores: Stores) -> Visitor:
        visitor.log_in()
        visitor.open_configuration()
        visitor.choose(stores["REDIS"])
        visitor.test_connection()
        expect(visitor.verdict()).to_have_text("The connection works.")
        expect(visitor.page.locator("#sp-result")).to_contain_text("Tried: REDIS at 127.0.0.1:")
        return visitor

    @pytest.mark.long
    def test_it_goes_as_a_field_is_edited(self, tested: Visitor, stores: Stores) -> None:
        tested.field(stores["REDIS"], "Port").press("1")
        expect(tested.page.locator("#sp-result")).to_be_empty()

    @pytest.mark.long
    def test_it_goes_as_a_box_is_ticked(self, tested: Visitor, stores: Stores) -> None:
        tested.field(stores["REDIS"], "Use TLS").check()
        expect(tested.page.locator("#sp-result")).to_be_empty()

    def test_it_goes_as_another_type_is_chosen_and_with_the_errors_that_came_with_it(
        self, tested: Visitor, stores: Stores
    ) -> None:
        place = stores["REDIS"]
        tested.page.get_by_role("radio", name="JDBC").check()
        expect(tested.page.locator("#sp-result")).to_be_empty()

        tested.page.get_by_role("radio", name=place.label).check()
        tested.field(place, "Password").fill("not-the-password")
        tested.test_connection()
        expect(tested.errors(place, "Password")).to_contain_text("refused")
        tested.field(place, "User name").fill("ada")
        expect(tested.page.locator("#loginconfiguration_form .errorlist")).to_have_count(0)
        expect(tested.field(place, "Password")).not_to_have_attribute("aria-invalid", "true")
        expect(tested.page.locator("#sp-result")).to_be_empty()

        # Of several fields that are wrong in themselves, the others stay marked.
        tested.field(place, "Host").fill("a b")
        tested.field(place, "Port").fill("0")
        tested.test_connection()
        expect(tested.errors(place, "Host")).to_be_visible()
        tested.field(place, "Host").fill("127.0.0.1")
        expect(tested.errors(place, "Host")).to_have_count(0)
        expect(tested.errors(place, "Port")).to_be_visible()

    def test_one_that_comes_after_an_edit_is_not_shown(self, tested: Visitor, stores: Stores) -> None:
        page, place = tested.page, stores["REDIS"]

        def edit_meanwhile(route: Route) -> None:
            response = route.fetch()
            page.evaluate(
                "document.querySelector('[name=redis_port]').dispatchEvent(new Event('input', { bubbles: true }))"
            )
            route.fulfill(response=response)

        page.route("**/test/", edit_meanwhile)
        tested.test_connection()
        expect(tested.verdict()).to_have_text(
            "The fields were changed during the test. Test the connection again."
        )
        expect(page.locator(".sp-steps")).to_have_count(0)
        assert tested.field(place, "Port").input_value() == place.fields["Port"]
