"""The site's addresses, and two that fail."""

from typing import NoReturn

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.urls import include, path


def forbidden(request: HttpRequest) -> NoReturn:
    raise PermissionDenied


def broken(request: HttpRequest) -> NoReturn:
    raise RuntimeError("on purpose")


urlpatterns = [path("forbidden", forbidden), path("broken", broken), path("", include("project.urls"))]
