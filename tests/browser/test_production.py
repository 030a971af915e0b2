"""The site as in production, before a real browser: its cookies, its policy, and what is left after a logout."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from urllib.parse import urldefrag, urljoin

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import NewContext, NewPage
from tests.browser.secure import production
from tests.browser.visitor import USER, Visitor
from tests.servers.certificates import Certificates
from tests.sizes import first_of_each

pytestmark = pytest.mark.xdist_group("browser users")

LINKS = "Array.from(document.links, each => each.href)"
INLINE_SCRIPT = """() => {
  const script = document.createElement("script");
  script.textContent = "window.ran = true";
  document.body.append(script);
  return window.ran === true;
}"""
INLINE_STYLE = """() => {
  document.body.setAttribute("style", "display: none");
  return getComputedStyle(document.body).display === "none";
}"""
CACHED = """async address => {
  try { return (await fetch(address, {cache: "only-if-cached", mode: "same-origin"})).ok; } catch { return false; }
}"""


@pytest.fixture(scope="module")
def url(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with production(tmp_path_factory.mktemp("production"), certificates) as url:
        yield url


@pytest.fixture
def node(url: str) -> None:
    """The site in production is the only one here."""


@pytest.fixture
def page(new_page: NewPage) -> Page:
    """A page of a browser. Whatever the policy forbids is an error in its console, and fails the test."""
    return new_page()


@pytest.fixture
def visitor(page: Page, url: str) -> Visitor:
    visitor = Visitor(page, url)
    visitor.type_in()
    return visitor


def pages_from(page: Page, first: str) -> Iterator[str]:
    """Follow every link from here to pages of the site, and open each once."""
    waiting, seen = deque([first]), {place(first)}
    while waiting:
        page.goto(waiting.popleft())
        yield page.url
        for link in page.evaluate(LINKS):
            address, _ = urldefrag(urljoin(page.url, link))
            if address.startswith(first) and place(address) not in seen:
                seen.add(place(address))
                waiting.append(address)


def place(address: str) -> tuple[str, bool]:
    """A list that is filtered or in another order is the same page; as a pop-up it is another."""
    return address.partition("?")[0], "_popup" in address


def test_the_browser_takes_the_cookies_and_no_page_of_the_site_or_the_admin_breaks_the_policy(
    visitor: Visitor, url: str
) -> None:
    check_cookies(visitor)
    opened = list(pages_from(visitor.page, f"{url}/"))
    for part in (
        "/user/1/change/",
        "/user/1/delete/",
        "/group/add/?",
        "/password_change/",
        "/loginconfiguration/",
    ):
        assert any(part in address for address in opened), part
    assert len(opened) > 12


def check_cookies(visitor: Visitor) -> None:
    """No other host could plant them."""
    cookies = {each["name"]: each for each in visitor.page.context.cookies()}
    assert set(cookies) == {"__Host-sessionid", "__Host-csrftoken"}
    for cookie in cookies.values():
        assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "localhost")
    assert cookies["__Host-sessionid"]["httpOnly"]


def test_what_the_admin_does_with_scripts_works_under_the_policy(visitor: Visitor, url: str) -> None:
    page = visitor.page
    page.goto(f"{url}/admin/auth/user/?is_staff__exact=1&_facets=True")
    page.locator("#searchbar").fill("grace")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=USER).click()
    page.get_by_role("link", name="Today").first.click()
    page.get_by_role("link", name="Choose a Date").first.click()
    page.locator(".calendarbox").first.get_by_role("link", name="Tomorrow").click()
    page.get_by_role("link", name="Choose a Time").first.click()
    page.locator(".clockbox").first.get_by_role("link", name="Noon").click()
    expect(page.locator("#id_last_login_1")).to_have_value("12:00:00")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Add another group").click()
    opened.value.get_by_label("Name:").fill("operators")
    opened.value.get_by_role("button", name="Save").click()
    expect(page.locator("#id_groups_to option")).to_have_text("operators")


def test_no_page_for_an_anonymous_visitor_breaks_the_policy(new_page: NewPage, url: str) -> None:
    page = new_page(outage=True)  # a 404 is an error in the console, too
    for address in ("/", "/login/", "/admin/login/", "/admin/logout/", "/missing", "/admin/missing"):
        page.goto(f"{url}{address}")
        expect(page.locator("#content")).to_be_visible()


def test_what_is_inline_neither_runs_nor_shows(chromium: Browser, url: str) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(url)
    assert page.evaluate(INLINE_SCRIPT) is False
    assert page.evaluate(INLINE_STYLE) is False
    context.close()


@pytest.mark.parametrize("logout", first_of_each(["/", "/admin/"], lambda page: "one middleware"))
def test_a_logout_leaves_nothing_of_the_site_in_the_browser(
    new_context: NewContext, url: str, logout: str
) -> None:
    context = new_context(outage=True)  # what is no longer in the cache is an error in the console
    page, kept = context.new_page(), f"{url}/static/admin/img/search.svg"
    Visitor(page, url).type_in()
    context.add_cookies([{"name": "other", "value": "1", "url": url}])
    page.goto(f"{url}{logout}?before")
    page.evaluate("localStorage.setItem('searched', 'grace')")
    page.evaluate("address => fetch(address, {cache: 'reload'}).then(answer => answer.text())", kept)
    assert page.evaluate(CACHED, kept)

    with page.expect_navigation():
        page.get_by_role("button", name="Log out").click()
    page.goto(f"{url}/login/")
    assert page.evaluate("localStorage.length") == 0
    assert not page.evaluate(CACHED, kept)
    assert "other" in {each["name"] for each in context.cookies()}, (
        "an application beside this one keeps its own"
    )
    with page.expect_navigation():
        page.evaluate("history.go(-2)")
    assert "before" in page.url
    expect(page.get_by_text(USER)).to_have_count(0)
