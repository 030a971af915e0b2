"""Saving a form on behalf of a user: tried, logged, and confirmed in a sentence."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import router, transaction
from django.http import HttpRequest
from django.utils.translation import gettext as _

from sessionpersist import conf
from sessionpersist.configuration.attempts import try_store
from sessionpersist.configuration.forms import LoginConfigurationForm, Overtaken
from sessionpersist.configuration.panels.status import read_status
from sessionpersist.configuration.store_sentences import store_name
from sessionpersist.configuration.views.base import BaseViews
from sessionpersist.models import LoginConfiguration


class SavingViews(BaseViews):
    """For the page and for a switch back, which end in the same way."""

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any = (), add: bool = False
    ) -> list[dict[str, dict[str, Any]]]:
        """The names of the fields, and which store that is: no other value."""
        names, store = form.changes(), form.instance.store_settings().describe()
        found = [{"changed": {"name": "store", "object": store, "fields": names}}] if names else []
        policy = form.policy.changes()
        return [*found, {"changed": {"fields": policy}}] if policy else found

    def _saved(self, request: HttpRequest, form: LoginConfigurationForm, what: str = "saved") -> bool:
        """Save a form and say so, if it is valid and nobody was faster; else its errors say what is wrong. ``what`` is
        for the audit log."""
        if not try_store(request.user, form, saving=True):
            return False
        try:
            self._save_and_log(request, form)
        except Overtaken as error:
            form.add_error(None, error)
            return False
        form.put_on_record(what, request.user.get_username())
        said = policy_saved_message() if form.is_policy_only else saved_message(renamed=form.renamed)
        messages.success(request, said)
        return True

    def _save_and_log(self, request: HttpRequest, form: LoginConfigurationForm) -> None:
        """The probe is over by now: nothing that may take long happens inside the transaction."""
        with transaction.atomic(using=router.db_for_write(LoginConfiguration)):
            saved = form.save(saved_by=request.user.get_username())
            self.log_change(request, saved, self.construct_change_message(request, form))


def policy_saved_message() -> str:
    """Say when time-outs and limits that were just saved are in force."""
    text = _("Saved. The time-outs and limits are in force on every node within {seconds} s.")
    return text.format(seconds=f"{conf.refresh_seconds():g}")


def saved_message(*, renamed: bool) -> str:
    """Confirm a choice that was just saved. When it is in force the page says itself, above the form."""
    if not renamed:
        return _("Saved.")
    status = read_status()
    text = _("Saved. {store} is the store that was in use under another name: nothing moves.")
    return text.format(store=status.pending or store_name(status.settings))
