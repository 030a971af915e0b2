"""What a login form knows and ``login()`` has no place for.

It is left on the request, and the signal of the login finds it there. So the form works with any view that logs its
user in, Django's own first of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.http import HttpRequest

    from sessionpersist.engine import SessionStore

ATTRIBUTE = "_sessionpersist_wish"  # on a request


@dataclass(frozen=True)
class Wish:
    """``user_id``: whose login it goes with. ``remember``: None where the form had no box to tick. ``by_password``:
    whether the form has just checked the password."""

    user_id: str
    remember: bool | None
    by_password: bool


def leave(request: HttpRequest, wish: Wish) -> None:
    """Leave it for the login that follows in this request."""
    vars(request)[ATTRIBUTE] = wish


def found(request: HttpRequest, user: Any) -> Wish | None:
    """Return what was left for the login of this user, if anything was."""
    wish = vars(request).get(ATTRIBUTE)
    return wish if isinstance(wish, Wish) and wish.user_id == str(user.pk) else None


def fulfil(session: SessionStore, wish: Wish | None) -> None:
    """Have the session remembered as its user has asked, before it is saved with that user."""
    if wish is not None and wish.remember is not None:
        session.remember(wish.remember)
