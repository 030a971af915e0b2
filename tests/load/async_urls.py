"""The same pages as coroutines, which never leave their event loop for the sake of a session."""

from __future__ import annotations

import os

from django.contrib import auth
from django.contrib.auth.models import User
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from sessionpersist.conf import node_name
from tests.load import urls


async def whoami(request: HttpRequest) -> JsonResponse:
    user = await request.auser()
    visits = await request.session.aget("visits", 0)
    return JsonResponse(
        {"user": user.get_username(), "visits": visits, "node": node_name(), "pid": os.getpid()}
    )


async def visit(request: HttpRequest) -> JsonResponse:
    if (await request.auser()).is_authenticated:
        await request.session.aset("visits", await request.session.aget("visits", 0) + 1)
    return await whoami(request)


async def count(request: HttpRequest) -> JsonResponse:
    counted = await request.session.aget("count", 0) + 1
    await request.session.aset("count", counted)
    return JsonResponse({"count": counted, "pid": os.getpid()})


@csrf_exempt
async def login(request: HttpRequest, username: str) -> JsonResponse:
    user, _ = await User.objects.aget_or_create(username=username)
    await auth.alogin(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return JsonResponse({"user": username})


@csrf_exempt
async def logout(request: HttpRequest) -> JsonResponse:
    await auth.alogout(request)
    return JsonResponse({"user": ""})


@csrf_exempt
async def forget(request: HttpRequest) -> JsonResponse:
    await request.session.aflush()
    return JsonResponse({"user": ""})


async def threads(request: HttpRequest) -> JsonResponse:
    return urls.threads(request)


urlpatterns = [
    path("whoami/", whoami),
    path("visit/", visit),
    path("count/", count),
    path("login/<username>/", login),
    path("logout/", logout),
    path("forget/", forget),
    path("threads/", threads),
    *urls.urlpatterns,
]
