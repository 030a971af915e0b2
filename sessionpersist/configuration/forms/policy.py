"""The section "Session time-outs and limits": what staff decide about sessions, wherever those are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.forms.utils import ErrorDict
from django.utils.functional import lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from sessionpersist.configuration.forms.fields import ChoiceField, NumberField, as_text
from sessionpersist.configuration.panels.words import grouped
from sessionpersist.models import NO_LIMIT, AtLimit, check_limit
from sessionpersist.session.policy import (
    CENTURY,
    DAY,
    END_OLDEST,
    FIELDS,
    HOUR,
    MINUTE,
    MOST_SESSIONS,
    UNLIMITED,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sessionpersist.models import LoginConfiguration


def _refusal(largest: int) -> str:
    """Say which numbers a field takes that may be empty."""
    return _("Enter a whole number from 1 to {largest}, or leave this empty.").format(
        largest=grouped(largest)
    )


def _limit_refused() -> str:
    return str(NO_LIMIT).format(most=MOST_SESSIONS)


def _help_of_idle() -> str:
    text = _("A user who does nothing for this long has to log in again. Empty: as Django does, {life}.")
    return text.format(life=life_in_django())


def _help_of_remember() -> str:
    text = _(
        "A user who ticks “Remember me” stays logged in for this long, also when the browser is closed; for all others "
        "the session ends with the browser. Empty: nobody is asked; {cookie}."
    )
    ends = _("as Django does, the session ends with the browser")
    stays = _("as Django does, the cookie stays for {span}").format(
        span=span_in_words(settings.SESSION_COOKIE_AGE)
    )
    return text.format(cookie=ends if settings.SESSION_EXPIRE_AT_BROWSER_CLOSE else stays)


def life_in_django() -> str:
    """Say when a session ends where no policy says so."""
    every = _("{span} after the last request")
    changed = _(
        "{span} after the last change to the session, which is the login unless something else is kept in it"
    )
    text = every if settings.SESSION_SAVE_EVERY_REQUEST else changed
    return text.format(span=span_in_words(settings.SESSION_COOKIE_AGE))


def span_in_words(seconds: float) -> str:
    """Say how long that is, in the largest unit that it is whole in."""
    whole = int(seconds)
    if whole and whole % 86400 == 0:
        return ngettext("{number} day", "{number} days", whole // 86400).format(number=whole // 86400)
    if whole and whole % 3600 == 0:
        return ngettext("{number} hour", "{number} hours", whole // 3600).format(number=whole // 3600)
    if whole and whole % 60 == 0:
        return ngettext("{number} minute", "{number} minutes", whole // 60).format(number=whole // 60)
    return ngettext("{number} second", "{number} seconds", whole).format(number=whole)


class SpanField(NumberField):
    """A time in units of so many milliseconds. Empty (None): as Django does."""

    def __init__(self, unit: int, **kwargs: Any) -> None:
        error = lazy(_refusal, str)(CENTURY // unit)
        super().__init__(error=error, required=False, min_value=1, max_value=CENTURY // unit, **kwargs)
        self.unit = unit

    def in_larger_unit(self, number: int) -> str:
        """Say how long that is in a larger unit, such as “ (7 days)”; nothing where it is not whole in any."""
        time = number * self.unit
        larger = any(time % each == 0 for each in (HOUR, DAY) if each > self.unit)
        return f" ({span_in_words(time // 1000)})" if larger else ""


class PolicyForm(forms.Form):
    """``data`` is what the whole page sent, ``saved`` the configuration as it is. Without ``counts`` it is shown, but
    not validated."""

    idle_minutes = SpanField(
        MINUTE,
        label=gettext_lazy("Idle time-out (minutes)"),
        help_text=lazy(_help_of_idle, str)(),
    )
    absolute_hours = SpanField(
        HOUR,
        label=gettext_lazy("Longest session (hours)"),
        help_text=gettext_lazy(
            "A user has to log in again this long after the login, however active. Empty: as Django does, never."
        ),
    )
    remember_days = SpanField(
        DAY,
        label=gettext_lazy("Remember me (days)"),
        help_text=lazy(_help_of_remember, str)(),
    )
    max_sessions = NumberField(
        label=gettext_lazy("Sessions per user"),
        error=lazy(_limit_refused, str)(),
        empty=UNLIMITED,
        validators=[check_limit],
        help_text=gettext_lazy("In how many browsers a user can be logged in at once. -1: no limit."),
    )
    at_limit = ChoiceField(
        label=gettext_lazy("At a further login"),
        choices=AtLimit.choices,
        empty=END_OLDEST,
    )

    # What the command calls a field where the label does not say enough.
    terms = {
        "idle_minutes": "minutes without a request after which a user has to log in again; '' for as Django does",
        "absolute_hours": "hours after the login at which a user has to log in again; '' for never",
        "remember_days": "days that “Remember me” lasts; '' for none",
        "max_sessions": "in how many browsers a user can be logged in at once; -1 or '' for no limit",
        "at_limit": f"what a further login does: {', '.join(AtLimit.values)}",
    }

    use_required_attribute = False

    def __init__(self, data: Any, saved: LoginConfiguration, *, counts: bool = True) -> None:
        super().__init__(data, initial={name: getattr(saved, name) for name in FIELDS})
        self.counts = counts

    def changes(self) -> list[str]:
        """Return the labels of the fields that were changed."""
        return [str(self.fields[name].label) for name in self.changed_data]

    @property
    def is_used(self) -> bool:
        """Whether staff have set any of it."""
        unset = {None, UNLIMITED, END_OLDEST}
        return any(value not in unset for value in self.initial.values())

    def reading(self) -> Iterator[tuple[str, str]]:
        """Yield the label of each field, and what is saved as a text."""
        return in_words(self.initial)

    def full_clean(self) -> None:
        if self.counts:
            super().full_clean()
        else:
            self._errors, self.cleaned_data = ErrorDict(), {}


def in_words(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the label and the value as a text of each field of the policy that is among these."""
    for name, field in PolicyForm.base_fields.items():
        if name in values:
            text = _("no limit") if values[name] == UNLIMITED else as_text(field, values[name])
            if isinstance(field, SpanField) and values[name]:
                text += field.in_larger_unit(values[name])
            yield str(field.label), text
