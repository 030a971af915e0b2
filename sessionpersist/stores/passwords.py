"""Passwords of stores in the site's own database: encrypted there and in dumps, never in a form, a log or a repr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.query_utils import DeferredAttribute

from sessionpersist.stores.secret import Sealed, Secret, UnreadablePassword, decrypt, encrypt

DUMPED = "encrypted:"  # what a ciphertext in a dump begins with


if TYPE_CHECKING:
    TextField = models.TextField[str, str]
else:
    TextField = models.TextField  # not subscriptable at run time


def _masked(value: Any) -> Any:
    return Secret(value) if isinstance(value, str) and not isinstance(value, Secret) else value


class SecretAttribute(DeferredAttribute):
    """Whatever is set on the model, no report shows."""

    def __set__(self, instance: models.Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = _masked(value)


class EncryptedPasswordField(TextField):
    """Text that is encrypted in the database and in dumps, and a Secret on the model."""

    descriptor_class = SecretAttribute

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, Sealed):  # as the settings of a store hold it
            value = value.reveal()
        if not value or isinstance(value, UnreadablePassword):
            return str(value or "")
        return encrypt(value if isinstance(value, str) else str(value))

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> str:
        return decrypt(value) if value else ""

    def value_to_string(self, obj: models.Model) -> str:
        """What a serializer writes: the ciphertext, marked as such."""
        value = self.get_prep_value(self.value_from_object(obj))
        return DUMPED + value if value else ""

    def to_python(self, value: Any) -> Any:
        """What a serializer reads: a ciphertext from a dump, or a password that somebody wrote into a fixture."""
        if isinstance(value, str) and value.startswith(DUMPED):
            return decrypt(value.removeprefix(DUMPED))
        return super().to_python(value)

    def clean(self, value: Any, model_instance: models.Model | None) -> Any:
        """What was typed is the password itself, whatever it looks like: nobody is to use one that they have only
        encrypted."""
        text = super().to_python(value)
        self.validate(text, model_instance)
        self.run_validators(text)
        return text
