"""Clients of the site: each keeps a cookie, uses the nodes in turn, and notes every answer."""

from __future__ import annotations

import http.client
import http.cookies
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

COOKIE = "sessionid"


class Lost(Exception):
    """The node went away after it had been asked: nobody knows whether it has done what it was asked for."""


@dataclass(frozen=True)
class Answer:
    """One answer: when it came (monotonic seconds), how long it took, its status, its JSON or {}, and whose it is."""

    at: float
    seconds: float
    status: int
    retry_after: str | None
    body: dict[str, Any]
    cookie_deleted: bool
    url: str = ""


@dataclass
class Browser:
    """One user with one cookie."""

    urls: Sequence[str]
    cookie: str | None = None
    answers: list[Answer] = field(default_factory=list)
    _turn: int = 0

    def get(self, path: str) -> Answer:
        return self._request("GET", path)

    def post(self, path: str) -> Answer:
        return self._request("POST", path)

    def _request(self, method: str, path: str) -> Answer:
        """Ask the next node; one that refuses the connection, or ends as it is made, is passed over. Raises Lost."""
        for _ in self.urls[1:]:
            try:
                return self._ask(method, path)
            except (ConnectionRefusedError, ConnectionResetError):
                continue
        return self._ask(method, path)

    def _ask(self, method: str, path: str) -> Answer:
        self._turn += 1
        url = self.urls[self._turn % len(self.urls)]
        address = urlsplit(url)
        assert address.hostname
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        headers = {"Cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {}
        begun = time.monotonic()
        try:
            connection.connect()
            try:
                connection.request(method, path, headers={**headers, "Accept": "application/json"})
                response = connection.getresponse()
                return self._note(begun, response, url)
            except (OSError, http.client.HTTPException) as error:
                raise Lost from error
        finally:
            connection.close()

    def _note(self, begun: float, response: http.client.HTTPResponse, url: str) -> Answer:
        text = response.read()
        deleted = self._take_cookie(response.headers.get_all("Set-Cookie") or [])
        is_json = response.headers.get_content_type() == "application/json"
        now = time.monotonic()
        answer = Answer(
            now,
            now - begun,
            response.status,
            response.headers["Retry-After"],
            json.loads(text) if is_json else {},
            deleted,
            url,
        )
        self.answers.append(answer)
        return answer

    def _take_cookie(self, headers: list[str]) -> bool:
        """Keep the session cookie as a browser would; True where the answer deletes it."""
        for header in headers:
            morsel = http.cookies.SimpleCookie(header).get(COOKIE)
            if morsel is not None:
                self.cookie = morsel.value or None
                return self.cookie is None
        return False


class Load:
    """Browsers that call the same thing again and again, a thread each, until the block ends. How long each waits in
    between, in seconds, may change meanwhile."""

    def __init__(
        self, browsers: Sequence[Browser], action: Callable[[Browser], object], pause: float = 0.02
    ) -> None:
        self.failures: list[BaseException] = []
        self.pause = pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each, action)) for each in browsers]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def _run(self, browser: Browser, action: Callable[[Browser], object]) -> None:
        try:
            while not self._stop.is_set():
                action(browser)
                self._stop.wait(self.pause)
        except BaseException as error:
            self.failures.append(error)
            self._stop.set()
