"""``path("metrics/", include("sessionpersist.metrics"))``: metrics for Prometheus. It needs prometheus_client.

A process counts for Prometheus once it has loaded this. Who may ask is for the project to say: it tells how many people
log in, and nobody's name.
"""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.urls import path

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder
except ModuleNotFoundError as error:
    raise ImproperlyConfigured(
        "sessionpersist.metrics needs prometheus_client. Install it with: pip install 'sessionpersist[prometheus]'"
    ) from error

from sessionpersist.health import for_monitoring
from sessionpersist.telemetry import recorder
from sessionpersist.telemetry.prometheus import Collector, Instruments

app_name = "sessionpersist_metrics"

collector = Collector(Instruments())
recorder.listen(collector.instruments)
recorder.refresh()  # what this process knew before


@for_monitoring
def metrics(request: HttpRequest) -> HttpResponse:
    """Return them in the format that is asked for: that of Prometheus, or OpenMetrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(registry), content_type=content_type)


urlpatterns = [path("", metrics, name="metrics")]
