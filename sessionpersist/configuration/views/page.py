"""The page itself: its form, its history, its test button and its status panel."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from sessionpersist import background
from sessionpersist.configuration import pulse
from sessionpersist.configuration.attempts import may_check, too_often_in_words, tried_too_often, try_store
from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.configuration.panels.all import read_panels
from sessionpersist.configuration.panels.handover import read_handover
from sessionpersist.configuration.panels.history import read_history
from sessionpersist.configuration.panels.status import Status, read_status
from sessionpersist.configuration.pulse import Report
from sessionpersist.configuration.reauthentication import Reauthentication
from sessionpersist.configuration.throttling import latest
from sessionpersist.configuration.views.base import TEMPLATES, only_post, page_for_visits, wants_json
from sessionpersist.configuration.views.saving import SavingViews
from sessionpersist.models import LoginConfiguration


class PageViews(SavingViews):
    """What is at the address of the page, and what its script asks for."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's page, and every switch below it. Django's log knows users of the site only; a command is run by a
        user of the machine, who may be somebody else of the same name."""
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

    @only_post
    def test(self, request: HttpRequest) -> HttpResponse:
        """Try the store that was entered, and save nothing. Without the script, show the page again."""
        self._require(self.has_change_permission(request))
        form = LoginConfigurationForm(request.POST, probe=False, prepare=False)
        try_store(request.user, form)
        if not wants_json(request):
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

    @page_for_visits
    @method_decorator((require_http_methods(["GET", "HEAD", "POST"]), never_cache))
    def status(self, request: HttpRequest) -> HttpResponse:
        """The status panel, for the script of the page: whether the store in force answers, which costs it a read. By
        POST every verb is tried."""
        self._require(self.has_view_or_change_permission(request))
        status = read_status()
        return self._check(request, status) if request.method == "POST" else self._look(request, status)

    @background
    def _look(self, request: HttpRequest, status: Status) -> HttpResponse:
        """Show it. The script asks every few seconds, whether somebody is there or not."""
        context = {"status": status, "pulse": pulse.take(status.settings)}
        return TemplateResponse(request, f"{TEMPLATES}/panels/status.html", context)

    def _check(self, request: HttpRequest, status: Status) -> HttpResponse:
        """Try every verb of the store in force. That writes, so it is done only as often as stores may be tried.
        Without the script, the page is shown with the result."""
        refused = not may_check(request.user, status.settings.describe())
        report = None if refused else pulse.check(status.settings)
        if not wants_json(request):
            if refused:
                messages.warning(request, too_often_in_words())
            form = LoginConfigurationForm()
            return self._render(request, form, check=True, report=report, too_often=refused)
        context = {"status": status, "pulse": pulse.take(status.settings), "report": report}
        if refused:
            context |= {"heading": _("Check"), "refused": too_often_in_words()}
        parts = {"status": "panels/status.html", "report": "steps.html" if refused else "report.html"}
        found = {
            name: render_to_string(f"{TEMPLATES}/{part}", context, request) for name, part in parts.items()
        }
        return JsonResponse(found, status=429 if refused else 200)

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
