"""A real browser before the real site. Nothing here uses Django: the site runs in processes of its own.

Playwright's API for tests runs an event loop in this thread, and while one runs, Django refuses to ask a database in
it. So the browser is started for this package, not for the session: it is gone when other tests begin. The tests are in
three groups, which two processes run: a browser, its driver and a site cost as much as some tests.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from tests.browser.pages import Console, Kept, NewContext, NewPage, Pages, open_context
from tests.browser.places import ALIAS, Place, places
from tests.browser.secure import key_pin
from tests.browser.visitor import PASSWORD, PATIENCE, USER, Visitor
from tests.load.site import ROOT, Node, Site
from tests.servers import MongoDB, Postgres, Valkey, require, shared
from tests.servers.certificates import Certificates, make_certificates

SCREENSHOTS = ROOT / "docs" / "screenshots"
THEMES = ["django", "admin-interface", "unfold", "jazzmin", "grappelli"]
# The pictures in README.md and docs/.
SHOWN = (
    "redis",
    "sentinel",
    "sessions",
    "sessions-of-a-user",
    "log-everybody-out",
    "policy",
    "jdbc",
    "home-redis",
    "wrong-password-mongodb",
    "phone",
    "handover",
    "handover-over",
    "handover-phone",
    "timeout-warning",
    "timeout-over",
    "your-sessions",
    "limit-refused",
    "logged-out-elsewhere",
    "language-de",
    "language-ar",
    *(f"theme-{theme}-{scheme}" for theme in THEMES for scheme in ("light", "dark")),
)
# The first is the same browser without a window, and takes a third of the time.
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")


class Screenshot(Protocol):
    """Keeps a picture of a page, of one part of it, or of what is in sight."""

    def __call__(self, page: Page, name: str, part: str = "", *, whole: bool = True) -> None: ...


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="package")
def chromium(playwright: Playwright, certificates: Certificates) -> Iterator[Browser]:
    """The system's Chromium, with a fresh folder for its data. REQUIRE_BROWSER=1: without one the test fails.

    The certificate of a site in production is a good one to it: it would cache nothing that came with a bad one.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        missing("Chromium is not installed: install chromium with the package manager of the system.")
    arguments = [
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--renderer-process-limit=1",  # for all pages of a context: what one has compiled, the next has, too
        f"--ignore-certificate-errors-spki-list={key_pin(certificates)}",
    ]
    browser = playwright.chromium.launch(executable_path=program, args=arguments)
    yield browser
    browser.close()


def missing(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_BROWSER") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="package")
def new_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site just set up, with one account; it is copied for each test."""
    site = Site(tmp_path_factory.mktemp("new-site"), DJANGO_SUPERUSER_PASSWORD=PASSWORD)
    site.migrate()
    site.manage("createsuperuser", "--no-input", f"--username={USER}", "--email=grace@example.org")
    return site


@pytest.fixture
def prefix() -> str:
    """A name of this test's own in the servers that tests share."""
    return f"browser_{secrets.token_hex(4)}"


@pytest.fixture
def database_url(prefix: str) -> str:
    require(Postgres)
    return shared(Postgres).create_database(prefix)


@pytest.fixture
def stores(tmp_path: Path, prefix: str, database_url: str) -> dict[str, Place]:
    """The four stores that this test's site can use, all empty."""
    require(Valkey)
    require(MongoDB)
    return places(tmp_path, prefix, database_url)


@pytest.fixture
def site_settings() -> dict[str, Any]:
    """What a module wants to be otherwise."""
    return {}


@pytest.fixture
def processes() -> int:
    """Of the node. A module whose tests switch stores wants two, each of which has to hear of it."""
    return 1


@pytest.fixture
def node(
    new_site: Site,
    stores: dict[str, Place],
    tmp_path: Path,
    prefix: str,
    database_url: str,
    site_settings: dict[str, Any],
    processes: int,
) -> Iterator[Node]:
    """A node in In-Memory that hears of a change soon."""
    with started_node(new_site, tmp_path, prefix, database_url, processes, **site_settings) as node:
        yield node


@contextmanager
def started_node(
    new_site: Site, folder: Path, prefix: str, database_url: str, processes: int = 1, **settings: Any
) -> Iterator[Node]:
    shutil.copy(new_site.folder / "site.sqlite3", folder)
    times = {"REFRESH_SECONDS": 0.2, "ACTIVATION_SECONDS": 0.5}
    site = Site(folder, {ALIAS: database_url}, KEY_PREFIX=prefix, **times, **settings)
    with Node(site, "node-1", workers=processes) as node:
        yield node


class Lasting(NamedTuple):
    """A node that serves all tests that want no other, and its stores."""

    node: Node
    stores: dict[str, Place]


@pytest.fixture(scope="package")
def lasting(new_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lasting]:
    with lasting_node(new_site, tmp_path_factory.mktemp("lasting")) as lasting:
        yield lasting


@contextmanager
def lasting_node(new_site: Site, folder: Path) -> Iterator[Lasting]:
    for server in (Postgres, Valkey, MongoDB):
        require(server)
    prefix = f"browser_{secrets.token_hex(4)}"
    url = shared(Postgres).create_database(prefix)
    with started_node(new_site, folder, prefix, url) as node:
        yield Lasting(node, places(folder, prefix, url))


class OnOneNode:
    """Tests that save nothing and kill nobody: they share a site, which stays in In-Memory."""

    @pytest.fixture
    def node(self, lasting: Lasting) -> Node:
        """Nobody has tried a store lately; each user may do so ten times a minute."""
        with closing(sqlite3.connect(lasting.node.site.file)) as site, site:
            site.execute("DELETE FROM django_admin_log")
        return lasting.node

    @pytest.fixture
    def stores(self, lasting: Lasting) -> dict[str, Place]:
        return lasting.stores


@pytest.fixture
def new_context(chromium: Browser, node: Node) -> Iterator[NewContext]:
    """Make browser contexts that no other test has: for what cannot be taken back, such as what is in a cache. An error
    in the console fails the test; see Console. They are closed before the node, which they ask."""
    made: list[tuple[BrowserContext, Console]] = []

    def make(*, outage: bool = False, **options: Any) -> BrowserContext:
        context = open_context(chromium, options)
        made.append((context, Console(context, outage=outage)))
        return context

    yield make
    for context, _ in made:
        context.close()
    assert not [each for _, console in made for each in console.problems]


@pytest.fixture(scope="package")
def pages(chromium: Browser) -> Pages:
    return Pages(chromium)


@pytest.fixture
def new_page(request: pytest.FixtureRequest, pages: Pages, node: Node) -> Iterator[NewPage]:
    """Open pages, each in a context of its own, as ``new_context`` makes them; but these are kept for other tests. With
    ``clock=True`` their time can be put forward, with ``listening=True`` they note what they say. What a test that
    failed has left in its pages is not for the next one."""
    used: list[Kept] = []

    def make(*, outage: bool = False, **options: Any) -> Page:
        used.append(pages.take(options, outage=outage))
        return used[-1].page

    failed = request.session.testsfailed
    yield make
    for kept in used:
        if request.session.testsfailed > failed:
            kept.context.close()
        else:
            kept.end()
    assert not [each for kept in used for each in kept.console.problems]


@pytest.fixture
def visitor(node: Node, new_page: NewPage) -> Visitor:
    return Visitor(new_page(), node.url)


@pytest.fixture
def screenshot() -> Screenshot:
    """Keep a picture for the documentation, if UPDATE_SCREENSHOTS=1."""

    def keep(page: Page, name: str, part: str = "", *, whole: bool = True) -> None:
        if name in SHOWN and os.environ.get("UPDATE_SCREENSHOTS") == "1":
            page.evaluate("scrollTo(0, 0)")  # what is sticky goes back to its place
            sight = page.viewport_size
            if whole and not part and sight:  # in a window of its height, where what is sticky hides nothing
                height = page.evaluate("document.documentElement.scrollHeight")
                page.set_viewport_size({"width": sight["width"], "height": max(height, sight["height"])})
            page.wait_for_timeout(600)  # a bar that moves comes to rest
            path = SCREENSHOTS / f"{name}.png"
            if part:
                page.locator(part).screenshot(path=path, animations="disabled")
            else:
                page.screenshot(path=path, animations="disabled")
            if sight:
                page.set_viewport_size(sight)

    return keep
