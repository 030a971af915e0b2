"""The page “Login Configuration” in the admin's section “Security”: straight to the form of the one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import connections, router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from sessionpersist import probing
from sessionpersist.forms import LoginConfigurationForm, Overtaken
from sessionpersist.models import LoginConfiguration, Revision
from sessionpersist.stores.base import Step
from sessionpersist.stores.settings import MemorySettings, StoreSettings

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[LoginConfiguration]
else:
    ModelAdmin = admin.ModelAdmin  # not subscriptable at run time

HISTORY_LENGTH = 20
TEMPLATES = "admin/sessionpersist/loginconfiguration"
BASE_NAME = "sessionpersist_loginconfiguration"

without_passwords_in_reports = method_decorator(
    sensitive_post_parameters("redis_password", "mongodb_password")
)


@dataclass(frozen=True)
class Change:
    """One line of the history."""

    saved_by: str
    saved_at: datetime
    before: str
    after: str


@dataclass(frozen=True)
class Status:
    """What is in force: the store, since when, by whose choice; and the store that takes over soon."""

    settings: StoreSettings
    since: datetime | None = None
    chosen_by: str = ""
    pending: str = ""
    pending_at: datetime | None = None
    pending_seconds: int = 0


def read_status() -> Status:
    """Ask the database, not what this process remembers: staff who have just saved want to see it."""
    in_force = Revision.objects.in_force()
    if not in_force:
        return Status(MemorySettings())
    now, newest = in_force[0].database_now, in_force[-1]
    active = [revision for revision in in_force if revision.activates_at <= now]
    status = Status(MemorySettings())
    if active:
        status = Status(active[-1].store_settings(), active[-1].activates_at, active[-1].saved_by)
    if newest in active:
        return status
    seconds = max(1, ceil((newest.activates_at - now).total_seconds()))
    store = newest.store_settings().describe()
    return replace(status, pending=store, pending_at=newest.activates_at, pending_seconds=seconds)


def read_history() -> list[Change]:
    """Return the latest changes, newest first. What was there at installation is not a change."""
    revisions = list(Revision.objects.order_by("-pk")[: HISTORY_LENGTH + 1])
    stores = [revision.store_settings().describe() for revision in revisions]
    changes = zip(revisions, pairwise(stores), strict=False)  # the last one has none before it
    return [Change(each.saved_by, each.saved_at, before, after) for each, (after, before) in changes]


@admin.register(LoginConfiguration)
class LoginConfigurationAdmin(ModelAdmin):
    """One page and two helpers for its script; of Django's own views the history is left."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: LoginConfiguration | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        own = [
            path("", self._wrapped(self.page), name=f"{BASE_NAME}_change"),
            path("test/", self._wrapped(self.test), name=f"{BASE_NAME}_test"),
            path("status/", self._wrapped(self.status), name=f"{BASE_NAME}_status"),
        ]
        return own + super().get_urls()

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        """Where the admin's log links to."""
        return HttpResponseRedirect(self._url("changelist"))

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    @without_passwords_in_reports
    def page(self, request: HttpRequest) -> HttpResponse:
        """Show the form; by POST, save it."""
        if request.method == "POST":
            return self._save(request)
        self._require(self.has_view_or_change_permission(request))
        health = self._health(read_status().settings) if "check" in request.GET else None
        return self._render(request, LoginConfigurationForm(), health=health)

    @method_decorator(require_POST)
    @without_passwords_in_reports
    def test(self, request: HttpRequest) -> HttpResponse:
        """Try the store that was entered, and save nothing. Without the script, show the page again."""
        self._require(self.has_change_permission(request))
        form = LoginConfigurationForm(request.POST, prepare=False)
        form.is_valid()
        if request.get_preferred_type(["text/html", "application/json"]) != "application/json":
            return self._render(request, form, tested=True)
        return JsonResponse(
            {
                "ok": form.is_valid(),
                "steps": [asdict(step) for step in form.steps],
                "errors": form.errors.get_json_data(),
                "html": render_to_string(f"{TEMPLATES}/steps.html", {"form": form, "steps": form.steps}),
            }
        )

    @method_decorator((require_safe, never_cache))
    def status(self, request: HttpRequest) -> HttpResponse:
        """The status panel with the health of the store in force, for the script of the page."""
        self._require(self.has_view_or_change_permission(request))
        status = read_status()
        context = {"status": status, "health": self._health(status.settings)}
        return TemplateResponse(request, f"{TEMPLATES}/status.html", context)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any = (), add: bool = False
    ) -> list[dict[str, dict[str, list[str]]]]:
        """Field names only, never a value."""
        names = [form.full_name(name) for name in form.changed_data]
        return [{"changed": {"fields": names}}] if names else []

    def _save(self, request: HttpRequest) -> HttpResponse:
        self._require(self.has_change_permission(request))
        form = LoginConfigurationForm(request.POST)
        if form.is_valid():
            try:
                self._save_and_log(request, form)
            except Overtaken as error:
                form.add_error(None, error)
            else:
                messages.success(request, self._saved_message())
                return HttpResponseRedirect(self._url("changelist"))
        if form.has_error("__all__", "overtaken"):
            form.rebase()
        return self._render(request, form)

    def _save_and_log(self, request: HttpRequest, form: LoginConfigurationForm) -> None:
        """The probe is over by now: nothing that may take long happens inside the transaction."""
        with transaction.atomic(using=router.db_for_write(LoginConfiguration)):
            saved = form.save(saved_by=request.user.get_username())
            self.log_change(request, saved, self.construct_change_message(request, form))

    def _saved_message(self) -> str:
        status = read_status()
        if not status.pending:
            return _("Saved. Sessions are stored in {store}.").format(store=status.settings.describe())
        message = _("Saved. Every node switches to {store} in {seconds} s.")
        return message.format(store=status.pending, seconds=status.pending_seconds)

    def _render(
        self, request: HttpRequest, form: LoginConfigurationForm, *, tested: bool = False, health: Any = None
    ) -> TemplateResponse:
        form.ask_for_passwords_again()
        may_change = self.has_change_permission(request)
        if not may_change:
            for field in form.fields.values():
                field.disabled = True
        context = {
            **self.admin_site.each_context(request),
            "title": _("Login Configuration"),
            "opts": self.opts,
            "original": form.instance,
            "form": form,
            "may_change": may_change,
            "tested": tested,
            "status": read_status(),
            "health": health,
            "history": read_history(),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, f"{TEMPLATES}/change_form.html", context)

    def _health(self, settings: StoreSettings) -> dict[str, Any]:
        steps: list[Step] = probing.probe(settings)
        return {
            "failed": probing.failure(steps),
            "warnings": [step.message for step in steps if step.warning],
            "milliseconds": sum(step.milliseconds for step in steps),
        }

    def _wrapped(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        """Behind the admin's login and CSRF check, and outside ATOMIC_REQUESTS: a failed probe would break it."""
        wrapped = self.admin_site.admin_view(view)
        for alias in connections:
            wrapped = transaction.non_atomic_requests(using=alias)(wrapped)
        return wrapped

    def _require(self, permission: bool) -> None:
        if not permission:
            raise PermissionDenied

    def _url(self, name: str) -> str:
        return reverse(f"admin:{BASE_NAME}_{name}", current_app=self.admin_site.name)
