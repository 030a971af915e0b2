"""Pages that say in JSON what the session holds."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.contrib import auth
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import engines
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from sessionpersist.conf import node_name
from sessionpersist.engine import SessionStore


def whoami(request: HttpRequest) -> JsonResponse:
    """Who is logged in, how many visits this session has counted, and who answered."""
    user = request.user.get_username()
    return JsonResponse(
        {"user": user, "visits": request.session.get("visits", 0), "node": node_name(), "pid": os.getpid()}
    )


def visit(request: HttpRequest) -> JsonResponse:
    """Count a visit of a logged-in user, then say as ``whoami`` does."""
    if request.user.is_authenticated:
        request.session["visits"] = request.session.get("visits", 0) + 1
    return whoami(request)


def count(request: HttpRequest) -> JsonResponse:
    """Count in the session, and ask for nothing but the session: no user, so no database."""
    request.session["count"] = request.session.get("count", 0) + 1
    return JsonResponse({"count": request.session["count"], "pid": os.getpid()})


@csrf_exempt
def login(request: HttpRequest, username: str) -> JsonResponse:
    """Log in without a password: hashing one takes longer than all that is tested here."""
    user, _ = User.objects.get_or_create(username=username)
    auth.login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return JsonResponse({"user": username})


@csrf_exempt
def logout(request: HttpRequest) -> JsonResponse:
    auth.logout(request)
    return JsonResponse({"user": ""})


@csrf_exempt
def forget(request: HttpRequest) -> JsonResponse:
    """End the session without asking whose it is, as Django's logout does first."""
    request.session.flush()
    return JsonResponse({"user": ""})


NOTE = """{% extends "base.html" %}{% block content %}<h1>Note</h1>{% if sent %}<p id="sent">{{ sent }}</p>{% endif %}
<form method="post">{% csrf_token %}<div class="field"><label for="text">Text</label><input id="text" name="text"></div>
<button>Send</button></form>{% endblock %}"""


@login_required
def note(request: HttpRequest) -> HttpResponse:
    """A form in which somebody takes their time."""
    return HttpResponse(
        engines["django"].from_string(NOTE).render({"sent": request.POST.get("text")}, request)
    )


def last(request: HttpRequest, milliseconds: int) -> JsonResponse:
    """Have this session last so long after each use: staff can give it no less than a minute. Its cookie lasts as long
    as before, as it does with what staff give."""
    session = SessionStore(request.session.session_key)
    session.set_expiry(milliseconds / 1000)  # type: ignore[arg-type] # a fraction will do
    session.save()
    return whoami(request)


def static_page(request: HttpRequest) -> HttpResponse:
    """A page that does not touch the session."""
    return HttpResponse("static")


def threads(request: HttpRequest) -> JsonResponse:
    """How many threads and open sockets this process has."""
    sockets = [link for link in _links("/proc/self/fd") if link.startswith("socket:")]
    return JsonResponse(
        {"pid": os.getpid(), "threads": len(list(Path("/proc/self/task").iterdir())), "sockets": len(sockets)}
    )


def _links(folder: str) -> list[str]:
    found: list[str] = []
    for each in Path(folder).iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(each.readlink()))
    return found


urlpatterns: list[Any] = [
    path("whoami/", whoami),
    path("visit/", visit),
    path("count/", count),
    path("login/<username>/", login),
    path("logout/", logout),
    path("forget/", forget),
    path("static-page/", static_page),
    path("note/", note),
    path("last/<int:milliseconds>/", last),
    path("threads/", threads),
    path("", include("project.urls")),
]
