"""Texts that nobody is to read by accident: session keys, passwords, secret keys and what is made of them.

Reports about crashes and debuggers show the ``repr`` of every variable of every frame, and Django's own marks for
sensitive variables hold only without DEBUG. So the values themselves have a ``repr`` that tells nothing, from the
cookie to the store and from the form to the driver. ``str()``, ``==`` and ``json`` see
the text as it is.
"""

from __future__ import annotations

import base64
import hmac
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.encoding import force_bytes

MASKED = "'…'"


class Secret(str):
    """A text whose ``repr`` does not show it. A pickle holds it encrypted with the secret key of the site."""

    __slots__ = ()

    def __repr__(self) -> str:
        return MASKED

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return decrypt, (encrypt(self),)


class UnreadablePassword(Secret):
    """A saved password that this process can't decrypt; it carries the ciphertext, so saving loses nothing."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return UnreadablePassword, (str(self),)


class SecretBytes(bytes):
    """Bytes whose ``repr`` does not show them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return MASKED


class Sealed:
    """A secret that is no text: it has to be asked for by name, so that nothing writes it down by mistake.

    What the settings of a store hold: neither ``asdict`` nor ``json`` gets at it.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        self._secret = secret if isinstance(secret, Secret) else Secret(secret)

    def reveal(self) -> Secret:
        return self._secret

    def __repr__(self) -> str:
        return MASKED

    def __eq__(self, other: object) -> bool:
        text = other._secret if isinstance(other, Sealed) else other
        return isinstance(text, str) and self._secret == text

    def __hash__(self) -> int:
        return hash(self._secret)

    def __bool__(self) -> bool:
        return bool(self._secret)

    def __deepcopy__(self, memo: object) -> Sealed:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Sealed, (self._secret,)


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
    return MultiFernet([Fernet(base64.urlsafe_b64encode(_password_key(secret))) for secret in secret_keys()])


def _password_key(secret: str | bytes) -> bytes:
    return SecretBytes(hmac.digest(b"sessionpersist.passwords.v1", force_bytes(secret), "sha256"))


_known: tuple[Secret | SecretBytes, ...] = ()


def secret_keys() -> tuple[Secret | SecretBytes, ...]:
    """Return SECRET_KEY and SECRET_KEY_FALLBACKS. No variable of a frame holds them as they are, not even here."""
    global _known
    if not _known:
        _known = (_main(), *map(_fallback, range(len(settings.SECRET_KEY_FALLBACKS))))
    return _known


def reset() -> None:
    """A test has changed them."""
    global _known
    _known = ()


def _main() -> Secret | SecretBytes:
    given: Any = settings
    return Secret(given.SECRET_KEY) if isinstance(given.SECRET_KEY, str) else SecretBytes(given.SECRET_KEY)


def _fallback(place: int) -> Secret | SecretBytes:
    given: Any = settings
    if isinstance(given.SECRET_KEY_FALLBACKS[place], str):
        return Secret(given.SECRET_KEY_FALLBACKS[place])
    return SecretBytes(given.SECRET_KEY_FALLBACKS[place])
