"""What axe finds wrong with a page, as somebody would meet it who sees little, or uses no mouse."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from playwright.sync_api import Page

RUN = """async (within) => {
    const found = await axe.run(within, { resultTypes: ["violations"], preload: false });
    return found.violations.flatMap((each) => each.nodes.map((node) => `${each.id}: ${node.html}`));
}"""


@cache
def _axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text()


def problems(page: Page, within: str = "html") -> list[str]:
    """Return what is wrong in that part of a page, a line each: the name of the rule and the element."""
    page.evaluate(_axe())
    found: list[str] = page.evaluate(RUN, within)
    return found
