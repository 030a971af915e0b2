"""What staff may do only so often: try stores out, and guess a password.

Attempts are counted in the admin's log. All processes of the site share it, it needs no table of our own, and who tried
what is on record anyway. An attempt is noted before it is made and counted afterwards, so that those that are made at
the same moment see each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import router
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from sessionpersist import audit
from sessionpersist.configuration.forms import LoginConfigurationForm
from sessionpersist.models import LoginConfiguration

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise as Text

LONGEST_OBJECT = 200  # characters, of the admin's log


@dataclass(frozen=True)
class Limit:
    """At most ``times`` in ``seconds`` for each user. ``name`` stands in the log where others have the id of a row."""

    name: str
    times: int
    seconds: int

    def note(self, user: Any, message: str, about: str) -> LogEntry | None:
        """Note an attempt before it is made. None: it is one too many, must not be made, and is not counted either."""
        entries = LogEntry.objects.using(router.db_for_write(LogEntry))
        page = ContentType.objects.get_for_model(LoginConfiguration)
        whose: dict[str, Any] = {"user_id": user.pk, "content_type": page, "object_id": self.name}
        what = {"object_repr": about[:LONGEST_OBJECT], "action_flag": CHANGE, "change_message": message}
        entry = entries.create(**whose, **what)
        since = timezone.now() - timedelta(seconds=self.seconds)
        if entries.filter(**whose, action_time__gt=since).count() <= self.times:
            return entry
        entry.delete()
        return None


TESTS = Limit("connection-test", 10, 60)
PASSWORDS = Limit("wrong-password", 5, 300)
SHOWN = 20  # attempts, on the page with the history
TOO_OFTEN = "too_often"
TRIED_TOO_OFTEN: Text = gettext_lazy(
    "Each user can try a store {times} times a minute, and you have. Wait a minute, then try again."
)


def latest() -> Sequence[LogEntry]:
    """Return the latest attempts of all users: colleagues notice one that none of them has made."""
    names, page = [TESTS.name, PASSWORDS.name], ContentType.objects.get_for_model(LoginConfiguration)
    entries = LogEntry.objects.filter(object_id__in=names, content_type=page)
    return list(entries.select_related("user")[:SHOWN])


def try_store(user: Any, form: LoginConfigurationForm, *, saving: bool = False) -> bool:
    """Validate a form and try its store, and return whether that works; if not, the form says why.

    Each press counts, by whichever button, and before the form is validated: that asks for the address of a host and
    whether there is a variable already. One that ends in saving does not: that has an entry of its own.
    """
    noted = TESTS.note(user, _("Tested the connection."), form.target)
    if noted is None:
        form.look_nothing_up(ValidationError(too_often_in_words(), code=TOO_OFTEN))
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
    return str(form.non_field_errors()[0]) if form.has_error(NON_FIELD_ERRORS, TOO_OFTEN) else ""
