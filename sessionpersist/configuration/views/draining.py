"""Moving what is left in an old store, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from sessionpersist import audit, background, conf
from sessionpersist.configuration.panels.all import read_panels
from sessionpersist.configuration.panels.handover import Moving, find_moving
from sessionpersist.configuration.panels.words import grouped
from sessionpersist.configuration.store_sentences import said, store_name
from sessionpersist.configuration.views.base import (
    TEMPLATES,
    BaseViews,
    only_post,
    page_for_visits,
    wants_json,
)
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import draining
from sessionpersist.handover.draining import NotNow
from sessionpersist.models import Revision
from sessionpersist.upkeep import mover

STEP_SECONDS = 0.5  # how long one request moves sessions: no worker is kept for longer


class DrainingViews(BaseViews):
    """The panels that change by themselves, and the button that moves the rest."""

    @page_for_visits
    @method_decorator((background, require_safe, never_cache))
    def progress(self, request: HttpRequest) -> HttpResponse:
        """The panels that change by themselves, with the sessions counted, for the script of the page."""
        self._require(self.has_view_or_change_permission(request))
        context = {**read_panels(count=True), "may_change": self.has_change_permission(request)}
        return TemplateResponse(request, f"{TEMPLATES}/panels/all.html", context)

    @only_post
    def drain(self, request: HttpRequest, number: int) -> HttpResponse:
        """Move some of what is left in a store. The script asks again and again; without it, each press is a step."""
        self._require(self.has_change_permission(request))
        unfinished = Revision.objects.filter(pk=number, drained_at=None).first()
        if unfinished and unfinished.most_left is None:
            find_moving(number)  # counts what the progress begins with
        step = take_step(number)
        moving = find_moving(number, step.left if step.state == "moved" else None)
        if moving and step.state == "moved" and not step.moved and not step.left:
            step = replace(step, message=_("Nothing is left to move on this node."))  # but on others
        if unfinished and Revision.objects.filter(pk=number, drained_how="drained").exists():
            store = unfinished.store_settings()
            name = store_name(store)
            self._log(request, _("Moved the rest of the sessions out of {store}.").format(store=name))
            step = replace(step, message=_("The handover from {store} is over.").format(store=name))
        if wants_json(request):
            shown = {"each": moving, "may_change": True}
            facts = render_to_string(f"{TEMPLATES}/panels/moving.html", shown, request) if moving else ""
            return JsonResponse({**asdict(step), "facts": facts, "over": not moving})
        tell = messages.warning if step.state != "moved" else messages.info if moving else messages.success
        tell(request, step.message or told(step, moving))
        return HttpResponseRedirect(self._url("changelist") + "?check=now#sp-handover")

    @only_post
    def pace(self, request: HttpRequest, number: int) -> HttpResponse:
        """Pause what moves by itself, have it go on, or have it move faster."""
        self._require(self.has_change_permission(request))
        found = next((each for each in draining.going_on() if each.number == number), None)
        if found is None:
            messages.info(request, _("The handover from this store is over already."))
            return HttpResponseRedirect(self._url("changelist"))
        if not conf.drain_rate():
            messages.info(
                request, _("DRAIN_RATE is 0 here: sessions move as their users come back, or by hand.")
            )
            return HttpResponseRedirect(self._url("changelist"))
        chosen = pace_chosen(request.POST.get("pace", ""))
        if chosen is None:
            return HttpResponseBadRequest()
        chosen.choose(number)
        name = found.settings.describe()
        audit.changed(chosen.audited, request.user.get_username(), name)
        self._log(request, chosen.log.format(store=name))
        return HttpResponseRedirect(self._url("changelist") + "#sp-handover")


class PaceChosen(NamedTuple):
    """What a button does, and how that is called in the audit log and in the admin's."""

    choose: Callable[[int], None]
    audited: str
    log: str


def pace_chosen(button: str) -> PaceChosen | None:
    """Return what a button does; None where there is no such button."""
    buttons = {
        "pause": PaceChosen(mover.paused, "handover paused", _("Paused the handover from {store}.")),
        "resume": PaceChosen(mover.resumed, "handover resumed", _("Resumed the handover from {store}.")),
        "faster": PaceChosen(mover.faster, "handover faster", _("Sped up the handover from {store}.")),
    }
    return buttons.get(button)


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
        return StepTaken("failed", message=said(error))
    return StepTaken("moved", step.moved, step.left)


def told(step: StepTaken, moving: Moving | None) -> str:
    """Say what a step has done, where no script shows it."""
    if moving is None:
        return _("The handover from this store is over already.")
    text = ngettext(
        "{moved} session moved; left: {left}. Press “Move the rest now” again to go on.",
        "{moved} sessions moved; left: {left}. Press “Move the rest now” again to go on.",
        step.moved,
    )
    return text.format(moved=grouped(step.moved), left=moving.left_in_words)
