"""How long the session of an open page still lasts: what the script of ``{% session_timeout %}`` asks."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, reverse
from django.utils.crypto import salted_hmac
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST, require_safe

from sessionpersist import background
from sessionpersist.account import pages
from sessionpersist.account.ended import reason_of
from sessionpersist.engine import SessionStore
from sessionpersist.handover import snapshot
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import URLS_MISSING

SHORTEST_WARNING = 20_000  # milliseconds: what WCAG 2.2.1 asks for at least
WARNING = 120_000  # milliseconds before the end, or a tenth of the idle time-out if that is less


@background
@never_cache
@require_safe
def remaining(request: HttpRequest) -> JsonResponse:
    """Say how long the session lasts. Asking is not using it."""
    return JsonResponse(state(request))


@never_cache
@csrf_protect
@require_POST
def stay(request: HttpRequest) -> JsonResponse:
    """Use the session, which prolongs it, and say how long it lasts now.

    Raises UpdateError where it was ended a moment ago; the middleware says why.
    """
    if request.user.is_authenticated:
        request.session.save()
    return JsonResponse(state(request))


@login_required
@never_cache
@require_safe
def back(request: HttpRequest) -> HttpResponse:
    """Where a login in a tab of its own leads: the page that asked for it goes on by itself."""
    return pages.show(request, "back.html")


def state(request: HttpRequest) -> dict[str, Any]:
    """``user``: an opaque name, "" where nobody is logged in; ``left``: in milliseconds, None where no policy ends the
    session; ``extends``: whether a use would prolong it; ``reason``: a sentence for whoever was logged out; ``csrf``:
    the token that forms of this user have to send, a new one since the last login."""
    if not request.user.is_authenticated:
        reason = reason_of(request)
        return {"user": "", "left": 0, "extends": False, "reason": "" if reason is None else str(reason.text)}
    left, extends = time_left(request)
    return {"user": opaque(request.user), "left": left, "extends": extends, "csrf": get_token(request)}


def time_left(request: HttpRequest) -> tuple[int | None, bool]:
    """See SessionStore.time_left(); of the session of another engine nothing is known."""
    session = request.session
    return session.time_left() if isinstance(session, SessionStore) else (None, False)


def opaque(user: Any) -> str:
    """Return a name by which a page knows its user, and nobody else learns anything."""
    return salted_hmac("sessionpersist.account.timeout", str(user.pk), algorithm="sha256").hexdigest()[:16]


def warning_before(seconds: float | None) -> int:
    """Return how many milliseconds before the end the page warns: as wished, else as the policy has it."""
    if seconds is None:
        idle = snapshot.current().policy.idle
        wished = WARNING if idle is None else min(WARNING, idle // 10)
    else:
        wished = int(seconds * 1000)
    return max(SHORTEST_WARNING, wished)


def for_page(request: HttpRequest, warn: float | None) -> dict[str, Any] | None:
    """Return what the dialogs of this page have to know, or None where nothing will end its session."""
    if not snapshot.current().policy.has_times or not request.user.is_authenticated:
        return None
    left, extends = time_left(request)
    if left is None:
        return None
    try:
        addresses = {name: reverse(f"sessionpersist:{name}") for name in ("remaining", "stay", "back")}
    except NoReverseMatch:
        _say_what_is_missing()
        return None
    login = resolve_url(settings.LOGIN_URL)
    # In a tab of its own the login leads to a page that says that one may go back.
    elsewhere = f"{login}?{urlencode({'next': addresses['back']})}"
    who = {"who": opaque(request.user), "left": left, "extends": extends, "warning": warning_before(warn)}
    return who | addresses | {"login": login, "elsewhere": elsewhere}


@cache
def _say_what_is_missing() -> None:
    """Once a process: a page without the dialogs is better than none."""
    lines.say(
        URLS_MISSING,
        "{% session_timeout %} shows nothing: it takes include('sessionpersist.urls') in the addresses of the project.",
    )
