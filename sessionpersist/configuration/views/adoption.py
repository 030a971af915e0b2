"""What staff can do about sessions of the engine used before: move the rest."""

from __future__ import annotations

from dataclasses import asdict

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from sessionpersist.configuration.leftovers import REMOVABLE, Leftovers, leftovers
from sessionpersist.configuration.panels.adoption import read_adoption
from sessionpersist.configuration.panels.words import grouped
from sessionpersist.configuration.store_sentences import said
from sessionpersist.configuration.views.base import TEMPLATES, BaseViews, only_post, wants_json
from sessionpersist.configuration.views.draining import STEP_SECONDS, StepTaken
from sessionpersist.exceptions import StoreUnavailable

# In the session of who presses the button, as any process may take the next step: how many to leave aside.
PASSED = "sessionpersist_adoption_passed"


class AdoptionViews(BaseViews):
    """The button beside what is left at the engine used before."""

    @only_post
    def adopt(self, request: HttpRequest) -> HttpResponse:
        """Move some of what is left there. The script asks again and again; without it, each press is a step."""
        self._require(self.has_change_permission(request))
        old = leftovers()
        if old is not None:
            old.passed = request.session.get(PASSED, 0)
        step, over = take_step(old) if old else (StepTaken("moved", message=str(REMOVABLE)), True)
        if old is not None and old.passed != request.session.get(PASSED, 0):
            request.session[PASSED] = old.passed
        if over and step.moved and old:
            self._log(
                request, _("Moved the rest of the sessions out of {engine}.").format(engine=old.describe())
            )
        if wants_json(request):
            context = {"adoption": read_adoption(count=True)}
            facts = render_to_string(f"{TEMPLATES}/panels/adoption_facts.html", context)
            return JsonResponse({**asdict(step), "facts": facts, "over": over})
        tell = messages.warning if step.state != "moved" else messages.success if over else messages.info
        tell(request, step.message)
        return HttpResponseRedirect(self._url("changelist") + "?check=now#sp-handover")


def take_step(old: Leftovers) -> tuple[StepTaken, bool]:
    """Move sessions for about STEP_SECONDS; return what that has done, and whether all that can be moved has moved."""
    if not old.listable:
        return StepTaken("failed", message=old.until()), True
    try:
        step = old.move_some(STEP_SECONDS)
    except StoreUnavailable as error:
        return StepTaken("failed", message=said(error)), False
    told = ngettext("{moved} session moved.", "{moved} sessions moved.", step.moved)
    told = told.format(moved=grouped(step.moved))
    if not step.ended:
        told += " " + _("Press “Move the rest now” again to go on.")
    else:
        told = " ".join([told, *([old.about_stuck()] if old.stuck else []), str(REMOVABLE)])
    return StepTaken("moved", step.moved, step.left, told), step.ended
