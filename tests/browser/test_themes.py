"""The page in the admin's own look and in four themes that many projects use: all is seen, and nothing runs over."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import problems
from tests.browser.conftest import THEMES, Screenshot
from tests.browser.pages import NewPage
from tests.browser.visitor import ADDRESS, Visitor
from tests.load.site import Node, Site

pytestmark = pytest.mark.xdist_group("browser page")

WIDTHS = (320, 480, 640, 768, 1024, 1280, 1600)
# A switch to JDBC while sessions were left in a REDIS that has died, and a node that has not switched.
HISTORY = """
import django; django.setup()
from datetime import timedelta
from django.db.models.functions import Now
from sessionpersist.models import LoginConfiguration, Node, Revision
dead = {"persistence_type": "REDIS", "redis_host": "127.0.0.1", "redis_port": 1}
for fields in (dead, {"persistence_type": "JDBC", "jdbc_database": "default"}):
    configuration = LoginConfiguration.get_solo()
    for name, value in fields.items():
        setattr(configuration, name, value)
    configuration.save(saved_by="grace.hopper")
last = Revision.objects.latest("pk").pk
Revision.objects.update(activates_at=Now() - timedelta(hours=2), saved_at=Now() - timedelta(hours=2))
name = "a-node-with-a-rather-long-name.region-1.example.org"
Node.objects.create(name=name, process=1, revision=last - 1, seen_at=Now() - timedelta(minutes=20))
print(last - 1)
"""
ARE_IN_SIGHT = """all => all.map((each) => {
  const box = each.getBoundingClientRect();
  const there = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  return each.contains(there);
})"""


class Themed(NamedTuple):
    """A site with a theme, and the number of the store that drains there."""

    theme: str
    node: Node
    draining: int


# Each has a site of its own: all but one are looked at in the long tests.
PARAMETERS = [pytest.param(each, marks=() if each == "django" else pytest.mark.long) for each in THEMES]


@pytest.fixture(params=PARAMETERS, scope="module")
def themed(
    request: pytest.FixtureRequest, new_site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Themed]:
    theme = str(request.param)
    if theme != "django":
        pytest.importorskip(theme.replace("-", "_"))
    folder: Path = tmp_path_factory.mktemp(theme)
    site = Site(folder, ADMIN_THEME=theme, ACTIVATION_SECONDS=0)
    shutil.copy(new_site.file, site.file)
    done = site.python("-c", HISTORY)
    assert done.returncode == 0, done.stderr
    site.environment["DJANGO_SETTINGS_MODULE"] = "tests.browser.themed"
    if theme != "django":
        site.manage("migrate", "--verbosity=0")  # the theme's own tables
    with Node(site, "node-1", workers=1) as node:
        yield Themed(theme, node, int(done.stdout))


@pytest.fixture
def node(themed: Themed) -> Node:
    return themed.node


@pytest.fixture(params=["light", pytest.param("dark", marks=pytest.mark.long)])
def page(request: pytest.FixtureRequest, node: Node, new_page: NewPage) -> Page:
    """The Login Configuration, with a REDIS chosen."""
    page = new_page(color_scheme=request.param)
    Visitor(page, node.url).log_in()
    page.goto(f"{node.url}{ADDRESS}")
    expect(page.get_by_role("region", name="Handover")).to_contain_text("refused")
    return page


def sideways(page: Page) -> list[str]:
    """Return the widths at which the page runs over."""
    over = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        found = page.evaluate("document.documentElement.scrollWidth")
        over += [f"{found} at {width}"] if found > width else []
    return over


def test_all_is_seen_in_every_theme_and_nothing_runs_over(
    page: Page, themed: Themed, screenshot: Screenshot
) -> None:
    scheme = "dark" if page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
    buttons = page.locator(".sp-bar-of-buttons .sp-button")
    expect(buttons).to_have_text(["Test connection", "Save"])
    page.get_by_role("radio", name="REDIS").check()
    assert buttons.evaluate_all(ARE_IN_SIGHT) == [True, True], "both, at a height of 800 pixels"
    screenshot(page, f"theme-{themed.theme}-{scheme}", whole=False)
    assert problems(page, "#content-main") == []

    page.mouse.wheel(0, 500)
    page.wait_for_function("document.scrollingElement.scrollTop + document.body.scrollTop > 100")
    strip = page.locator(".sp-status :is(strong, .sp-badge, .sp-button)")
    assert all(strip.evaluate_all(ARE_IN_SIGHT)), "the strip stays"
    assert sideways(page) == []

    for address in (f"{ADDRESS}abandon/{themed.draining}/", "/admin/sessionpersist/sessions/"):
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(f"{themed.node.url}{address}")
        assert problems(page, ".sp-page") == [], address
        assert sideways(page) == [], address
