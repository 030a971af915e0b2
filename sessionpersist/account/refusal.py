"""A login that was refused, because the user is logged in as often as the policy allows: what to end instead.

Who got as far has proved who they are. That is kept in their session, which is nobody's yet, for ten minutes and for
one use; under a new key, since somebody else may know the one before.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import time
from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, resolve_url
from django.urls import NoReverseMatch, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.crypto import constant_time_compare
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods

from sessionpersist import sessions
from sessionpersist.account import pages, wishes
from sessionpersist.account.wishes import Wish
from sessionpersist.exceptions import SessionLimitReached
from sessionpersist.middleware import preferred_media_type
from sessionpersist.session.reasons import Reason

PENDING = "_sessionpersist_pending_login"  # in the session
SECONDS = 600  # how long it can be completed


@dataclass(frozen=True)
class Pending:
    """A login that has only the limit in its way. ``since``: Unix time."""

    user_id: str
    backend: str
    proof: str  # the session hash of the user: of another password it is another one
    remember: bool | None
    next: str
    since: int


def refused_before_the_view(request: HttpRequest, error: SessionLimitReached) -> HttpResponse:
    """The same for a middleware that logs its user in by itself, as single sign-on does: that also happens before our
    page is reached, which is shown all the same."""
    response = refused(request, error, request.get_full_path())
    if response.status_code != 303 or request.path != response["Location"]:
        return response
    try:
        return limit(request)
    except SessionLimitReached:  # nothing was ended
        return response


def refused(request: HttpRequest, error: SessionLimitReached, came_for: str = "") -> HttpResponse:
    """Lead whoever was refused to the page that offers to end another session; clients of an API are told.

    Called by the middleware: the login may have been made by any view. ``came_for`` is what is shown after it, unless
    the login form says what.
    """
    if preferred_media_type(request) == "application/json":
        message = _("You are logged in on as many devices as you are allowed. Log out on one of them first.")
        told = JsonResponse({"error": "session_limit_reached", "message": message}, status=403)
        add_never_cache_headers(told)
        return told
    try:
        address = reverse("sessionpersist:limit")
    except NoReverseMatch:  # the project does not include our pages
        page = pages.show(request, "limit.html", status=403)
        add_never_cache_headers(page)
        return page
    user = find_user(error.user_id, error.backend)
    if user is not None:
        keep(request, user, error, "" if came_for == address else came_for)
    response = redirect(address)
    response.status_code = 303
    add_never_cache_headers(response)
    return response


def keep(request: HttpRequest, user: Any, error: SessionLimitReached, came_for: str) -> None:
    """Keep the login for the page that follows."""
    wish, earlier = wishes.found(request, user), held(request)
    again = (
        earlier is not None
        and earlier.user_id == error.user_id
        and request.path == reverse("sessionpersist:limit")
    )
    since = earlier.since if earlier and again else int(time())  # to try again is no new proof
    remember = wish.remember if wish else None
    proof, following = user.get_session_auth_hash(), next_of(request, came_for)
    pending = Pending(error.user_id, error.backend, proof, remember, following, since)
    request.session[PENDING] = asdict(pending)
    request.session.cycle_key()


def forget(session: SessionBase) -> None:
    """Somebody has logged in: nothing waits any more, whoever it was that had been refused in this browser.

    A login that has not read the session, such as one by a token, leaves it unread.
    """
    if hasattr(session, "_session_cache"):
        session.pop(PENDING, None)


def held(request: HttpRequest) -> Pending | None:
    """Return the login that this session may still complete."""
    found = request.session.get(PENDING)
    pending = Pending(**found) if isinstance(found, dict) else None
    # The node that has refused it may be ahead of this one.
    return pending if pending and abs(time() - pending.since) <= SECONDS else None


def user_of(pending: Pending) -> Any | None:
    """Return whose login it is; None if they could not log in any more, have changed their password since, or have had
    all their sessions ended."""
    user = find_user(pending.user_id, pending.backend)
    if user is None or not constant_time_compare(user.get_session_auth_hash(), pending.proof):
        return None
    return user if pending.since * 1000 > sessions.all_ended_at(user) else None


def find_user(user_id: str, backend: str) -> Any | None:
    """Return the user as the backend that let them in knows them, or None."""
    if backend not in settings.AUTHENTICATION_BACKENDS:
        return None
    return auth.load_backend(backend).get_user(auth.get_user_model()._meta.pk.to_python(user_id))


@never_cache
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def limit(request: HttpRequest) -> HttpResponse:
    """List the user's sessions; by POST, end one of them and complete the login."""
    pending = held(request)
    user = user_of(pending) if pending else None
    if pending is None or user is None:
        return redirect(resolve_url(settings.LOGIN_URL))
    if request.method == "POST":
        # One that is over already leaves room, too. The limit itself decides about the login.
        if chosen := request.POST.get("id"):
            sessions.end(user, chosen, reason=Reason.SIGNED_IN_ELSEWHERE)
        else:
            sessions.end_unsaved(user)
        return completed(request, user, pending)
    listed = sessions.of(user)
    return pages.show(request, "limit.html", {"sessions": listed, "name": user.get_username()})


def completed(request: HttpRequest, user: Any, pending: Pending) -> HttpResponse:
    """Log in what was refused before. Raises SessionLimitReached if somebody else was faster."""
    wishes.leave(request, Wish(str(user.pk), pending.remember, by_password=False))
    auth.login(request, user, backend=pending.backend)
    return HttpResponseRedirect(pending.next)


def next_of(request: HttpRequest, came_for: str) -> str:
    """Return where the login was to lead: to an address of this site."""
    earlier = held(request)
    asked = request.POST.get("next", request.GET.get("next", "")) or (earlier.next if earlier else came_for)
    there = urljoin(request.path, asked)  # from another page a relative address would lead elsewhere
    if is_ours(request, asked) and is_ours(request, there):  # each can be harmless where the other is not
        return there
    return resolve_url(settings.LOGIN_REDIRECT_URL)


def is_ours(request: HttpRequest, address: str) -> bool:
    """Return whether an address leads to this site."""
    return url_has_allowed_host_and_scheme(address, {request.get_host()}, require_https=request.is_secure())
