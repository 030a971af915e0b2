"""What a screen reader is given to say by a page, in order."""

from __future__ import annotations

from playwright.sync_api import Page

LIVE = "[aria-live], [role=status], [role=alert], [role=log]"
RECORD = """document.addEventListener("DOMContentLoaded", () => {
  window.heard = [];
  for (const region of document.querySelectorAll("#content-main [role=status]")) {
    const note = () => region.textContent && window.heard.push(region.textContent);
    new MutationObserver(note).observe(region, { childList: true, characterData: true, subtree: true });
  }
})"""


def listen(page: Page) -> None:
    """Have a page keep what it says, from the next address on. ``new_page(listening=True)`` does it."""
    page.add_init_script(RECORD)


def heard(page: Page) -> list[str]:
    """Return what was said since the page came, or since this was last asked."""
    found: list[str] = page.evaluate("window.heard.splice(0)")
    return found
