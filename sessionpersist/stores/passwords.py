"""Passwords of stores in the site's own database: encrypted there and in dumps, never in a form, a log or a repr."""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.db import models
from django.db.models.query_utils import DeferredAttribute
from django.utils.encoding import force_bytes

from sessionpersist.stores.secret import Sealed, Secret, SecretBytes, secret_keys
from sessionpersist.stores.settings import UnreadablePassword

DUMPED = "encrypted:"  # what a ciphertext in a dump begins with


def encrypt(password: str) -> str:
    """Return the password as text that only the site's secret key opens."""
    return _fernet().encrypt(password.encode()).decode()


def decrypt(text: str) -> Secret:
    """Return the password, or an UnreadablePassword where no secret key of the site opens it."""
    try:
        return Secret(_fernet().decrypt(text).decode())
    except InvalidToken:
        return UnreadablePassword(text)


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(base64.urlsafe_b64encode(_key(secret))) for secret in secret_keys()])


def _key(secret: str | bytes) -> bytes:
    return SecretBytes(hmac.digest(b"sessionpersist.passwords.v1", force_bytes(secret), "sha256"))


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
