"""What the views of the app's pages in the admin share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from sessionpersist.configuration.views.wrapping import View, wrapped
from sessionpersist.models import LoginConfiguration

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin  # not subscriptable at run time

TEMPLATES = "admin/sessionpersist/loginconfiguration"
JSON = "application/json"


class BaseViews(ModelAdmin):
    """Permissions, addresses, the log, and a page in the admin's frame."""

    templates = TEMPLATES

    def _show(
        self, request: HttpRequest, template: str, context: dict[str, Any], *, too_often: bool = False
    ) -> TemplateResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request, f"{self.templates}/{template}", context, status=429 if too_often else 200
        )

    def _log(self, request: HttpRequest, message: str) -> None:
        self.log_change(request, LoginConfiguration.get_solo(), message)

    def _require(self, permission: bool) -> None:
        if not permission:
            raise PermissionDenied

    def _url(self, name: str, *arguments: object) -> str:
        return reverse(f"admin:{self._name(name)}", args=arguments, current_app=self.admin_site.name)

    def _name(self, name: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{name}"

    def _at(self, address: str, view: View, name: str) -> URLPattern:
        """Return the address of a view, below that of the page."""
        return path(address, wrapped(view, self.admin_site), name=self._name(name))


def is_visit(request: HttpRequest) -> bool:
    """Whether a browser goes to this address: by a link, by its address bar, or after a login. A script does not."""
    return request.method != "POST" and "text/html" in request.headers.get("Accept", "")


def page_for_visits(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Send whoever visits the address of a part of the page, or of a button, to the page: without the script of the
    page a browser may come to be there, and would find a fragment, or nothing."""

    @wraps(view)
    def visited(self: BaseViews, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if is_visit(request):
            return HttpResponseRedirect(self._url("changelist"))
        return view(self, request, *args, **kwargs)

    return visited


def only_post(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """What a button does: it takes a POST."""

    @page_for_visits
    @wraps(view)
    def posted(self: BaseViews, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        return view(self, request, *args, **kwargs)

    return posted


def wants_json(request: HttpRequest) -> bool:
    """Whether it is the script of the page that asks."""
    return request.get_preferred_type(["text/html", JSON]) == JSON
