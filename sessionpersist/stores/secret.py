"""Texts that nobody is to read by accident: session keys, passwords, secret keys and what is made of them.

Reports about crashes and debuggers show the ``repr`` of every variable of every frame, and Django's own marks for
sensitive variables hold only without DEBUG. So the values themselves have a ``repr`` that tells nothing, from the
cookie to the store and from the form to the driver. ``str()``, ``==`` and ``json`` see
the text as it is.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings

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
        from sessionpersist.stores.passwords import decrypt, encrypt  # needs the settings

        return decrypt, (encrypt(self),)


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


_known: tuple[Secret | SecretBytes, ...] = ()


def secret_keys() -> tuple[Secret | SecretBytes, ...]:
    """Return SECRET_KEY and SECRET_KEY_FALLBACKS. No variable of a frame holds them as they are, not even here."""
    global _known
    if _known != (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        _known = (_main(), *map(_fallback, range(len(settings.SECRET_KEY_FALLBACKS))))
    return _known


def _main() -> Secret | SecretBytes:
    given: Any = settings
    return Secret(given.SECRET_KEY) if isinstance(given.SECRET_KEY, str) else SecretBytes(given.SECRET_KEY)


def _fallback(place: int) -> Secret | SecretBytes:
    given: Any = settings
    if isinstance(given.SECRET_KEY_FALLBACKS[place], str):
        return Secret(given.SECRET_KEY_FALLBACKS[place])
    return SecretBytes(given.SECRET_KEY_FALLBACKS[place])
