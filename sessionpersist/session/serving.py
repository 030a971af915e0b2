"""The request that is being served, for what happens without one at hand, such as a model's signal."""

from __future__ import annotations

from contextvars import ContextVar
from weakref import ref

from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

# Not the request itself: a task that a view has begun may live on, and would keep all that was sent with it.
serving: ContextVar[ref[HttpRequest] | None] = ContextVar("sessionpersist_serving", default=None)


def session_of_request() -> SessionBase | None:
    """Return the session of the request that is being served, as it is now: a view may have put another in its place,
    such as one that a header names."""
    found = serving.get()
    return getattr(found and found(), "session", None)
