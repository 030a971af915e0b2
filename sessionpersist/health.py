"""``path("health/", include("sessionpersist.health"))``: for load balancers and orchestrators.

``live/`` says that this process answers requests, and asks nobody. ``ready/`` says whether the session store answers:
200, or 503 where it does not. Both work without a session, without a login, and with the site's database down, and
tell nothing that a stranger may not know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from sessionpersist.handover import snapshot
from sessionpersist.stores.transactions import in_no_transaction
from sessionpersist.telemetry import readiness

RETRY_AFTER = 1  # seconds, see readiness.PROBE_SECONDS

app_name = "sessionpersist_health"


def for_monitoring(view: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Have a view open to all, read only, kept by no cache, and without a transaction (ATOMIC_REQUESTS) in a database
    that may be down."""
    return in_no_transaction(login_not_required(never_cache(require_safe(view))))


@for_monitoring
def live(request: HttpRequest) -> JsonResponse:
    """Say that this process answers."""
    return JsonResponse({"status": "ok"})


@for_monitoring
def ready(request: HttpRequest) -> JsonResponse:
    """Say whether the store in force answers, and how long ago it did; and how old what is known of the configuration
    is. ``stale``: it could not be read for so long that another store may be in force."""
    found, held = readiness.look(), snapshot.held()
    told = {
        "status": "ok" if found.answers else "unavailable",
        "store": {"answers": found.answers, "seconds_ago": round(found.seconds, 3)},
        "configuration": held and {"seconds_ago": round(held.age, 3), "stale": held.stale},
    }
    response = JsonResponse(told, status=200 if found.answers else 503)
    if not found.answers:
        response["Retry-After"] = str(RETRY_AFTER)
        # The log has one line when the store is lost; Django would add one each time somebody looks.
        response._has_been_logged = True  # type: ignore[attr-defined]
    return response


urlpatterns = [
    path("live/", live, name="live"),
    path("ready/", ready, name="ready"),
]
