"""What staff can do about a handover: move the rest, abandon an old store, switch back. The page is in ``admin``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from sessionpersist import audit
from sessionpersist.configuration import panels
from sessionpersist.configuration.attempts import tried_too_often
from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.configuration.panels import Moving
from sessionpersist.configuration.reauthentication import Reauthentication
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import draining
from sessionpersist.handover.draining import NotNow
from sessionpersist.models import LoginConfiguration, Revision

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[LoginConfiguration]
else:
    ModelAdmin = admin.ModelAdmin  # not subscriptable at run time

TEMPLATES = "admin/sessionpersist/loginconfiguration"
BASE_NAME = "sessionpersist_loginconfiguration"
STEP_SECONDS = 0.5  # how long one request moves sessions: no worker is kept for longer

only_get_or_post = method_decorator(require_http_methods(["GET", "HEAD", "POST"]))


class HandoverViews(ModelAdmin):
    """The page's panels and their buttons. Each button needs the permission to change, and is a POST."""

    @method_decorator((require_safe, never_cache))
    def progress(self, request: HttpRequest) -> HttpResponse:
        """The panels that change by themselves, with the sessions counted, for the script of the page."""
        self._require(self.has_view_or_change_permission(request))
        context = {**panels.read_panels(count=True), "may_change": self.has_change_permission(request)}
        return TemplateResponse(request, f"{TEMPLATES}/panels.html", context)

    @method_decorator(require_POST)
    def drain(self, request: HttpRequest, number: int) -> HttpResponse:
        """Move some of what is left in a store. The script asks again and again; without it, each press is a step."""
        self._require(self.has_change_permission(request))
        unfinished = Revision.objects.filter(pk=number, drained_at=None).first()
        if unfinished and unfinished.most_left is None:
            find_moving(number)  # counts what the progress begins with
        step = take_step(number)
        moving = find_moving(number, step)
        if moving and step.state == "moved" and not step.moved and not step.left:
            step = replace(step, message=_("Nothing is left to move on this node."))  # but on others
        if unfinished and Revision.objects.filter(pk=number, drained_how="drained").exists():
            store = unfinished.store_settings()
            name = store.describe()
            self._log(request, _("Moved the rest of the sessions out of {store}.").format(store=name))
            step = replace(step, message=_("The handover from {store} is over.").format(store=name))
        if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
            facts = render_to_string(f"{TEMPLATES}/moving.html", {"each": moving}) if moving else ""
            return JsonResponse({**asdict(step), "facts": facts, "over": not moving})
        tell = messages.warning if step.state != "moved" else messages.info if moving else messages.success
        tell(request, step.message or told(step, moving))
        return HttpResponseRedirect(self._url("changelist") + "?check=now#sp-handover")

    @only_get_or_post
    def abandon(self, request: HttpRequest, number: int) -> HttpResponse:
        """Say what giving the store up means; by POST, do it. Never the store in force: it is not draining."""
        self._require(self.has_change_permission(request))
        moving = find_moving(number)
        if moving is None:
            messages.info(request, _("The handover from this store is over already."))
            return HttpResponseRedirect(self._url("changelist"))
        again = Reauthentication(request)
        if request.method != "POST" or not again.confirm(_("Abandon")):
            title = _("Abandon {store}?").format(store=moving.store)
            context = {"title": title, "each": moving, "again": again}
            return self._show(request, "abandon.html", context, too_often=again.too_often)
        name = Revision.objects.get(pk=number).store_settings().describe()
        draining.abandon(number)
        audit.changed("abandoned", request.user.get_username(), name)
        self._log(request, _("Abandoned the sessions that were left in {store}.").format(store=name))
        messages.success(request, _("{store} was abandoned.").format(store=moving.store))
        return HttpResponseRedirect(self._url("changelist"))

    @only_get_or_post
    def switch_back(self, request: HttpRequest, number: int) -> HttpResponse:
        """Ask whether to choose an earlier store again; by POST, try it and save, as the form does."""
        self._require(self.has_change_permission(request))
        revision = Revision.objects.filter(pk=number).first()
        if revision is None:
            raise Http404
        again = Reauthentication(request)
        if request.method == "POST":
            form = LoginConfigurationForm(data_to_return(request, revision), probe=False)
            if not again.confirm(_("Switch back")):
                form.look_nothing_up()
            elif self._saved(request, form, "switched back"):
                return HttpResponseRedirect(self._url("changelist"))
        else:
            form = LoginConfigurationForm()
        store = revision.store_settings()
        context = {
            "title": _("Switch back to {store}?").format(store=store.describe()),
            "store": store,
            "form": form,
            "problems": list(form.problems()),
            "edition": LoginConfiguration.get_solo().edition,
            "status": panels.read_status(),
            "again": again,
        }
        too_often = again.too_often or bool(tried_too_often(form))
        return self._show(request, "switch_back.html", context, too_often=too_often)

    def _saved(self, request: HttpRequest, form: LoginConfigurationForm, what: str = "saved") -> bool:
        """Save a form and say so, if it is valid and nobody was faster; else its errors say what is wrong. ``what`` is
        for the audit log."""
        raise NotImplementedError

    def _show(
        self, request: HttpRequest, template: str, context: dict[str, Any], *, too_often: bool = False
    ) -> TemplateResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        request.current_app = self.admin_site.name
        return TemplateResponse(request, f"{TEMPLATES}/{template}", context, status=429 if too_often else 200)

    def _log(self, request: HttpRequest, message: str) -> None:
        self.log_change(request, LoginConfiguration.get_solo(), message)

    def _require(self, permission: bool) -> None:
        if not permission:
            raise PermissionDenied

    def _url(self, name: str) -> str:
        return reverse(f"admin:{BASE_NAME}_{name}", current_app=self.admin_site.name)


@dataclass(frozen=True)
class StepTaken:
    """What became of a step: ``state`` is moved, wait or failed, of which the last two come with a message."""

    state: str
    moved: int = 0
    left: int = 0
    message: str = ""


def take_step(number: int) -> StepTaken:
    """Move sessions for about STEP_SECONDS."""
    try:
        step = draining.move_some(number, STEP_SECONDS)
    except NotNow as error:
        return StepTaken("wait", message=str(error))
    except StoreUnavailable as error:
        return StepTaken("failed", message=str(error))
    return StepTaken("moved", step.moved, step.left)


def find_moving(number: int, after: StepTaken | None = None) -> Moving | None:
    """Return the store of a revision if it is draining, with its sessions counted: after a step they are already."""
    counted = after is not None and after.state == "moved"
    found = panels.read_handover(count=not counted).moving
    moving = next((each for each in found if each.number == number), None)
    return panels.counted(moving, after.left) if moving and after and counted else moving


def told(step: StepTaken, moving: Moving | None) -> str:
    """Say what a step has done, where no script shows it."""
    if moving is None:
        return _("The handover from this store is over already.")
    text = ngettext(
        "{moved} session moved; left: {left}. Press “Move the rest now” again to go on.",
        "{moved} sessions moved; left: {left}. Press “Move the rest now” again to go on.",
        step.moved,
    )
    return text.format(moved=panels.grouped(step.moved), left=moving.left_in_words)


def data_to_return(request: HttpRequest, revision: Revision) -> dict[str, Any]:
    """What the form would be sent; the edition is of the page on which somebody agreed to it."""
    data, consent = LoginConfigurationForm.data_of_revision(revision), LoginConfigurationForm().consent
    agreed = ("edition", *([consent.html_name] if consent else []))
    return data | {name: request.POST[name] for name in agreed if name in request.POST}
