"""The Login Configuration in other languages, in the browser: from left to right, and from right to left."""

from __future__ import annotations

import polib
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OnOneNode, Screenshot
from tests.browser.pages import WIDE, NewPage
from tests.browser.visitor import ADDRESS, Visitor
from tests.languages.test_catalogues import path_of
from tests.load.site import Node

pytestmark = pytest.mark.xdist_group("browser page")

WIDTHS = (320, 768, 1600)


def words(language: str) -> dict[str, str]:
    """What each message is in that language."""
    return {each.msgid: each.msgstr for each in polib.pofile(str(path_of(language, "po")))}


class TestLanguage(OnOneNode):
    @pytest.mark.parametrize(
        ("language", "direction", "scheme"),
        [pytest.param("de", "ltr", "light", marks=pytest.mark.long), ("ar", "rtl", "dark")],
    )
    def test_the_page_and_what_a_store_says(
        self,
        new_page: NewPage,
        node: Node,
        screenshot: Screenshot,
        language: str,
        direction: str,
        scheme: str,
    ) -> None:
        said = words(language)
        page = new_page(locale=language, color_scheme=scheme)
        Visitor(page, node.url).log_in()
        page.goto(f"{node.url}{ADDRESS}")
        expect(page.locator("html")).to_have_attribute("dir", direction)
        expect(page.get_by_role("heading", level=1)).to_have_text(said["Login Configuration"])
        expect(page.locator(".sp-badge")).to_contain_text(said["Answers"])
        page.get_by_role("button", name=said["Test connection"]).click()
        expect(page.locator("#sp-result .sp-verdict")).to_have_text(said["The connection works."])
        steps = page.locator(".sp-steps .sp-step")
        expect(steps.first).to_contain_text(said["Open"])
        expect(steps.filter(has_text=said["Compare and set"])).to_have_count(1)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.set_viewport_size(WIDE)
        screenshot(page, f"language-{language}")
