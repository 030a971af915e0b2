"""What somebody is told whose session is over: where they have to log in again, and why.

The reason goes to the login page in a cookie of its own, as the session that knew it is gone by then. It holds a
number, lasts ten minutes, and goes with the next login. Whoever forges it reads another sentence of ours.
"""

from __future__ import annotations

from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth import SESSION_KEY as USER_ID
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import resolve_url

from sessionpersist.account import pages
from sessionpersist.account.anonymous import make_anonymous
from sessionpersist.engine import SessionStore
from sessionpersist.handover import snapshot
from sessionpersist.middleware import preferred_media_type
from sessionpersist.session.reasons import Reason

SECONDS = 600


def cookie_name() -> str:
    """The name of the cookie that holds the reason."""
    return f"{settings.SESSION_COOKIE_NAME}_ended"


def reason_of(request: HttpRequest) -> Reason | None:
    """Return why whoever sends this request has been logged out; None where nobody has, or nothing is known of it.

    Raises StoreUnavailable.
    """
    session = request.session
    if not isinstance(session, SessionStore) or USER_ID in session:  # looks for it, where it came with a key
        return None
    if session.is_over:
        return session.ended_reason or likely_reason()
    number = request.COOKIES.get(cookie_name(), "")
    return Reason(int(number)) if number.isascii() and number.isdigit() and len(number) < 4 else None


def likely_reason() -> Reason:
    """Return the reason where no store knows any: at its end a session is simply not there any more."""
    return Reason.EXPIRED if snapshot.current().policy.idle is None else Reason.IDLE


def pass_on_reason(request: HttpRequest, response: HttpResponse) -> None:
    """Have the browser keep why its session is over, until its user has logged in again. Asks no store."""
    session = request.session
    if not isinstance(session, SessionStore):
        return
    is_users = USER_ID in getattr(session, "_session_cache", {})
    if session.is_over and not is_users:
        set_reason(response, session.ended_reason or likely_reason())
    elif is_users and cookie_name() in request.COOKIES and settings.SESSION_COOKIE_NAME in response.cookies:
        delete_cookie(response, cookie_name())


def interrupted(request: HttpRequest) -> HttpResponse:
    """Return the answer to a request whose session was ended meanwhile: what its view answered is for nobody.

    A page is asked for again by the login page; a client of an API gets a 401; a form that was sent gets a page that
    says so, as it can't be sent again by itself.
    """
    session = request.session
    reason = (session.ended_reason if isinstance(session, SessionStore) else None) or Reason.UNKNOWN
    request.session = SessionStore()
    make_anonymous(request)
    response = _answer(request, reason)
    response["Cache-Control"] = "no-store"
    delete_cookie(response, settings.SESSION_COOKIE_NAME)
    set_reason(response, reason)
    return response


def _answer(request: HttpRequest, reason: Reason) -> HttpResponse:
    login = resolve_url(settings.LOGIN_URL)
    if preferred_media_type(request) == "application/json":
        facts = {"error": "session_ended", "reason": reason.name.lower(), "message": str(reason.text)}
        return JsonResponse(facts, status=401)
    if request.method not in {"GET", "HEAD"}:
        return pages.show(request, "session_ended.html", {"reason": reason, "login": login}, status=403)
    response = HttpResponseRedirect(f"{login}?{urlencode({'next': request.get_full_path()})}")
    response.status_code = 303
    return response


def set_reason(response: HttpResponse, reason: Reason) -> None:
    """With the flags of the session cookie, but never for scripts."""
    response.set_cookie(
        cookie_name(),
        str(int(reason)),
        max_age=SECONDS,
        path=settings.SESSION_COOKIE_PATH,
        domain=settings.SESSION_COOKIE_DOMAIN,
        secure=settings.SESSION_COOKIE_SECURE or None,  # type: ignore[arg-type] # as Django does
        httponly=True,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )


def delete_cookie(response: HttpResponse, name: str) -> None:
    """As Django deletes the session cookie."""
    response.delete_cookie(
        name,
        path=settings.SESSION_COOKIE_PATH,
        domain=settings.SESSION_COOKIE_DOMAIN,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )
