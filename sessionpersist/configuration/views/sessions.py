"""The page “Sessions”: who is signed in where, and ending it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from sessionpersist import audit, sessions
from sessionpersist.configuration import accounts
from sessionpersist.configuration.panels.sessions import (
    Everybody,
    read_counts,
    read_everybody,
    read_user,
    warning_of_earlier_release,
)
from sessionpersist.configuration.reauthentication import Reauthentication, renew_key
from sessionpersist.configuration.store_sentences import said
from sessionpersist.configuration.views.base import BaseViews, only_post
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.session.reasons import Reason

VIEW, END, END_ALL = (
    f"sessionpersist.{name}" for name in ("view_sessions", "end_sessions", "end_all_sessions")
)
LONGEST_SEARCH = 1000  # characters


class SearchForm(forms.Form):
    """Whom to look for."""

    q = forms.CharField(label=gettext_lazy("User"), max_length=LONGEST_SEARCH, required=False)


class SessionViews(BaseViews):
    """Each act has a permission of its own, is a POST, and is on record in the admin's history and in the audit log."""

    templates = "admin/sessionpersist/sessions"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm(VIEW))

    @method_decorator((require_safe, never_cache))
    def overview(self, request: HttpRequest) -> HttpResponse:
        """How many sessions there are, and users to choose from."""
        self._require(self.has_view_permission(request))
        form = SearchForm(request.GET)
        wanted = form.cleaned_data["q"] if form.is_valid() else ""
        found = [(user, quote(user.pk)) for user in accounts.search(wanted)] if wanted else []
        context = {
            "title": _("Sessions"),
            "form": form,
            "wanted": wanted,
            "found": found,
            "more": len(found) >= accounts.FOUND_AT_MOST,
            "counts": read_counts(),
            "everybody": read_everybody(),
            "may_end_all": request.user.has_perm(END_ALL),
        }
        return self._show(request, "overview.html", context)

    @method_decorator((require_safe, never_cache))
    def user(self, request: HttpRequest, quoted: str) -> HttpResponse:
        """Where one user is signed in."""
        self._require(self.has_view_permission(request))
        user = user_or_404(quoted)
        context = {
            "title": _("Sessions of {user}").format(user=user.get_username()),
            "whose": user,
            "quoted": quote(user.pk),
            "sessions": read_user(user, request.session),
            "may_end": request.user.has_perm(END),
        }
        return self._show(request, "user.html", context)

    @only_post
    def end(self, request: HttpRequest, quoted: str) -> HttpResponse:
        """End one session of a user, or all of them."""
        self._require(self.has_view_permission(request) and request.user.has_perm(END))
        user, one = user_or_404(quoted), request.POST.get("session")
        try:
            ended = end_of(user, one)
        except StoreUnavailable as error:
            messages.error(request, said(error))
        else:
            self._tell(request, user, ended)
        return HttpResponseRedirect(self._url("user", quote(user.pk)))

    def _tell(self, request: HttpRequest, user: Any, ended: int) -> None:
        if not ended:
            messages.warning(request, _("No session was ended: it was over already."))
            return
        audit.ended_by_staff(request.user.get_username(), user.pk, ended)
        said = ngettext("Ended {number} session.", "Ended {number} sessions.", ended).format(number=ended)
        self.log_change(request, user, said)
        messages.success(request, said)

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def everybody(self, request: HttpRequest) -> HttpResponse:
        """Say what it means to log everybody out; by POST, do it."""
        self._require(self.has_view_permission(request) and request.user.has_perm(END_ALL))
        again = Reauthentication(request)
        if request.method != "POST" or not again.confirm(_("Log everybody out")):
            context = {
                "title": _("Log everybody out?"),
                "again": again,
                "warning": warning_of_earlier_release(),
            }
            return self._show(request, "everybody.html", context, too_often=again.too_often)
        renew_key(request)  # while there is a session
        sessions.end_everybody(ended_by=request.user.get_username())
        self._log(request, _("Logged everybody out."))
        messages.success(request, everybody_in_words(read_everybody()))
        return HttpResponseRedirect(self._url("changelist"))


def user_or_404(quoted: str) -> Any:
    """Return the user of a primary key as it stands in an address. Raises Http404."""
    user = accounts.by_key(unquote(quoted))
    if user is None:
        raise Http404
    return user


def everybody_in_words(last: Everybody | None) -> str:
    """Say that everybody is logged out, or when they will be."""
    if last is None or not last.pending:
        return _("Everybody is logged out.")
    return _("Everybody is logged out at {at}.").format(at=date_format(last.at, "H:i:s"))


def end_of(user: Any, one: str | None) -> int:
    """End the session of that id, or all of a user where none is named; return how many ended."""
    if one is None:
        return sessions.end_all(user, reason=Reason.BY_STAFF)
    return int(sessions.end(user, one, reason=Reason.BY_STAFF))
