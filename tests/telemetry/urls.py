"""What a project includes to be looked after."""

from django.urls import include, path
from health_check.views import HealthCheckView

urlpatterns = [
    path("health/", include("sessionpersist.health")),
    path("checks/", HealthCheckView.as_view(checks=["sessionpersist.health_check.SessionStore"])),
    path("", include("project.urls")),  # the error pages link to the home page
]
