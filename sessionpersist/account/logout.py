"""A logout while the store is down.

A view that logs out asks first who is logged in, and that can't be told then. So the session is ended without asking
(see ``handover/logouts.py``), and the view is called once more: it finds nobody logged in, and answers as it does then.
"""

from __future__ import annotations

import inspect
import traceback
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import auth
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, HttpResponse

from sessionpersist.account.anonymous import make_anonymous
from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable

# What views that log out call; and what those are called that ask for the user before they do.
CALLED = {auth.logout.__code__, auth.alogout.__code__}
NAMES = {"logout", "account_logout"}  # in Django and its admin, and in allauth


def was_asked_for(request: HttpRequest, error: StoreUnavailable) -> bool:
    """Return whether a view that has failed so was logging its user out."""
    if any(frame.f_code in CALLED for frame, _ in traceback.walk_tb(error.__traceback__)):
        return True
    return (
        request.method == "POST"
        and request.resolver_match is not None
        and request.resolver_match.url_name in NAMES
    )


def done_all_the_same(request: HttpRequest) -> HttpResponse | None:
    """Log the user of the session out, and return what the view answers then; None where it was logged out before.

    Raises StoreUnavailable where the site's database can't be asked either.
    """
    session, match = request.session, request.resolver_match
    if not isinstance(session, SessionStore) or session.key_in_store is None or match is None:
        return None
    session.flush()
    session.outage = None  # whose session it was could not be told; that it is over could
    make_anonymous(request)
    # As Django calls a view: what it has written before it failed was taken back where ATOMIC_REQUESTS is set.
    view = BaseHandler().make_view_atomic(match.func)
    response: Any = view(request, *match.args, **match.kwargs)
    if inspect.isawaitable(response):
        response = async_to_sync(_awaited)(response)
    answer: HttpResponse = response
    return answer


async def _awaited(response: Any) -> Any:
    return await response
