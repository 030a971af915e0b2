"""Trying a store on behalf of a user: counted, on record, and refused where it is once too often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist import audit
from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.configuration.throttling import LONGEST_OBJECT, TESTS

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise as Text

CODE = "too_often"  # of the error, for whoever shows the form
TRIED_TOO_OFTEN: Text = gettext_lazy(
    "Each user can try a store {times} times a minute, and you have reached that limit. Wait a minute, then try again."
)


def try_store(user: Any, form: LoginConfigurationForm, *, saving: bool = False) -> bool:
    """Validate a form and try its store, and return whether that works; if not, the form says why.

    Each press counts, by whichever button, and before the form is validated: that asks for the address of a host and
    whether there is a variable already. One that ends in saving does not: that has an entry of its own. Nor does saving
    the policy alone, which tries no store.
    """
    if saving and form.is_policy_only:
        return form.is_valid()
    noted = TESTS.note(user, _("Tested the connection."), form.target)
    if noted is None:
        form.look_nothing_up(ValidationError(too_often_in_words(), code=CODE))
    try:
        valid = form.is_valid()
    finally:  # a crash is on record as well
        audit.tried(user.pk, form.target, refused=noted is None)
    if noted is None:
        return False
    noted.object_repr = form.target[:LONGEST_OBJECT]
    noted.save(update_fields=["object_repr"])
    if valid:
        form.try_store()
    if saving and form.is_valid():
        noted.delete()
    return form.is_valid()


def may_check(user: Any, store: str) -> bool:
    """Return whether somebody may have every verb of the store in use tried now, and note that: it writes, and takes no
    more than the permission to view. It counts like any other try."""
    noted = TESTS.note(user, _("Checked the store in use."), store)
    audit.checked(user.pk, store, refused=noted is None)
    return noted is not None


def too_often_in_words() -> str:
    """Say to somebody that they have to wait."""
    return str(TRIED_TOO_OFTEN).format(times=TESTS.times)


def tried_too_often(form: LoginConfigurationForm) -> str:
    """Return the sentence for somebody who has to wait, or ""."""
    return str(form.non_field_errors()[0]) if form.has_error(NON_FIELD_ERRORS, CODE) else ""
