"""Pages of a site under ASGI: most of them twice, as functions and as coroutines, which are to do the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from django.contrib import auth
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI

from sessionpersist import sessions
from sessionpersist.engine import SessionStore
from sessionpersist.handover import routing
from tests.load import async_urls

BACKEND = "django.contrib.auth.backends.ModelBackend"
LATE = 0.05  # seconds: the headers are with the client by then


def store(request: HttpRequest) -> JsonResponse:
    """The store and the limit that this process goes by."""
    kind, most = routing.current_settings().type, routing.current_policy().max_sessions
    return JsonResponse({"type": kind, "max_sessions": most})


@method_decorator(csrf_exempt, "dispatch")
class Basket(View):
    """A view class whose methods are coroutines."""

    async def get(self, request: HttpRequest) -> JsonResponse:
        return JsonResponse({"basket": await request.session.aget("basket", [])})

    async def post(self, request: HttpRequest, item: str) -> JsonResponse:
        basket = await request.session.asetdefault("basket", [])
        basket.append(item)
        request.session.modified = True
        return JsonResponse({"basket": basket})


api = NinjaAPI(docs_url=None, openapi_url=None)


@api.get("/notes")
async def notes(request: HttpRequest) -> dict[str, Any]:
    return {"notes": await request.session.aget("notes", [])}


@api.post("/notes/{text}")
async def add_note(request: HttpRequest, text: str) -> dict[str, Any]:
    await request.session.aset("notes", [*await request.session.aget("notes", []), text])
    return await notes(request)


async def in_turn(request: HttpRequest) -> HttpResponse:
    """The session by the names without an ``a``, which ask on the loop and hold it up meanwhile."""
    request.session["turns"] = request.session.get("turns", 0) + 1
    return JsonResponse({"turns": request.session["turns"]})


async def mark(request: HttpRequest, name: str) -> JsonResponse:
    """Leave a mark in the session, and say which are there."""
    await request.session.aset(name, True)
    return JsonResponse({"marks": [key for key in await request.session.akeys() if key.startswith("mark-")]})


async def together(request: HttpRequest) -> JsonResponse:
    """Several tasks of one request change its session at the same time, and save it."""

    async def task(number: int) -> None:
        await request.session.aset(f"task-{number}", number)
        await request.session.asave()

    await asyncio.gather(*map(task, range(5)))
    return await tasks(request)


async def tasks(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"tasks": [key for key in await request.session.akeys() if key.startswith("task-")]})


def read_late(request: HttpRequest) -> StreamingHttpResponse:
    """An answer whose second part asks for the session, long after the middleware is done with it."""

    async def parts() -> AsyncIterator[str]:
        yield "first\n"
        await asyncio.sleep(LATE)
        user = await request.auser()
        yield f"{user.get_username()} {await request.session.aget('visits', 0)}\n"

    return StreamingHttpResponse(parts())


async def write_late(request: HttpRequest) -> StreamingHttpResponse:
    """An answer that saves the session as it ends."""

    async def parts() -> AsyncIterator[str]:
        yield "first\n"
        await asyncio.sleep(LATE)
        await request.session.aset("visits", 1000)
        await request.session.asave()
        yield "saved\n"

    return StreamingHttpResponse(parts())


async def alter_and_end(request: HttpRequest) -> HttpResponse:
    """A page during which the session is ended elsewhere; its middleware is to save the change."""
    await request.session.aset("draft", "unsaved")
    await SessionStore(request.session.session_key).adelete()
    return HttpResponse("as if nothing had happened")


def alter_and_end_in_a_thread(request: HttpRequest) -> HttpResponse:
    request.session["draft"] = "unsaved"
    SessionStore(request.session.session_key).delete()
    return HttpResponse("as if nothing had happened")


async def end_and_save(request: HttpRequest) -> HttpResponse:
    """The same, but the view saves."""
    response = await alter_and_end(request)
    await request.session.asave()
    return response


def end_and_save_in_a_thread(request: HttpRequest) -> HttpResponse:
    response = alter_and_end_in_a_thread(request)
    request.session.save()
    return response


async def end_others(request: HttpRequest) -> JsonResponse:
    await request.auser()
    return JsonResponse({"ended": await sessions.aend_others(request)})


def login_in_a_thread(request: HttpRequest, username: str) -> HttpResponse:
    user, _ = User.objects.get_or_create(username=username)
    auth.login(request, user, backend=BACKEND)
    return JsonResponse({"user": username})


@csrf_exempt
async def named_logout(request: HttpRequest) -> HttpResponse:
    """It asks who is logged in first."""
    if (await request.auser()).is_authenticated:
        await auth.alogout(request)
    return JsonResponse({"user": ""})


@csrf_exempt
def named_logout_in_a_thread(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        auth.logout(request)
    return JsonResponse({"user": ""})


urlpatterns = [
    path("store/", store),
    path("basket/", Basket.as_view()),
    path("basket/<item>/", Basket.as_view()),
    path("api/", api.urls),
    path("in-turn/", in_turn),
    path("mark/<name>/", mark),
    path("together/", together),
    path("tasks/", tasks),
    path("read-late/", read_late),
    path("write-late/", write_late),
    path("loop/alter-and-end/", alter_and_end),
    path("thread/alter-and-end/", alter_and_end_in_a_thread),
    path("loop/end-and-save/", end_and_save),
    path("thread/end-and-save/", end_and_save_in_a_thread),
    path("loop/login/<username>/", async_urls.login),
    path("thread/login/<username>/", csrf_exempt(login_in_a_thread)),
    path("loop/logout/", named_logout, name="logout"),
    path("thread/logout/", named_logout_in_a_thread, name="account_logout"),
    path("loop/whoami/", async_urls.whoami),
    path("thread/", include("tests.load.urls")),
    path("end-others/", csrf_exempt(end_others)),
    *async_urls.urlpatterns,
]
