"""The addresses of the project."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.user))


urlpatterns = [
    path("who/", who),
    path("account/", include("sessionpersist.urls")),
    path("accounts/", include("allauth.urls")),
    path("hijack/", include("hijack.urls")),
]
