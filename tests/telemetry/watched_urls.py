"""The pages of the load tests, and metrics."""

from django.urls import include, path

urlpatterns = [
    path("metrics/", include("sessionpersist.metrics")),
    path("", include("tests.load.urls")),
]
