"""Staff move the sessions of the running site in a real browser, and the sessions are where the page says.

Each test that saves has a site of its own, which begins in In-Memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from playwright.sync_api import Page, Response, expect

from tests.browser.conftest import OnOneNode, Screenshot
from tests.browser.pages import PHONE, NewPage
from tests.browser.places import TYPES, Found, Place
from tests.browser.visitor import ADDRESS, PASSWORD, USER, Visitor
from tests.load.site import Node
from tests.sizes import first_of_each, quick_and_long

pytestmark = pytest.mark.xdist_group("browser stores")

Stores = dict[str, Place]

STEPS = [f"{step}: works" for step in ("Write", "Read", "Compare and set", "Delete", "Expiry")]
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"
CONTENT = ("_auth_user", "ModelBackend", "visits")  # what the session of a logged-in user holds


@pytest.fixture
def processes() -> int:
    return 2


def move(visitor: Visitor, place: Place) -> None:
    """Fill in the form, save, and be in the new store with the same session."""
    visitor.open_configuration()
    visitor.choose(place)
    save_and_move(visitor, place)


def save_and_move(visitor: Visitor, place: Place) -> None:
    """Save what the form says, and be in that store with the same session."""
    session_key = visitor.session_key
    visitor.save()
    visitor.check_saved(place)
    visitor.wait_until_in_force(place)
    assert visitor.session_key == session_key


def check_only_in(stores: Stores, place: Place, *visitors: Visitor) -> Found:
    """The visitors' sessions are in this store and in no other, and who reads the store learns nothing from it. Return
    all that it holds."""
    found = {name: each.look() for name, each in stores.items()}
    for visitor in visitors:
        assert [name for name, held in found.items() if visitor.stored_key in held] == [place.type]
        for secret in (visitor.session_key, USER, PASSWORD, *CONTENT):
            assert secret not in found[place.type][visitor.stored_key]
    return found[place.type]


@contextmanager
def strict_policy(page: Page) -> Iterator[None]:
    """Have the page obey the strictest policy that it can work under. A violation is an error in the console, which
    fails the test. The site itself sends that policy: to put it into each answer here would keep the browser from
    caching anything."""
    sent: list[str] = []

    def note(response: Response) -> None:
        if response.request.is_navigation_request() and "/admin/sessionpersist/" in response.url:
            sent.append(response.headers["content-security-policy"])

    page.on("response", note)
    yield
    page.remove_listener("response", note)
    assert sent
    for policy in sent:
        assert set(POLICY.split("; ")) <= set(policy.split("; ")), policy


def configured(node: Node) -> list[tuple[object, ...]]:
    """All that is saved."""
    tables = ("loginconfiguration", "revision", "policychange")
    with closing(sqlite3.connect(node.site.file)) as site:
        return [row for each in tables for row in site.execute(f"SELECT * FROM sessionpersist_{each}")]  # noqa: S608


def try_and_move(visitor: Visitor, place: Place, screenshot: Screenshot) -> None:
    """Try a store before it is chosen on the page that is open, move there, and try it again with what was saved."""
    visitor.choose(place)
    before = place.look()
    visitor.test_connection()
    expect(visitor.verdict()).to_have_text("The connection works.")
    assert place.look() == before, "a test leaves nothing behind"

    save_and_move(visitor, place)
    visitor.open_configuration()
    expect(visitor.status()).to_contain_text(place.label)
    expect(visitor.history().first).to_contain_text(place.label)
    expect(visitor.history().first).to_contain_text(USER)
    visitor.test_connection()
    expect(visitor.verdict()).to_have_text("The connection works.")
    assert set(STEPS) <= set(visitor.steps().all_text_contents()), "with the password that was saved"
    screenshot(visitor.page, place.type.lower())


# MONGODB is filled in and tried on a phone, below; tests/handover/test_stores.py moves sessions there.
@pytest.mark.parametrize(
    "walk", quick_and_long(("REDIS", "JDBC", "IN_MEMORY"), ("MONGODB", "REDIS", "IN_MEMORY"))
)
def test_sessions_move_to_each_store_that_is_filled_in_and_a_user_keeps_login_and_visit_count(
    new_page: NewPage,
    visitor: Visitor,
    node: Node,
    stores: Stores,
    screenshot: Screenshot,
    walk: tuple[str, ...],
) -> None:
    user = Visitor(new_page(), node.url)
    visitor.log_in()
    user.type_in()
    check_only_in(stores, stores["IN_MEMORY"], visitor)
    session_key, visits = user.session_key, user.visits()
    visitor.open_configuration()
    for chosen in walk:
        place = stores[chosen]
        try_and_move(visitor, place, screenshot)
        user.visit_home()
        user.check_logged_in()
        expect(user.page.locator("#store")).to_have_text(place.label)
        screenshot(user.page, f"home-{chosen.lower()}")
        visits += 1
        assert (user.session_key, user.visits()) == (session_key, visits)
        found = check_only_in(stores, place, visitor, user)
        assert found.keys() == {visitor.stored_key, user.stored_key}


def test_the_page_works_without_javascript(new_page: NewPage, node: Node, stores: Stores) -> None:
    place = stores["REDIS"]
    visitor = Visitor(new_page(java_script_enabled=False), node.url)
    page = visitor.page
    visitor.log_in()
    visitor.find_configuration()
    expect(
        page.get_by_text("Without JavaScript this page works, but does not refresh itself")
    ).to_be_visible()
    for each in ("REDIS", "JDBC", "MONGODB"):
        expect(visitor.group(stores[each])).to_be_visible()
    page.get_by_role("button", name="Check now").click()
    expect(visitor.status()).to_contain_text("Answers")
    expect(visitor.report()).to_contain_text("The store works.")

    visitor.choose(place)
    visitor.test_connection()
    expect(visitor.verdict()).to_have_text("The connection works.")
    tried = f"Tried: REDIS at {place.fields['Host']}:{place.fields['Port']}, database 0"
    expect(page.locator("#sp-result")).to_contain_text(tried)
    tested = page.url
    assert tested.endswith(f"{ADDRESS}test/")
    expect(visitor.group(place)).to_contain_text(
        "The password is not sent back to the browser: enter it again."
    )
    visitor.choose(place)
    visitor.save()
    visitor.wait_until_in_force(place)
    check_only_in(stores, place, visitor)

    page.goto(f"{tested}?check=now")  # whoever reloads it, or has kept the link, is led back
    expect(page.get_by_role("heading", name="Login Configuration")).to_be_visible()
    assert page.url == f"{node.url}{ADDRESS}"


def check_only_the_fields_of_the_chosen_type_are_shown(visitor: Visitor, stores: Stores) -> None:
    for chosen in TYPES:
        visitor.page.get_by_role("radio", name=stores[chosen].label).check()
        for each in ("REDIS", "JDBC", "MONGODB"):  # once the page's script runs
            expect(visitor.group(stores[each])).to_be_visible(visible=each == chosen)
        shown = [each for each in ("REDIS", "JDBC", "MONGODB") if visitor.group(stores[each]).is_visible()]
        assert shown == [each for each in shown if each == chosen]
        assert len(shown) == (chosen != "IN_MEMORY")


class TestNothingSaved(OnOneNode):
    @pytest.mark.parametrize("chosen", first_of_each(["REDIS", "MONGODB"], lambda chosen: "a password"))
    def test_a_wrong_password_is_told_at_its_field_and_nothing_is_saved(
        self, visitor: Visitor, node: Node, stores: Stores, screenshot: Screenshot, chosen: str
    ) -> None:
        place = stores[chosen]
        visitor.log_in()
        before = configured(node)  # with what a site notes at its first login
        visitor.open_configuration()
        visitor.choose(place, Password="not-the-password")
        for press in (visitor.test_connection, visitor.save):
            press()
            expect(visitor.errors(place, "Password")).to_contain_text(
                f"{place.type} refused the user name or the password."
            )
            expect(visitor.page.locator("ul.errorlist")).to_have_count(1)
            expect(visitor.verdict()).to_have_text("The connection does not work.")
            assert "not-the-password" not in visitor.page.content()
            screenshot(visitor.page, f"wrong-password-{place.type.lower()}")
        assert place.look() == {}
        assert configured(node) == before
        visitor.open_configuration()
        expect(visitor.page.get_by_text("No change yet.")).to_be_visible()

    def test_the_page_fits_on_a_phone(
        self, new_page: NewPage, node: Node, stores: Stores, screenshot: Screenshot
    ) -> None:
        page = new_page(viewport=PHONE, is_mobile=True, has_touch=True)
        visitor = Visitor(page, node.url)
        visitor.log_in()
        visitor.visit_home()
        assert visitor.width() <= PHONE["width"]
        visitor.open_configuration()
        visitor.choose(stores["MONGODB"])
        visitor.test_connection()
        expect(visitor.verdict()).to_have_text("The connection works.")
        assert visitor.width() <= PHONE["width"]
        screenshot(page, "phone")
        page.get_by_role("button", name="Check now").click()
        expect(visitor.report()).to_contain_text("The store works.")
        assert visitor.width() <= PHONE["width"]

    def test_only_the_fields_of_the_chosen_type_are_shown_and_the_page_works_under_a_strict_content_security_policy(
        self, visitor: Visitor, stores: Stores
    ) -> None:
        place = stores["REDIS"]
        visitor.log_in()
        with strict_policy(visitor.page):
            visitor.open_configuration()
            check_only_the_fields_of_the_chosen_type_are_shown(visitor, stores)
            expect(visitor.status()).to_contain_text("Answers")
            visitor.page.get_by_role("button", name="Check now").click()
            expect(visitor.report()).to_contain_text("The store works.")
            visitor.choose(place, Password="not-the-password")
            visitor.test_connection()
            expect(visitor.errors(place, "Password")).to_be_visible()
