"""The session of the request that is being served, for what happens without one at hand, such as a model's signal."""

from __future__ import annotations

from contextvars import ContextVar

from django.contrib.sessions.backends.base import SessionBase

serving: ContextVar[SessionBase | None] = ContextVar("sessionpersist_serving", default=None)
