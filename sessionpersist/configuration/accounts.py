"""Finding the users whose sessions staff look at, whatever the project's user model is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import Q, QuerySet

FOUND_AT_MOST = 20


def search(text: str) -> Sequence[Any]:
    """Return the users whose name or e-mail address has that text in it, or whose primary key it is; FOUND_AT_MOST."""
    model = get_user_model()
    wanted = Q()
    for name in {model.USERNAME_FIELD, model.get_email_field_name()}:
        if _is_text(model, name):
            wanted |= Q(**{f"{name}__icontains": text})
    exact = by_key(text)
    found = list(_users().filter(wanted).order_by(model.USERNAME_FIELD)[:FOUND_AT_MOST]) if wanted else []
    return found if exact is None or exact in found else [exact, *found][:FOUND_AT_MOST]


def by_name_or_key(text: str) -> Any:
    """Return the user of that name, or else of that primary key; None where there is none."""
    model = get_user_model()
    named = _users().filter(**{model.USERNAME_FIELD: text}) if _is_text(model, model.USERNAME_FIELD) else None
    return (named and named.first()) or by_key(text)


def by_key(text: str) -> Any:
    """Return the user with a primary key that is written like this; None where there is none."""
    try:
        return _users().filter(pk=get_user_model()._meta.pk.to_python(text)).first()
    except (ValidationError, ValueError, TypeError):
        return None


def _users() -> QuerySet[Any]:
    return get_user_model()._default_manager.all()


def _is_text(model: Any, name: str) -> bool:
    """Return whether a model has a field that can be searched."""
    try:
        return not model._meta.get_field(name).is_relation
    except FieldDoesNotExist:
        return False
