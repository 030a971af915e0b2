"""A request that has nobody logged in any more, for what is still to handle it."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest


def make_anonymous(request: HttpRequest) -> None:
    """Have nobody be logged in from now on, for code of both kinds: ``await request.auser()`` knows whom it has found
    before."""
    anonymous = AnonymousUser()

    async def auser() -> AnonymousUser:
        return anonymous

    request.user, request.auser = anonymous, auser
