"""What a person does with the site in a browser, in the words that stand on the page."""

from __future__ import annotations

import time
from hashlib import sha256
from secrets import token_hex

from playwright.sync_api import Locator, Page, expect

from tests.browser.places import Place

USER, PASSWORD = "grace.hopper", "compiler-1952"
ADDRESS = "/admin/sessionpersist/loginconfiguration/"
COOKIE = "sessionid"
PATIENCE = 15_000  # milliseconds, on a busy machine


class Visitor:
    """Somebody of the staff, with a page of a browser before them."""

    def __init__(self, page: Page, url: str, user: str = USER) -> None:
        self.page, self.url, self.user = page, url, user

    @property
    def session_key(self) -> str:
        """The secret in the cookie."""
        cookies = {each["name"]: each["value"] for each in self.page.context.cookies()}
        return cookies[COOKIE]

    @property
    def stored_key(self) -> str:
        """The name by which a store may know the session."""
        return sha256(self.session_key.encode()).hexdigest()

    def visit_home(self) -> None:
        self.page.goto(f"{self.url}/")

    def log_in(self) -> None:
        """Send the login form, with the cookies of the page, which stays where it is: a fifth of the time that typing
        takes."""
        token = token_hex(16)  # the form has to send what is in the cookie, whatever that is
        self.page.context.add_cookies([{"name": "csrftoken", "value": token, "url": self.url}])
        answer = self.page.request.post(
            f"{self.url}/login/",
            form={"username": self.user, "password": PASSWORD, "csrfmiddlewaretoken": token},
            max_redirects=0,
        )
        assert answer.status == 302, answer.text()

    def type_in(self) -> None:
        """Log in by hand, and end on the home page."""
        self.page.goto(f"{self.url}/login/")
        self.page.get_by_label("Username").fill(self.user)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        self.check_logged_in()

    def check_logged_in(self) -> None:
        expect(self.page.get_by_role("heading", level=1)).to_have_text(f"You are logged in as {self.user}")

    def visits(self) -> int:
        """The count that the home page shows."""
        return int(self.page.locator("#visits").inner_text())

    def open_configuration(self) -> None:
        """Go there, and wait until its scripts run."""
        self.page.goto(f"{self.url}{ADDRESS}")
        expect(self.page.get_by_role("heading", name="Login Configuration")).to_be_visible()

    def find_configuration(self) -> None:
        """Go there as one would: over the admin's front page."""
        self.page.goto(f"{self.url}/admin/")
        self.page.get_by_role("link", name="Login Configuration").first.click()
        expect(self.page.get_by_role("heading", name="Login Configuration")).to_be_visible()
        self.page.wait_for_load_state()  # its scripts run

    def choose(self, place: Place, **changes: str) -> None:
        """Choose a store and fill in its fields; ``changes`` by label, such as ``Password="wrong"``."""
        self.page.get_by_role("radio", name=place.label).check()
        for label, value in (place.fields | changes).items():
            field = self.field(place, label)
            if label == "Database":  # of those of Django's settings
                field.select_option(value)
            else:
                field.fill(value)

    def field(self, place: Place, label: str) -> Locator:
        return self.group(place).get_by_label(label, exact=True)

    def group(self, place: Place) -> Locator:
        return self.page.get_by_role("group", name=place.label, exact=True)

    def errors(self, place: Place, label: str) -> Locator:
        """The messages at one field."""
        row = self.group(place).locator(".sp-field", has=self.page.get_by_label(label, exact=True))
        return row.locator(".errorlist")

    def test_connection(self) -> None:
        self.page.get_by_role("button", name="Test connection").click()

    def verdict(self) -> Locator:
        return self.page.locator("#sp-result .sp-verdict")

    def steps(self) -> Locator:
        return self.page.locator(".sp-steps .sp-step")

    def save(self) -> None:
        self.page.get_by_role("button", name="Save", exact=True).click()

    def check_saved(self, place: Place) -> None:
        """The page says so, and in the strip on top which store that is."""
        expect(self.page.locator(".messagelist .success")).to_have_text("Saved.")
        expect(self.status()).to_contain_text(place.label)

    def wait_until_in_force(self, place: Place) -> None:
        """Ask for the home page, with the cookies of the page, which stays where it is, until it names the store. Its
        user is still logged in."""
        give_up = time.monotonic() + PATIENCE / 1000
        named = f'<span id="store">{place.label}</span>'
        while named not in (home := self.page.request.get(f"{self.url}/").text()):
            assert time.monotonic() < give_up, f"sessions are not yet in {place.label}"
            self.page.wait_for_timeout(100)
        assert f'<span id="user">{self.user}</span>' in home

    def width(self) -> int:
        """How wide the page is, in pixels, once it has its style sheets."""
        self.page.wait_for_load_state()
        found: int = self.page.evaluate("document.documentElement.scrollWidth")
        return found

    def status(self) -> Locator:
        return self.page.get_by_role("region", name="Status")

    def report(self) -> Locator:
        """What came of “Check now”."""
        return self.page.locator("#sp-report")

    def history(self) -> Locator:
        return self.page.locator(".sp-history tbody tr")
