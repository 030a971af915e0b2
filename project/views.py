"""The pages of the site: they make visible what the session store does."""

import os

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from sessionpersist.conf import node_name
from sessionpersist.configuration.store_sentences import store_name
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import snapshot
from sessionpersist.handover.routing import current_settings


@never_cache
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Say who is logged in, which process answered, and where the session is kept."""
    # Only for who is logged in: a count for the others would give every visitor a session.
    visits = count_visit(request) if request.user.is_authenticated else None
    store, store_detail = describe_store()
    context = {
        "visits": visits,
        "node": node_name(),
        "process": os.getpid(),
        "store": store,
        "store_detail": store_detail,
        "moving_from": moving_from(),
        "node_urls": settings.NODE_URLS,
    }
    return render(request, "home.html", context)


def count_visit(request: HttpRequest) -> int:
    """Count this page view in the session and return the new number."""
    visits: int = request.session.get("visits", 0) + 1
    request.session["visits"] = visits
    return visits


def describe_store() -> tuple[str, str]:
    """Return the name of the store, and its address, which is for staff only; nothing where it is unknown."""
    try:
        store = current_settings()
    except StoreUnavailable:
        return "", ""
    return str(store.label), store_name(store)


def moving_from() -> list[str]:
    """Return the names of the stores that still hold sessions, as far as this process knows."""
    try:
        return [str(each.settings.label) for each in snapshot.current().draining]
    except StoreUnavailable:
        return []


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Tell a load balancer that this process answers. No store is asked: its outage must not end the node."""
    return HttpResponse("ok", content_type="text/plain")
