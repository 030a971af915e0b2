"""``{% load sessionpersist %}``: what the templates of a project show of sessions."""

from __future__ import annotations

from typing import Any

from django import template
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from sessionpersist.account import timeout
from sessionpersist.account.ended import reason_of

register = template.Library()


@register.simple_tag(takes_context=True)
def session_timeout(context: template.Context, warn: float | None = None) -> SafeString:
    """Warn before the session ends, and ask for a login afterwards, without losing the page. Anywhere in ``<body>``.

    ``warn``: how many seconds before, 20 at least. Nothing is shown to whoever is not logged in, nor where staff have
    set no time-out.
    """
    request = _request_of(context)
    return _rendered("timeout.html", None if request is None else timeout.for_page(request, warn))


@register.simple_tag(takes_context=True)
def session_ended_reason(context: template.Context) -> SafeString:
    """On the login page: why whoever comes here has been logged out, if that is known."""
    request = _request_of(context)
    reason = None if request is None else reason_of(request)
    return _rendered("ended_reason.html", None if reason is None else {"reason": reason})


def _request_of(context: template.Context) -> HttpRequest | None:
    """Return the request; None on a page that is made without one, or before it has a session, as an error page is."""
    request = context.get("request")
    return request if hasattr(request, "session") and hasattr(request, "user") else None


def _rendered(name: str, context: dict[str, Any] | None) -> SafeString:
    if context is None:
        return mark_safe("")
    return render_to_string(f"sessionpersist/account/{name}", context)
