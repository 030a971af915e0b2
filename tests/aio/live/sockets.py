"""The site with a websocket beside its pages, as a project on Channels has it."""

from __future__ import annotations

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path

from project.asgi import application as pages


class Consumer(AsyncJsonWebsocketConsumer):
    """Does to the session of its cookie what it is told, by its coroutines."""

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        session = self.scope["session"]
        for name, value in content.items():
            await session.aset(name, value)
        if content:
            await session.asave()
        told = {"user": self.scope["user"].get_username(), **dict(await session.aitems())}
        await self.send_json({**told, "live": await session.aexists(session.session_key)})


class InAThread(JsonWebsocketConsumer):
    """The same by its methods without an ``a``, in the thread that Channels gives it."""

    def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        session = self.scope["session"]
        session.update(content)
        if content:
            session.save()
        told = {"user": self.scope["user"].get_username(), **dict(session.items())}
        self.send_json({**told, "live": session.exists(session.session_key)})


def application_of(routes: list[Any]) -> ProtocolTypeRouter:
    from channels.auth import AuthMiddlewareStack  # it needs the apps to be ready

    return ProtocolTypeRouter({"http": pages, "websocket": AuthMiddlewareStack(URLRouter(routes))})


application = application_of([path("loop/", Consumer.as_asgi()), path("thread/", InAThread.as_asgi())])
