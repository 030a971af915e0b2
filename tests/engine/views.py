"""Pages of a small site: each does one thing to its session."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import View
from django.views.decorators.cache import never_cache

import sessionpersist
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


@sessionpersist.background
def news(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.session.get("visits"))


@sessionpersist.background
def count_news(request: HttpRequest) -> HttpResponse:
    return visit(request)


@sessionpersist.background
async def async_news(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await request.session.aget("visits"))


@sessionpersist.background
class News(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return news(request)


class AsyncNews(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(await request.session.aget("visits"))


@login_not_required
@never_cache
@sessionpersist.background
def decorated_news(request: HttpRequest) -> HttpResponse:
    return news(request)


async def async_remember(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.session, SessionStore)
    await request.session.aremember()
    return HttpResponse()


def forget(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.session, SessionStore)
    request.session.remember(False)
    return HttpResponse()
