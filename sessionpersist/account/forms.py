"""Login forms."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.utils.translation import ngettext

from sessionpersist.account import wishes
from sessionpersist.account.wishes import Wish
from sessionpersist.handover import snapshot
from sessionpersist.session.policy import DAY


class RememberLoginForm(AuthenticationForm):
    """Django's login form, and a box to tick where staff have set “remember me”. For any view that takes an
    ``authentication_form``, such as Django's ``LoginView``."""

    remember = forms.BooleanField(required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        life = snapshot.current().policy.remember
        if life is None:
            del self.fields["remember"]
        else:
            self.fields["remember"].label = remember_in_words(life // DAY)

    def clean(self) -> dict[str, Any]:
        """Check the password as Django does, and leave on the request what ``login()`` would not pass on."""
        cleaned = super().clean()
        user = self.get_user()
        if self.request is not None and user is not None:
            remember = bool(cleaned["remember"]) if "remember" in self.fields else None
            wishes.leave(self.request, Wish(str(user.pk), remember, by_password=True))
        return cleaned


def remember_in_words(days: int) -> str:
    """Return the label of the box."""
    text = ngettext(
        "Keep me logged in on this device for {days} day",
        "Keep me logged in on this device for {days} days",
        days,
    )
    return text.format(days=days)
