"""Decisions that staff are asked to confirm: abandon an old store, switch back."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from sessionpersist import audit
from sessionpersist.configuration.attempts import tried_too_often
from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.configuration.panels.handover import find_moving
from sessionpersist.configuration.panels.status import read_status
from sessionpersist.configuration.reauthentication import Reauthentication
from sessionpersist.configuration.store_sentences import store_name
from sessionpersist.configuration.views.saving import SavingViews
from sessionpersist.handover import draining
from sessionpersist.models import LoginConfiguration, Revision

only_get_or_post = method_decorator(require_http_methods(["GET", "HEAD", "POST"]))


class DecisionViews(SavingViews):
    """Each shows what it means; by POST, does it."""

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
            "title": _("Switch back to {store}?").format(store=store_name(store)),
            "store": store,
            "form": form,
            "problems": list(form.problems()),
            "edition": LoginConfiguration.get_solo().edition,
            "status": read_status(),
            "again": again,
        }
        too_often = again.too_often or bool(tried_too_often(form))
        return self._show(request, "switch_back.html", context, too_often=too_often)


def data_to_return(request: HttpRequest, revision: Revision) -> dict[str, Any]:
    """What the form would be sent; the edition is of the page on which somebody agreed to it."""
    data, consent = LoginConfigurationForm.data_of_revision(revision), LoginConfigurationForm().consent
    agreed = ("edition", *([consent.html_name] if consent else []))
    return data | {name: request.POST[name] for name in agreed if name in request.POST}
