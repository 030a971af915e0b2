"""The Login Configuration for those who see little, hear it, choose their own colours, print it, or may only read."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, ViewportSize, expect

from tests.browser.accessibility import problems
from tests.browser.conftest import OnOneNode
from tests.browser.hearing import LIVE, heard
from tests.browser.pages import PHONE, WIDE, NewPage
from tests.browser.places import Place
from tests.browser.visitor import ADDRESS, PASSWORD, Visitor
from tests.load.site import Node

pytestmark = pytest.mark.xdist_group("browser page")

Stores = dict[str, Place]
CONTENT = "#content-main"
FORM = "#loginconfiguration_form"  # of which axe needs half the time
TABLET = {"width": 820, "height": 1180}
VIEWER = "viewer"
BEFORE_A_SWITCH = """
<details class="sp-warnings" open><summary>! 1 warning</summary><ul><li>Take note.</li></ul></details>
<p class="sp-pending">Switches to <strong>JDBC</strong> <time class="sp-moment">in 9 s</time>.</p>
"""
MAKE_VIEWER = f"""
from django.contrib.auth.models import Permission, User
user, _ = User.objects.get_or_create(username={VIEWER!r}, is_staff=True)
user.set_password({PASSWORD!r})
user.save()
user.user_permissions.set(Permission.objects.filter(codename="view_loginconfiguration"))
"""


def opened(page: Page, node: Node) -> Visitor:
    visitor = Visitor(page, node.url)
    visitor.log_in()
    visitor.open_configuration()
    expect(visitor.status()).to_contain_text("Answers")
    return visitor


class TestStates(OnOneNode):
    @pytest.mark.parametrize(
        ("scheme", "viewport"),
        [
            pytest.param("dark", PHONE, id="dark, phone"),
            pytest.param("light", WIDE, id="light, wide", marks=pytest.mark.long),
            pytest.param("light", TABLET, id="light, tablet", marks=pytest.mark.long),
            pytest.param("dark", WIDE, id="dark, wide", marks=pytest.mark.long),
            pytest.param("dark", TABLET, id="dark, tablet", marks=pytest.mark.long),
            pytest.param("light", PHONE, id="light, phone", marks=pytest.mark.long),
        ],
    )
    def test_axe_finds_nothing_wrong_in_any_state_of_the_form(
        self, new_page: NewPage, node: Node, stores: Stores, scheme: str, viewport: ViewportSize
    ) -> None:
        visitor = opened(new_page(color_scheme=scheme, viewport=viewport, bypass_csp=True), node)
        page = visitor.page
        assert problems(page, CONTENT) == [], "as it comes"
        for each in page.locator("details:not([open]) > summary").all():
            if each.is_visible():
                each.click()
        for place in ("JDBC", "MONGODB", "REDIS"):
            page.get_by_role("radio", name=place).check()
            visitor.group(stores[place]).get_by_text("More settings").click() if place != "JDBC" else None
            assert problems(page, CONTENT if place == "REDIS" else FORM) == [], place
        visitor.field(stores["REDIS"], "Servers").select_option("SENTINEL")
        visitor.field(stores["REDIS"], "Use TLS").check()
        assert problems(page, FORM) == [], "Sentinel with TLS"
        visitor.test_connection()
        expect(visitor.verdict()).to_be_visible()
        assert problems(page, CONTENT) == [], "errors at fields"

        visitor.open_configuration()
        visitor.choose(stores["REDIS"])
        visitor.test_connection()
        expect(visitor.verdict()).to_have_text("The connection works.")
        page.get_by_role("button", name="Check now").click()
        expect(visitor.report()).to_contain_text("The store works.")
        assert problems(page, CONTENT) == [], "tested and checked"

    @pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
    def test_nor_before_a_switch_nor_where_nothing_answers(
        self, new_page: NewPage, node: Node, scheme: str
    ) -> None:
        page = opened(new_page(color_scheme=scheme, bypass_csp=True, outage=True), node).page

        def pending(route: Route) -> None:
            text = route.fetch().text()
            end = text.rindex("</div>")
            route.fulfill(body=text[:end] + BEFORE_A_SWITCH + text[end:])

        page.route("**/status/", pending)
        page.evaluate("document.dispatchEvent(new Event('sp-back'))")
        expect(page.locator(".sp-pending")).to_be_visible()
        assert problems(page, CONTENT) == []
        page.unroute_all(behavior="ignoreErrors")

        for part in ("status", "progress"):
            page.route(f"**/{part}/", lambda route: route.abort())
        page.evaluate("document.dispatchEvent(new Event('sp-back'))")
        expect(page.locator(".sp-status")).to_contain_text("The site does not answer.")
        expect(page.locator(".sp-outdated")).to_contain_text("What you see is from")
        assert problems(page, CONTENT) == []
        page.unroute_all(behavior="ignoreErrors")


class TestHearing(OnOneNode):
    def test_of_a_test_and_of_a_check_their_begin_their_verdict_and_the_fields_to_correct_are_said(
        self, new_page: NewPage, node: Node, stores: Stores
    ) -> None:
        visitor = opened(new_page(listening=True), node)
        assert visitor.page.locator(CONTENT).locator(LIVE).count() == 1, "one region keeps the order"
        place = stores["REDIS"]
        visitor.choose(place)
        visitor.test_connection()
        expect(visitor.verdict()).to_have_text("The connection works.")
        assert heard(visitor.page) == ["Testing…", "The connection works."]
        visitor.field(place, "Password").fill("not-the-password")
        visitor.test_connection()
        expect(visitor.verdict()).to_have_text("The connection does not work.")
        assert heard(visitor.page) == ["Testing…", "The connection does not work. To correct: Password."]
        expect(visitor.page.get_by_role("button", name="Test connection")).to_be_focused()
        told = re.compile("REDIS refused the user name or the password")
        expect(visitor.field(place, "Password")).to_have_accessible_description(told)

        visitor.page.get_by_role("button", name="Check now").click()
        expect(visitor.report()).to_contain_text("The store works.")
        assert heard(visitor.page) == ["Checking…", "The store works."]


class TestColoursOfTheSystem(OnOneNode):
    def test_what_says_something_by_its_ground_has_an_edge(self, new_page: NewPage, node: Node) -> None:
        visitor = opened(new_page(forced_colors="active"), node)
        for part in (".sp-badge", ".sp-button", ".sp-card", ".sp-panel"):
            edges = visitor.page.locator(f"{CONTENT} {part}").evaluate_all(
                """all => all.map(getComputedStyle).map((style) =>
                    style.borderTopStyle === "solid" && parseFloat(style.borderTopWidth) >= 1
                    && style.borderTopColor !== style.backgroundColor)"""
            )
            assert edges, part
            assert all(edges), part
        chosen = visitor.page.locator(".sp-card:has(:checked)")
        assert chosen.evaluate("each => getComputedStyle(each).outlineStyle") == "solid"


class TestPaper(OnOneNode):
    def test_what_is_folded_is_printed_and_no_button_is(self, new_page: NewPage, node: Node) -> None:
        page = opened(new_page(), node).page
        policy, save = (
            page.get_by_label("Sessions per user"),
            page.get_by_role("button", name="Save", exact=True),
        )
        expect(policy).to_be_hidden()
        expect(save).to_be_visible()
        page.emulate_media(media="print")
        expect(policy).to_be_visible()
        expect(save).to_be_hidden()
        expect(page.get_by_role("button", name="Check now")).to_be_hidden()
        after = page.locator(".sp-nodes .sp-moment").first.evaluate(
            "each => getComputedStyle(each, '::after').content"
        )
        assert "UTC" in after, "nobody can hover over paper"


class TestReading(OnOneNode):
    # What it says is in the page that comes: no script adds to it.
    @pytest.mark.parametrize(
        "script", [True, pytest.param(False, marks=pytest.mark.long)], ids=["script", "no script"]
    )
    def test_who_may_only_view_gets_a_page_for_reading(
        self, new_page: NewPage, node: Node, script: bool
    ) -> None:
        node.site.manage("shell", "--no-imports", "-c", MAKE_VIEWER)
        page = new_page(java_script_enabled=script)
        Visitor(page, node.url, VIEWER).log_in()
        page.goto(f"{node.url}{ADDRESS}")
        saved = page.get_by_role("region", name="What is saved")
        expect(saved).to_contain_text("You may view this configuration, but not change it.")
        expect(saved.get_by_role("heading", name="In-Memory")).to_be_visible()
        expect(saved.locator("div", has=page.get_by_text("Sessions per user"))).to_contain_text("no limit")
        assert page.locator(f"{CONTENT} :is(input:not([type=hidden]), select, textarea)").count() == 0
        if script:
            expect(page.get_by_role("region", name="Status")).to_contain_text("Answers")
            assert problems_without_csp(page, new_page, node) == []


def problems_without_csp(page: Page, new_page: NewPage, node: Node) -> list[str]:
    """What axe finds, in a context of the same login that lets it set styles of its own."""
    fresh = new_page(bypass_csp=True)
    fresh.context.add_cookies(page.context.cookies())  # type: ignore[arg-type]
    fresh.goto(f"{node.url}{ADDRESS}")
    return problems(fresh, CONTENT)


class TestKeyboard(OnOneNode):
    @pytest.mark.parametrize(
        "viewport",
        [pytest.param(PHONE, id="phone"), pytest.param(WIDE, id="wide", marks=pytest.mark.long)],
    )
    def test_what_has_the_focus_is_in_sight(
        self, new_page: NewPage, node: Node, viewport: ViewportSize
    ) -> None:
        page = opened(new_page(viewport=viewport), node).page
        page.get_by_role("radio", name="REDIS").check()
        page.locator(".sp-check-now button").focus()
        seen = []
        while (found := page.evaluate(FOCUS))["within"]:
            assert found["seen"], found["what"]
            seen.append(found["what"])
            page.keyboard.press("Tab")
        assert seen.index("Test connection") + 1 == seen.index("Save")
        assert len(seen) > 10

    def test_enter_in_a_field_tests_the_connection(
        self, new_page: NewPage, node: Node, stores: Stores
    ) -> None:
        visitor = opened(new_page(), node)
        visitor.choose(stores["REDIS"])
        visitor.field(stores["REDIS"], "Port").press("Enter")
        expect(visitor.verdict()).to_have_text("The connection works.")


FOCUS = """() => {
  const each = document.activeElement;
  const box = each.getBoundingClientRect();
  const there = document.elementFromPoint(box.x + box.width / 2, box.y + Math.min(box.height / 2, 20));
  return {
    what: each.textContent.trim() || each.name,
    within: each.closest("#content-main") !== null,
    seen: each.contains(there),
  };
}"""
