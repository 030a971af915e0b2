"""Pages that tests use one after the other, each of them as if it were new.

A context and a page of its own would cost each test a fifth of a second of work: the browser starts a process, fetches
and compiles all style sheets and scripts again, and so it does with the script of Playwright.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, ViewportSize

from tests.browser.hearing import listen
from tests.browser.visitor import PATIENCE

NewContext = Callable[..., BrowserContext]
NewPage = Callable[..., Page]
FAILED = "Failed to load resource"
WIDE: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
# What can be changed about a page. All else is fixed when its context is made.
LOOKS: dict[str, Any] = {"viewport": WIDE, "color_scheme": "light", "forced_colors": "none"}
# Options of ours, and what they have done to a page that is new. Nothing takes that back.
LASTING: dict[str, Callable[[Page], None]] = {"clock": lambda page: page.clock.install(), "listening": listen}
FORGET = "location.protocol.startsWith('http') && (localStorage.clear(), sessionStorage.clear())"


class Console:
    """What the pages of a context complain of: an error in the console fails the test; but with ``outage``, what the
    browser says of requests that fail."""

    def __init__(self, context: BrowserContext, *, outage: bool = False) -> None:
        self.problems: list[str] = []
        self.outage = outage
        context.on("console", self._note)
        context.on("weberror", lambda error: self.problems.append(str(error.error)))

    def _note(self, message: ConsoleMessage) -> None:
        # Django's admin names no icon, so Chromium asks the site for one.
        if message.type != "error" or message.location["url"].endswith("/favicon.ico"):
            return
        if not (self.outage and FAILED in message.text):
            self.problems.append(f"{message.text} {message.location}")


def open_context(browser: Browser, options: dict[str, Any]) -> BrowserContext:
    context = browser.new_context(**LOOKS | options)
    context.set_default_timeout(PATIENCE)
    return context


class Kept:
    """A page and its context, which has no other when a test begins."""

    def __init__(self, browser: Browser, options: dict[str, Any], idle: list[Kept]) -> None:
        """It goes back to ``idle``."""
        self._idle = idle
        self.context = open_context(
            browser, {name: value for name, value in options.items() if name not in LASTING}
        )
        self.console = Console(self.context)
        self.page = self.context.new_page()
        for name in options.keys() & LASTING.keys():
            LASTING[name](self.page)

    def begin(self, looks: dict[str, Any], *, outage: bool) -> None:
        """Be a new page that looks so."""
        looks = LOOKS | looks
        self.console.problems, self.console.outage = [], outage
        self.page.set_viewport_size(looks["viewport"])
        self.page.emulate_media(
            media="null", color_scheme=looks["color_scheme"], forced_colors=looks["forced_colors"]
        )

    def end(self) -> None:
        """Leave nothing of the test: no route, no storage, no document that asks the site for news, no cookie."""
        for page in self.context.pages:
            if page is not self.page:
                page.close()
        self.page.unroute_all(behavior="ignoreErrors")
        self.page.evaluate(FORGET)
        self.page.goto("about:blank")
        self.context.clear_cookies()
        self._idle.append(self)


class Pages:
    """The kept pages of a browser, those that fit the same options together."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._idle: dict[str, list[Kept]] = {}

    def take(self, options: dict[str, Any], *, outage: bool) -> Kept:
        looks = {name: value for name, value in options.items() if name in LOOKS}
        fixed = {name: value for name, value in options.items() if name not in LOOKS}
        idle = self._idle.setdefault(repr(sorted(fixed.items())), [])
        kept = idle.pop() if idle else Kept(self._browser, fixed, idle)
        kept.begin(looks, outage=outage)
        return kept
