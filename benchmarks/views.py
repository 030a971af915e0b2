"""Async pages that ask for a session and for nothing else, and the site that serves them."""

from __future__ import annotations

import django
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.contents import content, of_somebody
from benchmarks.goals import GOAL_SIZE


async def begin(request: HttpRequest) -> HttpResponse:
    """Begin a session, of the size of the goals."""
    await request.session.aupdate(of_somebody(content(GOAL_SIZE)))
    return page("begun")


async def read(request: HttpRequest) -> HttpResponse:
    """Show what is counted in the session."""
    return page(await request.session.aget("visits"))


async def save(request: HttpRequest) -> HttpResponse:
    """Count in the session."""
    visits = (await request.session.aget("visits", 0) + 1) % 10  # of one digit: the size stays
    await request.session.aset("visits", visits)
    return page(visits)


async def static_page(request: HttpRequest) -> HttpResponse:
    """A page that asks for no session."""
    return page("static")


def page(content: object) -> HttpResponse:
    """Return a page with its length, which in most sites a middleware would add."""
    response = HttpResponse(str(content))
    response["Content-Length"] = str(len(response.content))
    return response


urlpatterns = [
    path("begin/", begin),
    path("read/", read),
    path("save/", save),
    path("static-page/", static_page),
]

django.setup(set_prefix=False)
application = ASGIHandler()
