"""``path("metrics/", include("sessionpersist.metrics"))``: metrics for Prometheus. It needs prometheus_client.

A process counts for Prometheus once it has loaded this. It tells how many people log in, and nobody's name. Who may ask
is for the project to say: whoever reaches the page, or whoever knows ``SESSIONPERSIST["METRICS_TOKEN"]``.
"""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.crypto import constant_time_compare

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder
except ModuleNotFoundError as error:
    raise ImproperlyConfigured(
        "sessionpersist.metrics needs prometheus_client. Install it with: pip install 'sessionpersist[prometheus]'"
    ) from error

from sessionpersist import conf
from sessionpersist.health import for_monitoring
from sessionpersist.telemetry import recorder
from sessionpersist.telemetry.prometheus import Collector, Instruments

app_name = "sessionpersist_metrics"

collector = Collector(Instruments())
recorder.listen(collector.instruments)
recorder.refresh()  # what this process knew before


@for_monitoring
def metrics(request: HttpRequest) -> HttpResponse:
    """Return them in the format that is asked for: that of Prometheus, or OpenMetrics. 401 for whoever lacks the
    token."""
    if not may_ask(request):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(registry), content_type=content_type)


def may_ask(request: HttpRequest) -> bool:
    """Return whether a request has the token as ``Authorization: Bearer …``, or needs none."""
    token = conf.metrics_token()
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return token is None or (scheme.lower() == "bearer" and constant_time_compare(given.strip(), token))


urlpatterns = [path("", metrics, name="metrics")]
