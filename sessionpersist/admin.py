"""The page “Login Configuration” in the admin's section “Security”: straight to the form of the one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import Any

from django.contrib import admin, messages
from django.db import connections, router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from sessionpersist import audit
from sessionpersist.configuration import pulse
from sessionpersist.configuration.attempts import may_check, too_often_in_words, tried_too_often, try_store
from sessionpersist.configuration.forms import LoginConfigurationForm, Overtaken, secret_fields
from sessionpersist.configuration.limits import latest
from sessionpersist.configuration.panels import read_handover, read_history, read_panels, read_status
from sessionpersist.configuration.pulse import Report
from sessionpersist.configuration.reauthentication import FIELD, Reauthentication, renew_key
from sessionpersist.configuration.views.adoption import AdoptionViews
from sessionpersist.configuration.views.handover import BASE_NAME, TEMPLATES
from sessionpersist.models import LoginConfiguration
from sessionpersist.stores.secret import Secret

JSON = "application/json"
SECRETS = (*secret_fields(), FIELD)


def without_secrets_in_reports(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Have reports about crashes show no secret that was sent, neither as it came nor as the form has it."""

    @wraps(view)
    @sensitive_post_parameters(*SECRETS)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if any(name in request.POST for name in SECRETS):
            sent = request.POST.copy()
            for name in filter(sent.__contains__, SECRETS):
                sent.setlist(name, [Secret(each) for each in sent.getlist(name)])
            sent._mutable = False
            request.POST = sent  # type: ignore[assignment]
        return view(request, *args, **kwargs)

    return wrapped


@admin.register(LoginConfiguration)
class LoginConfigurationAdmin(AdoptionViews):
    """One page with what its buttons and its script ask for; of Django's own views the history is left."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: LoginConfiguration | None = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        own = [
            path("", self._wrapped(self.page), name=f"{BASE_NAME}_change"),
            path("test/", self._wrapped(self.test), name=f"{BASE_NAME}_test"),
            path("status/", self._wrapped(self.status), name=f"{BASE_NAME}_status"),
            path("progress/", self._wrapped(self.progress), name=f"{BASE_NAME}_progress"),
            path("drain/<int:number>/", self._wrapped(self.drain), name=f"{BASE_NAME}_drain"),
            path("adopt/", self._wrapped(self.adopt), name=f"{BASE_NAME}_adopt"),
            path("abandon/<int:number>/", self._wrapped(self.abandon), name=f"{BASE_NAME}_abandon"),
            path(
                "switch-back/<int:number>/", self._wrapped(self.switch_back), name=f"{BASE_NAME}_switch_back"
            ),
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

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's page, and every switch below it. Django's log knows users of the site only; who used a command is a
        user of the machine, and may be somebody else of the same name."""
        changes = {
            "history": read_history(read_handover(count=False).moving),
            "saved": LoginConfiguration.get_solo(),
            "attempts": latest(),
        }
        return super().history_view(request, object_id, {**changes, **(extra_context or {})})

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def page(self, request: HttpRequest) -> HttpResponse:
        """Show the form; by POST, save it."""
        if request.method == "POST":
            return self._save(request)
        self._require(self.has_view_or_change_permission(request))
        return self._render(request, LoginConfigurationForm(), check="check" in request.GET)

    @method_decorator(require_POST)
    def test(self, request: HttpRequest) -> HttpResponse:
        """Try the store that was entered, and save nothing. Without the script, show the page again."""
        self._require(self.has_change_permission(request))
        form = LoginConfigurationForm(request.POST, probe=False, prepare=False)
        try_store(request.user, form)
        if request.get_preferred_type(["text/html", JSON]) != JSON:
            return self._render(request, form, tested=True)
        refused = tried_too_often(form)
        shown = {"steps": form.steps, "works": form.is_valid(), "tried": form.tried, "refused": refused}
        found = {
            "ok": form.is_valid(),
            "steps": [asdict(step) for step in form.steps],
            "errors": {} if refused else form.errors.get_json_data(),
            "html": render_to_string(f"{TEMPLATES}/steps.html", shown),
        }
        return JsonResponse(found, status=429 if refused else 200)

    @method_decorator((require_http_methods(["GET", "HEAD", "POST"]), never_cache))
    def status(self, request: HttpRequest) -> HttpResponse:
        """The status panel, for the script of the page: whether the store in force answers, which costs it a read. By
        POST every verb is tried. That writes, so it is done only as often as stores may be tried. Without the script,
        the page is shown with what came of it."""
        self._require(self.has_view_or_change_permission(request))
        status = read_status()
        refused = request.method == "POST" and not may_check(request.user, status.settings.describe())
        report = pulse.check(status.settings) if request.method == "POST" and not refused else None
        if request.method == "POST" and request.get_preferred_type(["text/html", JSON]) != JSON:
            if refused:
                messages.warning(request, too_often_in_words())
            return self._render(
                request, LoginConfigurationForm(), check=True, report=report, too_often=refused
            )
        context = {"status": status, "pulse": pulse.take(status.settings), "report": report}
        if request.method != "POST":
            return TemplateResponse(request, f"{TEMPLATES}/status.html", context)
        if refused:
            context |= {"heading": _("Check"), "refused": too_often_in_words()}
        parts = {"status": "status.html", "report": "steps.html" if refused else "report.html"}
        found = {
            name: render_to_string(f"{TEMPLATES}/{part}", context, request) for name, part in parts.items()
        }
        return JsonResponse(found, status=429 if refused else 200)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any = (), add: bool = False
    ) -> list[dict[str, dict[str, Any]]]:
        """The names of the fields, and which store that is: no other value."""
        names, store = form.changes(), form.instance.store_settings().describe()
        return [{"changed": {"name": "store", "object": store, "fields": names}}] if names else []

    def _save(self, request: HttpRequest) -> HttpResponse:
        self._require(self.has_change_permission(request))
        form = LoginConfigurationForm(request.POST, probe=False)
        again = Reauthentication(request)
        if not again.confirm(_("Save")):
            form.look_nothing_up()
        elif self._saved(request, form):
            return HttpResponseRedirect(self._url("changelist"))
        if form.has_error("__all__", "overtaken"):
            form.rebase()
        return self._render(request, form, again=again)

    def _saved(self, request: HttpRequest, form: LoginConfigurationForm, what: str = "saved") -> bool:
        if not try_store(request.user, form, saving=True):
            return False
        try:
            self._save_and_log(request, form)
        except Overtaken as error:
            form.add_error(None, error)
            return False
        audit.changed(what, request.user.get_username(), form.store_settings().describe())
        messages.success(request, self._saved_message(renamed=form.renamed))
        return True

    def _save_and_log(self, request: HttpRequest, form: LoginConfigurationForm) -> None:
        """The probe is over by now: nothing that may take long happens inside the transaction."""
        with transaction.atomic(using=router.db_for_write(LoginConfiguration)):
            saved = form.save(saved_by=request.user.get_username())
            self.log_change(request, saved, self.construct_change_message(request, form))

    def _saved_message(self, *, renamed: bool) -> str:
        status = read_status()
        if renamed:
            store = status.pending or status.settings.describe()
            return _("Saved. {store} is the store that was in use under another name: nothing moves.").format(
                store=store
            )
        if status.pending_at is None:
            return _("Saved. Sessions are stored in {store}.").format(store=status.settings.describe())
        at = date_format(status.pending_at, "H:i:s")
        return _("Saved. Every node switches to {store} at {at}.").format(store=status.pending, at=at)

    def _render(
        self,
        request: HttpRequest,
        form: LoginConfigurationForm,
        *,
        tested: bool = False,
        check: bool = False,
        report: Report | None = None,
        again: Reauthentication | None = None,
        too_often: bool = False,
    ) -> TemplateResponse:
        """With ``check`` the stores are asked, which may take a while; else the script of the page has that done."""
        form.ask_for_secrets_again()
        may_change = self.has_change_permission(request)
        if not may_change:
            form.make_read_only()
        again = again or Reauthentication(request)
        shown = read_panels(count=check)
        context = {
            "title": _("Login Configuration"),
            "original": form.instance,
            "form": form,
            "may_change": may_change,
            "tested": tested,
            "pulse": pulse.take(shown["status"].settings) if check else None,
            "report": report,
            "again": again,
            **shown,
        }
        too_often = too_often or again.too_often or bool(tried_too_often(form))
        return self._show(request, "change_form.html", context, too_often=too_often)

    def _wrapped(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        """Behind the admin's login and CSRF check, and outside ATOMIC_REQUESTS: a failed probe would break it."""

        def with_new_key(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            response = view(request, *args, **kwargs)
            renew_key(request)
            return response

        # Outermost: a crash may come as the session is loaded.
        wrapped = without_secrets_in_reports(self.admin_site.admin_view(with_new_key))
        for alias in connections:
            wrapped = transaction.non_atomic_requests(using=alias)(wrapped)
        return wrapped
