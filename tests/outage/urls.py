"""A small site that meets the session in every place where a request can."""

from __future__ import annotations

import io
from typing import Any

from django.contrib import auth
from django.contrib.auth.models import User
from django.http import FileResponse, HttpRequest, HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

opened: list[io.BytesIO] = []


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"user {request.session.get('_auth_user_id', 'nobody')}")


def write(request: HttpRequest) -> HttpResponse:
    request.session["written"] = True
    return HttpResponse("written")


def swallow(request: HttpRequest) -> HttpResponse:
    """A view that takes every error for “nobody is logged in”."""
    try:
        return read(request)
    except Exception:
        return HttpResponse("user nobody")


def download(request: HttpRequest) -> FileResponse:
    """A file for whoever comes; that the session could not be read is swallowed."""
    swallow(request)
    opened.append(io.BytesIO(b"a file"))
    return FileResponse(opened[-1])


def own_page(request: HttpRequest) -> HttpResponse:
    """A view with a page of its own for an outage, which may say when to come back."""
    swallow(request)
    return HttpResponse("our own page", status=503, headers=request.GET.dict())


def in_template(request: HttpRequest) -> HttpResponse:
    template = engines["django"].from_string("user {{ request.session.keys|length }}")
    return HttpResponse(template.render({}, request))


def in_deferred_template(request: HttpRequest) -> TemplateResponse:
    return TemplateResponse(request, engines["django"].from_string("user {{ request.session.keys|length }}"))


async def async_read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"user {await request.session.aget('_auth_user_id', 'nobody')}")


async def async_write(request: HttpRequest) -> HttpResponse:
    await request.session.aset("written", True)
    return HttpResponse("written")


def static_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("no session here")


@csrf_exempt
def login(request: HttpRequest) -> HttpResponse:
    user = User.objects.get(
        username="ada"
    )  # checking a password takes long, and is not what these tests are about
    auth.login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse("logged in")


@csrf_exempt
def logout(request: HttpRequest) -> HttpResponse:
    auth.logout(request)
    return HttpResponse("logged out")


async def async_logout(request: HttpRequest) -> HttpResponse:
    await auth.alogout(request)
    return HttpResponse("logged out")


@csrf_exempt
def named_logout(request: HttpRequest) -> HttpResponse:
    """It asks who is logged in first, as that of Django's admin does."""
    if request.user.is_authenticated:
        auth.logout(request)
    return HttpResponse("logged out")


class TouchingMiddleware:
    """Another middleware that asks for the session, before or after the view."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/before/":
            request.session.get("anything")
        response: HttpResponse = self.get_response(request)
        if request.path == "/after/":
            request.session.get("anything")
        return response


urlpatterns = [
    path("read/", read),
    path("write/", write),
    path("swallow/", swallow),
    path("download/", download),
    path("own/", own_page),
    path("template/", in_template),
    path("deferred/", in_deferred_template),
    path("async-read/", async_read),
    path("async-write/", async_write),
    path("before/", static_page),
    path("after/", static_page),
    path("static/", static_page),
    path("login/", login),
    path("logout/", logout),
    path("async-logout/", csrf_exempt(async_logout)),
    path("named-logout/", named_logout, name="logout"),
    path("", include("project.urls")),  # the error pages link to the home page
]
