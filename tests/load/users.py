"""Users of a live site, who note whatever they should not see. A node may die in the middle of a request."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.load.clients import Answer, Browser, Lost


class User:
    def __init__(self, urls: Sequence[str], name: str) -> None:
        self.browser, self.name = Browser(urls), name
        self.faults: list[str] = []

    def check(self, truth: bool, what: str) -> None:
        if not truth:
            self.faults.append(f"{self.name}: {what}")

    def is_logged_in(self, answer: Answer) -> bool:
        return answer.status == 200 and answer.body.get("user") == self.name


class Visitor(User):
    """Stays logged in, and knows to the last one how many visits the session must have counted."""

    visits, lost, lost_in_all = (
        0,
        0,
        0,
    )  # ``lost``: requests since the last answer that may have counted, or not

    def log_in(self) -> None:
        self.check(self.browser.post(f"/login/{self.name}/").status == 200, "could not log in")

    def visit(self) -> None:
        try:
            answer = self.browser.get("/visit/")
        except Lost:
            self.lost += 1
            self.lost_in_all += 1
            return
        self.check(self.is_logged_in(answer), f"{answer.status} {answer.body} in place of a visit")
        counted = answer.body.get("visits", 0)
        expected = range(self.visits + 1, self.visits + self.lost + 2)
        self.check(counted in expected, f"{counted} visits, and not {expected}")
        self.visits, self.lost = counted, 0


class Comer(User):
    """Logs in, looks around, logs out, and tries the old cookie again; then the same from the start."""

    def __init__(self, urls: Sequence[str], name: str) -> None:
        super().__init__(urls, name)
        self.urls = urls
        self.old_cookies: list[str] = []
        self.random = random.Random(name)

    def come_and_go(self) -> None:
        if not self.log_in():
            return
        for _ in range(self.random.randrange(1, 5)):
            self.look_around()
        cookie = self.browser.cookie
        assert cookie
        while not self.log_out():
            self.browser.cookie = cookie
        self.old_cookies.append(cookie)
        for _ in self.urls:
            self.try_again(cookie)

    def log_in(self) -> bool:
        try:
            answer = self.browser.post(f"/login/{self.name}/")
        except Lost:
            return False
        self.check(answer.status == 200, f"{answer.status} at the login")
        return answer.status == 200

    def look_around(self) -> None:
        try:
            answer = self.browser.get("/whoami/")
        except Lost:
            return
        self.check(self.is_logged_in(answer), f"{answer.status} {answer.body} while logged in")

    def log_out(self) -> bool:
        """Return whether the logout was acknowledged. Who is not sure does it again."""
        try:
            answer = self.browser.post("/logout/")
        except Lost:
            return False
        self.check(answer.status == 200, f"{answer.status} at the logout")
        return True

    def try_again(self, cookie: str) -> None:
        """A thief uses the cookie of a session that was logged out."""
        thief = Browser(self.urls, cookie, _turn=self.random.randrange(len(self.urls)))
        try:
            answer = thief.get("/whoami/")
        except Lost:
            return
        self.check(answer.status == 200, f"{answer.status} after the logout")
        self.check(answer.body.get("user") == "", "logged in after the logout")
