"""The login view, and what the dialog of an open page is told of its form."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import views
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token

from sessionpersist.account.forms import RememberLoginForm
from sessionpersist.middleware import preferred_media_type

# What the dialog can show. A form with anything else, such as a captcha, is opened in a tab of its own.
INPUTS = {"text", "email", "tel", "number", "password", "checkbox", "hidden"}


class LoginView(views.LoginView):
    """Django's, with a box to tick for “remember me”, and in JSON for the dialog in which a page that was left open
    asks its user to log in again. A subclass that answers otherwise, with a second step for example, is opened in a tab
    of its own instead."""

    form_class = RememberLoginForm

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the form."""
        return (
            self._described(self.get_form()) if wants_json(request) else super().get(request, *args, **kwargs)
        )

    def form_valid(self, form: Any) -> HttpResponse:
        """Log in."""
        response = super().form_valid(form)
        return JsonResponse({"done": True}) if wants_json(self.request) else response

    def form_invalid(self, form: Any) -> HttpResponse:
        """Show the form with its errors."""
        return self._described(form) if wants_json(self.request) else super().form_invalid(form)

    def _described(self, form: forms.BaseForm) -> JsonResponse:
        """The fields, or none where the dialog could not show them all."""
        fields = [describe(field) for field in form]
        shown = fields if all(field["type"] in INPUTS for field in fields) else None
        answer = {"done": False, "fields": shown, "errors": form.non_field_errors()}
        return JsonResponse(answer | {"csrf": get_token(self.request)})


def describe(field: forms.BoundField) -> dict[str, Any]:
    """What the dialog has to know of a field. A password that was entered is never sent back."""
    widget = field.field.widget
    kind = getattr(widget, "input_type", "")
    return {
        "name": field.html_name,
        "label": str(field.label),
        "type": kind,
        "value": "" if kind in {"password", "checkbox"} else str(field.value() or ""),
        "autocomplete": str(widget.attrs.get("autocomplete", "")),
        "required": field.field.required,
        "errors": list(field.errors),
    }


def wants_json(request: HttpRequest) -> bool:
    """Whether it is a script that asks."""
    return preferred_media_type(request) == "application/json"
