"""The site, a page that logs a user in without Django's login(), and pages whose session is ended meanwhile."""

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, login
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from sessionpersist import sessions
from sessionpersist.account import timeout
from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import SessionLimitReached
from sessionpersist.session.reasons import Reason


def log_in(request: HttpRequest) -> HttpResponse:
    """Write into the session what login() would."""
    user = User.objects.get(username="ada")
    request.session[SESSION_KEY] = str(user.pk)
    request.session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    request.session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    return HttpResponse("logged in")


def refused_by_the_view(request: HttpRequest) -> HttpResponse:
    """A view that has an answer of its own."""
    try:
        login(request, User.objects.get(username="ada"), backend="django.contrib.auth.backends.ModelBackend")
    except SessionLimitReached:
        return HttpResponse("not here", status=409)
    return HttpResponse("logged in")


def overtaken(request: HttpRequest) -> HttpResponse:
    """A slow page, during which the user ends this session from another device."""
    request.session["draft"] = "unsaved"
    sessions.end_all(request.user, reason=Reason.BY_USER)
    return HttpResponse("what nobody may read")


def overtaken_in_the_view(request: HttpRequest) -> HttpResponse:
    """The same; the view itself saves the session."""
    response = overtaken(request)
    request.session.save()
    return response


def stay_overtaken(request: HttpRequest) -> HttpResponse:
    """The user stays, and ends this session from another device at the same moment."""
    overtaken(request)
    return timeout.stay(request)


def another(request: HttpRequest) -> HttpResponse:
    """A view that saves another session, which is not there."""
    SessionStore("a" * 32).save()
    return HttpResponse("saved")


urlpatterns = [
    path("by-hand/", log_in),
    path("refused-by-the-view/", refused_by_the_view),
    path("overtaken/", overtaken),
    path("overtaken-in-the-view/", overtaken_in_the_view),
    path("stay-overtaken/", stay_overtaken),
    path("another/", another),
    path("", include("project.urls")),
]
