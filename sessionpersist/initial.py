"""The store in force before anybody has saved one: ``SESSIONPERSIST["INITIAL"]``, In-Memory by default."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from sessionpersist import conf
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.settings import MemorySettings, StoreSettings, from_fields


def initial_fields() -> dict[str, Any]:
    """Return the fields of the Login Configuration that hold until somebody saves it."""
    return {"persistence_type": MemorySettings.type, **(conf.get("INITIAL") or {})}


def initial_settings() -> StoreSettings:
    """Return the settings of the store in force until somebody saves another. Asks no database.

    Raises StoreMisconfigured where INITIAL is not made of fields of the Login Configuration.
    """
    fields = initial_fields()
    if problem := next(problems(fields), None):
        raise StoreMisconfigured(f"SESSIONPERSIST['INITIAL'] can't be used. {problem}")
    return from_fields(fields)


def problems(fields: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the names and the types of the fields. No text repeats a value: one is a password."""
    known = editable_fields()
    for name, value in fields.items():
        if name in known:
            yield from (f"{name}: {message}" for message in _mistakes(known[name], value))
        else:
            close = difflib.get_close_matches(str(name).lower(), known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Its fields are {', '.join(known)}."
            yield f"Login Configuration has no field {name!r}. {hint}"


def editable_fields() -> dict[str, Any]:
    """Return the fields that staff can set, by name."""
    from sessionpersist.models import LoginConfiguration  # models are loaded after the app registry is ready

    fields = LoginConfiguration._meta.concrete_fields
    return {field.name: field for field in fields if field.editable and not field.primary_key}


def _mistakes(field: models.Field[Any, Any], value: Any) -> list[str]:
    try:
        cleaned = field.clean(value, None)
    except ValidationError as error:
        return list(error.messages) if "invalid_choice" not in _codes(error) else [_choices(field)]
    kind = {int: "a whole number", bool: "True or False", str: "a text"}.get(type(cleaned), "another type")
    return [] if type(cleaned) is type(value) else [f"This must be {kind}."]


def _codes(error: ValidationError) -> set[str | None]:
    return {each.code for each in error.error_list}


def _choices(field: models.Field[Any, Any]) -> str:
    return f"This must be one of {', '.join(str(value) for value, label in field.flatchoices)}."
