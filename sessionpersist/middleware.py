"""The session middleware: a drop-in for Django's that answers an outage of the store with 503."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.contrib.sessions import middleware
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.template.loader import select_template

from sessionpersist.awaiting import awaited, in_thread
from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import SessionLimitReached, StoreUnavailable
from sessionpersist.session.serving import serving
from sessionpersist.stores.secret import Secret

RETRY_AFTER = 2  # seconds: the breaker's pause, and time for the call that tries the store
MEDIA_TYPES = ["text/html", "application/json"]


class SessionMiddleware(middleware.SessionMiddleware):
    """``MIDDLEWARE``: put it in the place of ``django.contrib.sessions.middleware.SessionMiddleware``.

    It is a subclass, not a layer around Django's: Django turns exceptions into responses between any two layers, so a
    layer around it would see none. The engine marks the outage on the session. Whatever became of the exception, the
    answer is 503 with Retry-After, the cookie stays, and no user appears to be logged out.
    """

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        if not self.async_mode and not hasattr(self, "process_view"):  # under ASGI it would take a thread
            self.process_view = self._before_the_view

    def process_request(self, request: HttpRequest) -> None:
        """Do what Django does, with a session key that no crash report shows."""
        has_one = settings.SESSION_COOKIE_NAME in request.COOKIES
        session_key = Secret(request.COOKIES[settings.SESSION_COOKIE_NAME]) if has_one else None
        request.session = session = self.SessionStore(session_key)
        if isinstance(session, SessionStore):
            session.saved_with_response = not self.async_mode
        serving.set(ref(request))

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Do the same under ASGI, on the loop itself: nothing here takes a thread unless a store or a page does. What a
        subclass of a project's adds may ask a database, and so may another engine: they are run in a thread, as Django
        has it."""
        if type(self) is not SessionMiddleware or not issubclass(self.SessionStore, SessionStore):
            return await super().__acall__(request)
        self.process_request(request)
        response: HttpResponse = await self.get_response(request)  # type: ignore[misc] # it is a coroutine function
        return await awaited(self.process_response, request, response)

    def _before_the_view(
        self, request: HttpRequest, view: Callable[..., Any], arguments: Any, named: Any
    ) -> None:
        """An async view may ask for the key on a loop, which must not wait: its session moves at once."""
        if iscoroutinefunction(view) and isinstance(session := request.session, SessionStore):
            session.move_at_once()

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer a fault in a view or in a deferred template here, so that it is not logged as a crash of the view.
        Nobody is asked once more then."""
        if isinstance(exception, SessionLimitReached):
            return refused(request, exception)
        if isinstance(exception, UpdateError) and is_gone(request):
            return interrupted(request)
        if not isinstance(exception, StoreUnavailable):
            return None
        try:
            if answer := logged_out(request, exception):
                return answer
        except StoreUnavailable as error:
            exception = error
        request.session.outage = exception  # type: ignore[attr-defined] # where the view itself asked, too
        return unavailable(request, exception)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save the session as Django does, unless its store could not be asked, now or earlier in this request."""
        serving.set(None)
        session = getattr(request, "session", None)
        if isinstance(session, SessionStore):
            session.saved_with_response = False
        outage = getattr(session, "outage", None)
        if outage is None:
            try:
                note_use(request)
                return self._saved(request, instead_of_crash(request, response))
            except StoreUnavailable as error:
                outage = error
        if response.status_code == 503 and response.has_header("Retry-After"):
            return response
        return in_place_of(response, unavailable(request, outage))

    def _saved(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Do as Django does, but for a login that is one too many and for a session that was ended meanwhile."""
        try:
            response = super().process_response(request, response)
        except SessionLimitReached as error:  # of a view that logs somebody in without Django's login()
            response = super().process_response(request, in_place_of(response, refused(request, error)))
        except SessionInterrupted:
            return in_place_of(response, interrupted(request))
        pass_on_reason(request, response)
        return response


def in_place_of(response: HttpResponse, replacement: HttpResponse) -> HttpResponse:
    """Return the second one, which is sent instead of the first. What the first one holds is closed with it: to close
    that here would also say that the request has finished."""
    replacement._resource_closers.extend(response._resource_closers)  # type: ignore[attr-defined]
    return replacement


def instead_of_crash(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Return the response; where another middleware has logged somebody in once too often, which Django takes for a
    crash, the answer to that."""
    error = getattr(getattr(request, "session", None), "refusal", None)
    if error is None or response.status_code < 500:
        return response
    from sessionpersist.account import refusal

    return in_place_of(response, in_thread(refusal.refused_before_the_view, request, error))


def refused(request: HttpRequest, error: SessionLimitReached) -> HttpResponse:
    """Return the answer to a login that is one too many."""
    from sessionpersist.account import refusal  # it needs the apps to be ready

    return in_thread(refusal.refused, request, error)


def interrupted(request: HttpRequest) -> HttpResponse:
    """Return the answer to a request whose session was ended meanwhile."""
    from sessionpersist.account import ended

    return in_thread(ended.interrupted, request)


def is_gone(request: HttpRequest) -> bool:
    """Return whether it was the session of this request that could not be saved, and no other. Raises
    StoreUnavailable."""
    session = getattr(request, "session", None)
    return isinstance(session, SessionStore) and not session.exists(session.key_in_store)


def pass_on_reason(request: HttpRequest, response: HttpResponse) -> None:
    """Have the login page know why a session is over."""
    from sessionpersist.account import ended

    if hasattr(request, "session"):
        ended.pass_on_reason(request, response)


def logged_out(request: HttpRequest, error: StoreUnavailable) -> HttpResponse | None:
    """Return the answer to a logout that could not ask who is logged in; None where that is not what has failed."""
    from sessionpersist.account import logout  # it needs the apps to be ready

    return logout.done_all_the_same(request) if logout.was_asked_for(request, error) else None


def note_use(request: HttpRequest) -> None:
    """Have the session saved where the view has used it and that is to be written down."""
    session = getattr(request, "session", None)
    if isinstance(session, SessionStore):
        session.note_use()


def unavailable(request: HttpRequest, outage: StoreUnavailable) -> HttpResponse:
    """Return the 503: JSON for clients that prefer it, else the project's ``503.html``, else a page of ours.

    The template gets no request and no context processors: those would ask for the user, and so for the session.
    """
    detail = str(outage) if settings.DEBUG else ""
    response: HttpResponse
    if preferred_media_type(request) == "application/json":
        message = "Sessions are temporarily unavailable. Try again in a moment."
        response = JsonResponse({"error": "session_store_unavailable", "message": message, "detail": detail})
    else:
        template = select_template(["503.html", "sessionpersist/503.html"])
        response = HttpResponse(template.render({"detail": detail}))
    response.status_code = 503
    response["Retry-After"] = str(RETRY_AFTER)
    response["Cache-Control"] = "no-store"
    # The log has one line when the store is lost; Django would add one for every request.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def preferred_media_type(request: HttpRequest) -> str | None:
    """Return which of HTML and JSON the client prefers; HTML if it takes anything."""
    return request.get_preferred_type(MEDIA_TYPES) or MEDIA_TYPES[0]
