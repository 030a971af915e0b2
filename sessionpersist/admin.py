"""The page “Login Configuration” in the admin's section “Security”: straight to the form of the one row."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path

from sessionpersist.configuration.views.adoption import AdoptionViews
from sessionpersist.configuration.views.base import BASE_NAME
from sessionpersist.configuration.views.decisions import DecisionViews
from sessionpersist.configuration.views.draining import DrainingViews
from sessionpersist.configuration.views.page import PageViews
from sessionpersist.configuration.views.wrapping import View, wrapped
from sessionpersist.models import LoginConfiguration


@admin.register(LoginConfiguration)
class LoginConfigurationAdmin(PageViews, DrainingViews, DecisionViews, AdoptionViews):
    """One page with what its buttons and its script ask for; of Django's own views the history is left."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: LoginConfiguration | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        def at(address: str, view: View, name: str) -> URLPattern:
            return path(address, wrapped(view, self.admin_site), name=f"{BASE_NAME}_{name}")

        own = [
            at("", self.page, "change"),
            at("test/", self.test, "test"),
            at("status/", self.status, "status"),
            at("progress/", self.progress, "progress"),
            at("drain/<int:number>/", self.drain, "drain"),
            at("adopt/", self.adopt, "adopt"),
            at("abandon/<int:number>/", self.abandon, "abandon"),
            at("switch-back/<int:number>/", self.switch_back, "switch_back"),
        ]
        return own + super().get_urls()

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Where the admin's log links to."""
        return HttpResponseRedirect(self._url("changelist"))

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> LoginConfiguration:
        """There is one, and before anybody has saved it there is no row yet."""
        return LoginConfiguration.get_solo()
