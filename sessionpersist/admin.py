"""The pages of the admin's section “Security”: “Login Configuration”, straight to the form of the one row, and
“Sessions”."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern

from sessionpersist.configuration.views.adoption import AdoptionViews
from sessionpersist.configuration.views.decisions import DecisionViews
from sessionpersist.configuration.views.draining import DrainingViews
from sessionpersist.configuration.views.page import PageViews
from sessionpersist.configuration.views.sessions import SessionViews
from sessionpersist.models import LoginConfiguration, Sessions


@admin.register(LoginConfiguration)
class LoginConfigurationAdmin(PageViews, DrainingViews, DecisionViews, AdoptionViews):
    """One page with what its buttons and its script ask for; of Django's own views the history is left."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: LoginConfiguration | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        at = self._at
        own = [
            at("", self.page, "change"),
            at("test/", self.test, "test"),
            at("status/", self.status, "status"),
            at("progress/", self.progress, "progress"),
            at("drain/<int:number>/", self.drain, "drain"),
            at("pace/<int:number>/", self.pace, "pace"),
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


@admin.register(Sessions)
class SessionsAdmin(SessionViews):
    """Who is signed in where. Nothing of Django's own pages about a model is left: there are no rows."""

    def get_urls(self) -> list[URLPattern]:
        return [
            self._at("", self.overview, "changelist"),
            self._at("user/<str:quoted>/", self.user, "user"),
            self._at("user/<str:quoted>/end/", self.end, "end"),
            self._at("everybody/", self.everybody, "everybody"),
        ]
