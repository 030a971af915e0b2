"""A member of staff who works with the page “Login Configuration” of a live site, by its own forms."""

from __future__ import annotations

import http.cookiejar
import itertools
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser

from tests.load.site import Site

NAME, PASSWORD = "operator", "for-this-test-only-1"
PAGE = "/admin/sessionpersist/loginconfiguration/"


class Person:
    """Uses the nodes in turn, with a session and a CSRF token as a browser has them."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = itertools.cycle(urls)
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(cookies)

    def log_in(self, name: str, password: str) -> None:
        text = self._send("/admin/login/", "login-form", username=name, password=password)
        assert "Site administration" in text, text

    def _send(self, path: str, form: str, **typed: object) -> str:
        """Fill in a form of a page and send it, to another node than showed it. Return what is shown then."""
        shown = self.open(path)
        values = Form.of(shown, form) | {name: str(value) for name, value in typed.items()}
        return self.open(path, urllib.parse.urlencode(values).encode())

    def open(self, path: str, data: bytes | None = None) -> str:
        """Return what a page shows."""
        try:
            return self._ask(path, data)
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
        return self._ask(path, data)  # that node is down: the other one

    def _ask(self, path: str, data: bytes | None) -> str:
        with self._opener.open(next(self._urls) + path, data, timeout=60) as answer:
            text: str = answer.read().decode()
            return text


class Operator(Person):
    """One who may change the configuration of a site."""

    def __init__(self, site: Site, urls: Sequence[str]) -> None:
        super().__init__(urls)
        site.environment["DJANGO_SUPERUSER_PASSWORD"] = PASSWORD
        site.manage("createsuperuser", "--no-input", f"--username={NAME}", "--email=operator@example.org")
        self.log_in(NAME, PASSWORD)

    def switch_to(self, **fields: object) -> None:
        """Type these into the page and press “Save”."""
        text = self._send(PAGE, "loginconfiguration_form", your_password=PASSWORD, **fields)
        assert "Saved." in text, re.findall(r'class="error.*', text)


class Form(HTMLParser):
    """What a browser would send of a form that nobody has typed into."""

    def __init__(self, identity: str) -> None:
        super().__init__()
        self.identity, self.inside = identity, False
        self.values: dict[str, str] = {}
        self.select = self.area = ""

    @classmethod
    def of(cls, text: str, identity: str) -> dict[str, str]:
        form = cls(identity)
        form.feed(text)
        return form.values

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        if tag == "form":
            self.inside = found.get("id") == self.identity
        elif self.inside and tag == "select":
            self.select = found["name"]
        elif self.inside and tag == "textarea":
            self.area = found["name"]
            self.values[self.area] = ""
        elif self.inside:
            self.values |= dict(self._value_of(tag, found))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.inside = False
        if tag == "textarea":
            self.area = ""

    def handle_data(self, data: str) -> None:
        if self.area:
            self.values[self.area] += data.removeprefix("\n")  # which a browser passes over, too

    def _value_of(self, tag: str, found: dict[str, str]) -> Iterator[tuple[str, str]]:
        if tag == "option" and "selected" in found:
            yield self.select, found.get("value", "")
        if tag == "input" and "name" in found and found.get("type") not in ("submit", "button"):
            yield from self._value_of_input(found)

    def _value_of_input(self, found: dict[str, str]) -> Iterator[tuple[str, str]]:
        if found.get("type") not in ("radio", "checkbox"):
            yield found["name"], found.get("value", "")
        elif "checked" in found:
            yield found["name"], found.get("value", "on")
