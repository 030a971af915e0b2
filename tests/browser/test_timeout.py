"""A page that is left open: it warns before the session ends, and asks for a login afterwards, in place."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, Request, expect

from tests.browser.accessibility import LOOKS, Looks, problems, shown
from tests.browser.conftest import Screenshot, lasting_node
from tests.browser.pages import NewPage
from tests.browser.visitor import PASSWORD, USER, Visitor
from tests.load.site import Node, Site

pytestmark = pytest.mark.xdist_group("browser users")

IDLE = 30  # minutes: what staff have set
WARNED_AT_ONCE = 19_000  # milliseconds that a session lasts, so that its pages warn as they are opened
SHORT = 1_200  # and so that they are over soon

SOME_SECONDS_LATER = re.compile("0:1[5-8]")  # than 0:19


@pytest.fixture(scope="module")
def node(new_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One for all tests here: each has sessions of its own, and saves nothing."""
    with lasting_node(new_site, tmp_path_factory.mktemp("timeout")) as (node, _):
        node.site.configure(idle_minutes=IDLE)
        yield node


@pytest.fixture
def at_note(visitor: Visitor) -> Page:
    """A form with something typed into it, by somebody who is logged in."""
    visitor.log_in()
    page = visitor.page
    page.goto(f"{visitor.url}/note/")
    page.get_by_label("Text").fill("not sent yet")
    return page


def last(page: Page, milliseconds: int) -> None:
    """Have the session last so long, as the page hears when it looks again."""
    page.request.get(f"{page.url.partition('/note/')[0]}/last/{milliseconds}/")
    look_again(page)


def look_again(page: Page) -> None:
    """As when somebody comes back to a page that the browser had put away."""
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")


def warning(page: Page) -> Locator:
    return page.get_by_role("dialog", name="You are about to be logged out")


def over(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Log in to go on")


def log_in_there(page: Page, password: str = PASSWORD, user: str = USER) -> None:
    dialog = over(page)
    dialog.get_by_label("Username").fill(user)
    dialog.get_by_label("Password").fill(password)
    dialog.get_by_role("button", name="Log in").click()


def send(page: Page) -> None:
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#sent")).to_have_text("not sent yet")


def test_who_is_warned_stays_by_the_keyboard_and_is_back_where_they_were(
    at_note: Page, screenshot: Screenshot
) -> None:
    expect(at_note.locator("dialog[open]")).to_have_count(0)
    look_again(at_note)
    at_note.wait_for_timeout(300)
    expect(at_note.locator("dialog[open]")).to_have_count(0)  # there is time

    at_note.get_by_label("Text").focus()
    last(at_note, WARNED_AT_ONCE)
    expect(warning(at_note)).to_be_visible()
    expect(warning(at_note).get_by_role("button", name="Stay logged in")).to_be_focused()
    expect(warning(at_note).get_by_role("status")).to_contain_text("seconds")
    screenshot(at_note, "timeout-warning")
    at_note.request.get(
        f"{at_note.url.partition('/note/')[0]}/last/{3_600_000}/"
    )  # an hour from the next use on
    at_note.keyboard.press("Enter")
    expect(warning(at_note)).to_be_hidden()
    expect(at_note.get_by_label("Text")).to_be_focused()
    send(at_note)


def test_to_stay_prolongs_the_session_and_so_does_escape(at_note: Page) -> None:
    last(at_note, WARNED_AT_ONCE)
    clock = warning(at_note).locator("strong")
    expect(clock).to_have_text(SOME_SECONDS_LATER)
    warning(at_note).get_by_role("button", name="Stay logged in").click()
    expect(clock).to_have_text("0:19")

    expect(clock).to_have_text(SOME_SECONDS_LATER)
    at_note.keyboard.press("Escape")
    at_note.keyboard.press("Escape")
    expect(clock).to_have_text("0:19")
    expect(warning(at_note)).to_be_visible()


def test_who_wants_to_stay_and_was_logged_out_meanwhile_is_asked_to_log_in(at_note: Page) -> None:
    last(at_note, WARNED_AT_ONCE)
    expect(warning(at_note)).to_be_visible()
    at_note.request.get(f"{at_note.url.partition('/note/')[0]}/forget/")
    warning(at_note).get_by_role("button", name="Stay logged in").click()
    expect(over(at_note).get_by_label("Username")).to_be_focused()
    expect(warning(at_note)).to_be_hidden()


def test_afterwards_a_login_in_place_loses_nothing_that_was_entered(
    at_note: Page, screenshot: Screenshot
) -> None:
    at_note.get_by_label("Text").focus()
    last(at_note, SHORT)
    expect(over(at_note)).to_be_visible()
    expect(over(at_note)).to_contain_text("because you had not been active")
    expect(over(at_note).get_by_label("Username")).to_be_focused()
    colour = over(at_note).evaluate("each => getComputedStyle(each, '::backdrop').backgroundColor")
    assert colour.startswith("rgb("), "it lets nothing through: behind it nobody reads the page"
    screenshot(at_note, "timeout-over")
    for _ in range(3):
        at_note.keyboard.press("Escape")
    expect(over(at_note)).to_be_visible()

    log_in_there(at_note, password="wrong")
    expect(over(at_note).get_by_role("alert")).to_contain_text("Please enter a correct username and password")
    expect(over(at_note).get_by_label("Password")).to_be_focused()
    log_in_there(at_note)
    expect(over(at_note)).to_be_hidden()
    expect(at_note.get_by_label("Text")).to_be_focused()
    expect(at_note.get_by_label("Text")).to_have_value("not sent yet")
    send(at_note)


class TestTabs:
    """Several tabs of one browser."""

    @pytest.fixture
    def second(self, at_note: Page) -> Page:
        page = at_note.context.new_page()
        page.goto(at_note.url)
        page.get_by_label("Text").fill("not sent yet")
        return page

    def test_all_warn_and_all_go_on_where_one_stays_or_logs_in_and_each_sends_its_form(
        self, at_note: Page, second: Page
    ) -> None:
        last(at_note, WARNED_AT_ONCE)
        expect(warning(at_note)).to_be_visible()
        expect(warning(second)).to_be_visible()
        at_note.request.get(f"{at_note.url.partition('/note/')[0]}/last/{3_600_000}/")
        warning(at_note).get_by_role("button", name="Stay logged in").click()
        expect(warning(at_note)).to_be_hidden()
        expect(warning(second)).to_be_hidden()

        last(at_note, SHORT)
        expect(over(second)).to_be_visible()
        expect(over(at_note)).to_be_visible()
        check_that_tabs_of_nobody_ask_for_nothing(at_note.context)
        log_in_there(at_note)
        for page in (at_note, second):
            expect(over(page)).to_be_hidden()
            send(page)

    def test_a_login_in_a_tab_of_its_own_is_one_in_all(self, at_note: Page) -> None:
        last(at_note, SHORT)
        with at_note.context.expect_page() as opened:
            over(at_note).get_by_role("link", name="Log in in a new tab").click()
        tab = opened.value
        tab.get_by_label("Username").fill(USER)
        tab.get_by_label("Password").fill(PASSWORD)
        tab.get_by_role("button", name="Log in").click()
        expect(tab.get_by_role("heading", level=1)).to_have_text("You are logged in")
        expect(over(at_note)).to_be_hidden()
        send(at_note)

    def test_a_page_of_somebody_else_is_not_shown(self, at_note: Page, node: Node) -> None:
        last(at_note, SHORT)
        expect(over(at_note)).to_be_visible()
        at_note.request.post(f"{node.url}/login/somebody-else/")
        look_again(at_note)
        other = at_note.get_by_role("dialog", name="This page is not yours")
        expect(other).to_be_visible()
        other.get_by_role("button", name="Reload").click()
        expect(at_note.get_by_label("Text")).to_have_value("")
        expect(other).to_be_hidden()


def check_that_tabs_of_nobody_ask_for_nothing(context: BrowserContext) -> None:
    """They have asked once each."""
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    context.on("request", note)
    context.pages[0].wait_for_timeout(1500)
    context.remove_listener("request", note)
    assert asked == []


@pytest.mark.parametrize("looks", LOOKS)
def test_axe_finds_nothing_in_any_look(at_note: Page, looks: Looks) -> None:
    for look in shown(at_note, looks):
        last(at_note, WARNED_AT_ONCE)
        expect(warning(at_note)).to_be_visible()
        assert problems(at_note) == [], look
    last(at_note, SHORT)
    expect(over(at_note).get_by_label("Username")).to_be_visible()
    for look in shown(at_note, looks):
        assert problems(at_note) == [], look


def test_staff_are_warned_in_the_admin_and_log_in_there(visitor: Visitor) -> None:
    visitor.log_in()
    page = visitor.page
    visitor.open_configuration()
    page.request.get(f"{visitor.url}/last/{WARNED_AT_ONCE}/")
    look_again(page)
    expect(warning(page)).to_be_visible()
    assert problems(page, "#sp-timeout") == []
    page.request.get(f"{visitor.url}/last/{SHORT}/")
    look_again(page)
    expect(over(page).get_by_label("Username")).to_be_visible()
    assert problems(page, "#sp-timeout") == []
    log_in_there(page)
    expect(over(page)).to_be_hidden()
    page.get_by_role("button", name="Check now").click()
    expect(visitor.report()).to_contain_text("The store works.")


def test_without_the_script_nothing_is_shown(new_page: NewPage, node: Node) -> None:
    visitor = Visitor(new_page(java_script_enabled=False), node.url)
    visitor.log_in()
    visitor.page.goto(f"{node.url}/note/")
    expect(visitor.page.locator("dialog")).to_have_count(3)
    for dialog in visitor.page.locator("dialog").all():
        expect(dialog).to_be_hidden()
