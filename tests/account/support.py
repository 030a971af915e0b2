"""What the tests of users' pages share."""

from __future__ import annotations

from typing import Any

from django.test import Client

PASSWORD = "correct horse battery staple"
JSON = {"Accept": "application/json"}
DESKTOP = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1"
)


def log_in(client: Client, username: str = "ada", **more: Any) -> Client:
    """Log in by the form of the site."""
    answer = client.post("/login/", {"username": username, "password": PASSWORD, **more})
    assert answer.status_code == 302, answer.content
    return client


def is_logged_in(client: Client) -> bool:
    return "You are logged in as" in client.get("/").content.decode()


def text_of(response: Any) -> str:
    found: str = response.content.decode()
    return found
