"""When a user logged in and last entered the password, as their session notes it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from time import time
from typing import TYPE_CHECKING, Any

from sessionpersist import conf
from sessionpersist.account import wishes

if TYPE_CHECKING:
    from django.http import HttpRequest

NOTE = "_sessionpersist_proved"  # in the session: who it was, and when they last logged in and entered the password
CANDIDATES = 2  # fields of a login form that may hold the password: a check takes a good part of a second


def note_proof(request: HttpRequest, user: Any) -> None:
    """Note in the session when this user has logged in, and whether by a password. Called after the login.

    A form of this app says so itself. Of any other login Django does not say by what it came, and single sign-on may
    come by the same backend. So the password that the form holds is checked once more, for staff alone.
    """
    wish = wishes.found(request, user)
    by_password = wish is not None and wish.by_password
    if conf.reauthenticate_seconds() is None or not (by_password or getattr(user, "is_staff", False)):
        return
    now = int(time())
    note = {**note_of(request, user), "user": str(user.pk), "login": now}
    if by_password or any(map(user.check_password, islice(_posted_passwords(request), CANDIDATES))):
        note["password"] = now
    request.session[NOTE] = note


def note_of(request: HttpRequest, user: Any) -> dict[str, Any]:
    """Return what is noted of this user; of another who had the session before, nothing."""
    note = request.session.get(NOTE)
    return dict(note) if isinstance(note, dict) and note.get("user") == str(user.pk) else {}


def _posted_passwords(request: HttpRequest) -> Iterator[str]:
    """Yield the passwords that a login form holds. Some have a prefix before the name.

    Only what has been read already: a login by a header may come with an upload that is not ours to read.
    """
    for name, value in request.POST.items() if hasattr(request, "_post") else ():
        if name == "password" or name.endswith("-password"):
            yield str(value)
