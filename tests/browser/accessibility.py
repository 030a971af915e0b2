"""What axe finds wrong with a page, as somebody would meet it who sees little, or uses no mouse."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from playwright.sync_api import Page

WIDTHS = (375, 1280)
RUN = """async (within) => {
    const found = await axe.run(within, { resultTypes: ["violations"], preload: false });
    return found.violations.flatMap((each) => each.nodes.map((node) => `${each.id}: ${node.html}`));
}"""


@cache
def _axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text()


def looks(page: Page) -> Iterator[str]:
    """Show the page on a phone and in a window, in the light and in the dark scheme; yield what that is each time."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            yield f"{width} pixels, {scheme}"


def check_every_look(page: Page) -> None:
    """Nothing is wrong in any look of the page, and nothing is cut off."""
    for look in looks(page):
        assert problems(page) == [], look
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), look


def problems(page: Page, within: str = "html") -> list[str]:
    """Return what is wrong in that part of a page, a line each: the name of the rule and the element."""
    if not page.evaluate("window.axe !== undefined"):
        page.evaluate(_axe())
    found: list[str] = page.evaluate(RUN, within)
    return found
