"""“Your sessions”: where a user is logged in, and a way to end it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from sessionpersist import sessions
from sessionpersist.account import pages
from sessionpersist.configuration.reauthentication import FIELD, Reauthentication, renew_key
from sessionpersist.sessions import UserSession
from sessionpersist.stores.transactions import in_no_transaction

LOG_IN_AGAIN = gettext_lazy("You logged in too long ago. Log out, log in again, and repeat it.")


class Ending(NamedTuple):
    """What somebody is about to end: what to call it, and what to do."""

    title: str
    button: str
    fields: dict[str, str]
    end: Callable[[], str]  # returns the sentence that says that it is done


@login_required
@never_cache
@require_safe
def show(request: HttpRequest) -> HttpResponse:
    """List them: this one first, then the one used last. What is not listed is not said to be over."""
    listed, more = sessions.listed(request.user, current=request.session)
    others = any(not each.current for each in listed)
    context = {"sessions": listed, "more": more, "others": others, "are_listed": sessions.are_listed()}
    return pages.show(request, "sessions.html", context)


@in_no_transaction
@sensitive_post_parameters(FIELD)
@login_required
@never_cache
@require_POST
def end(request: HttpRequest) -> HttpResponse:
    """End one of the user's other sessions. 404 for any other id, whoever it belongs to."""
    listed = own(request)
    chosen = next((each for each in listed if each.id == request.POST.get("id") and not each.current), None)
    if chosen is None:
        raise Http404

    def do() -> str:
        sessions.end(request.user, chosen.id)  # nothing to end: it was over a moment ago
        return _("Logged out: {device}.").format(device=device)

    device = chosen.device or _("Unknown device")
    title = _("Log out on this device: {device}?").format(device=device)
    return decided(request, listed, Ending(title, _("Log out there"), {"id": chosen.id}, do))


@in_no_transaction
@sensitive_post_parameters(FIELD)
@login_required
@never_cache
@require_POST
def end_others(request: HttpRequest) -> HttpResponse:
    """End all sessions of the user but this one."""

    def do() -> str:
        number = sessions.end_others(request)
        text = ngettext("{number} other session has ended.", "{number} other sessions have ended.", number)
        return text.format(number=number)

    title = _("Log out everywhere else?")
    return decided(request, own(request), Ending(title, _("Log out everywhere else"), {}, do))


def decided(request: HttpRequest, listed: list[UserSession], ending: Ending) -> HttpResponse:
    """Do it, and go back to the list; or first ask for the password, where that was not entered lately."""
    begun = max((each.begun.timestamp() for each in listed if each.current), default=0.0)
    again = Reauthentication(request, about=_("Your sessions"), advice=LOG_IN_AGAIN, logged_in=begun)
    if not again.confirm(ending.button):
        if FIELD not in request.POST and again.by_password:
            again.error = ""  # it has not been asked for yet
        context: dict[str, Any] = {"again": again, "ending": ending}
        return pages.show(request, "confirm.html", context, status=429 if again.too_often else 200)
    messages.success(request, ending.end(), fail_silently=True)
    renew_key(request)
    return redirect("sessionpersist:sessions")


def own(request: HttpRequest) -> list[UserSession]:
    """The sessions of whoever asks."""
    return sessions.of(request.user, current=request.session)
