"""What axe finds wrong with a page, as somebody would meet it who sees little, or uses no mouse."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Literal

from playwright.sync_api import Page

from tests.sizes import quick_and_long

Looks = tuple[tuple[int, Literal["light", "dark"]], ...]
# On a phone and in a window, in the light and in the dark scheme.
FEW: Looks = ((375, "dark"), (1280, "light"))
ALL: Looks = (*FEW, (375, "light"), (1280, "dark"))
LOOKS = quick_and_long(FEW, ALL)
RUN = """async (within) => {
    const found = await axe.run(within, { resultTypes: ["violations"], preload: false });
    return found.violations.flatMap((each) => each.nodes.map((node) => `${each.id}: ${node.html}`));
}"""


@cache
def _axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text()


def shown(page: Page, looks: Looks) -> Iterator[str]:
    """Show the page in each look; yield what that is."""
    for width, scheme in looks:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        yield f"{width} pixels, {scheme}"


def check_looks(page: Page, looks: Looks) -> None:
    """Nothing is wrong in any of these looks of the page, and nothing is cut off."""
    for look in shown(page, looks):
        assert problems(page) == [], look
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), look


def problems(page: Page, within: str = "html") -> list[str]:
    """Return what is wrong in that part of a page, a line each: the name of the rule and the element."""
    if not page.evaluate("window.axe !== undefined"):
        page.evaluate(_axe())
    found: list[str] = page.evaluate(RUN, within)
    return found
