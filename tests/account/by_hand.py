"""The site, and a page that logs a user in without Django's login()."""

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def log_in(request: HttpRequest) -> HttpResponse:
    """Write into the session what login() would."""
    user = User.objects.get(username="ada")
    request.session[SESSION_KEY] = str(user.pk)
    request.session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    request.session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    return HttpResponse("logged in")


urlpatterns = [path("by-hand/", log_in), path("", include("project.urls"))]
