"""Pages of a small site: each does one thing to its session."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse

from sessionpersist.engine import SessionStore


def ignore(request: HttpRequest) -> HttpResponse:
    return HttpResponse("no session needed")


def whoami(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.get_username())


def visit(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


def nested(request: HttpRequest) -> HttpResponse:
    request.session.setdefault("cart", []).append("milk")
    return JsonResponse(request.session["cart"], safe=False)


def add_message(request: HttpRequest) -> HttpResponse:
    messages.info(request, "Saved.")
    return HttpResponse()


def show_messages(request: HttpRequest) -> HttpResponse:
    return HttpResponse(" ".join(str(message) for message in messages.get_messages(request)))


def overtaken_by_a_logout(request: HttpRequest) -> HttpResponse:
    """A slow page, during which the user logs out in another tab."""
    request.session["draft"] = "unsaved"
    SessionStore(request.session.session_key).delete()
    return HttpResponse("the session was there when this began")


def fail(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = "lost with the error"
    return HttpResponse(status=500)


async def async_visit(request: HttpRequest) -> HttpResponse:
    visits = await request.session.aget("visits", 0) + 1
    await request.session.aset("visits", visits)
    return HttpResponse(str(visits))
