"""What the settings of the project allow to whoever changes the Login Configuration: ``SECRETS_ALLOWED``."""

from __future__ import annotations

import hmac
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.utils.encoding import force_bytes
from django.utils.translation import gettext as _

from sessionpersist import conf
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.secret import Secret, secret_keys
from sessionpersist.stores.settings import ENVIRONMENT, FILE, reveal

OWN_VARIABLES = ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "DATABASE_URL")
OWN_PREFIX = "DATABASE_URL_"
PREFIX_ENDINGS = ("_", "*")
LONG = 8  # characters: a shorter secret may be part of another text by chance


def may_name(name: str) -> bool:
    """Return whether SECRETS_ALLOWED has that variable, and the project does not keep a secret of its own in it."""
    listed = any(_matches(name, entry) for entry in conf.secrets_allowed())
    return listed and not _is_own(name) and not _holds_own_secret(Secret(os.environ.get(name, "")))


def may_read(path: str) -> bool:
    """Return whether a folder of SECRETS_ALLOWED has that file, wherever a link leads, and the file does not hold a
    secret of the project's own."""
    return _is_in_a_folder(path) and not _holds_own_secret(reveal(FILE + path))


def may_use(path: str, field: str) -> bool:
    """Return whether that file may be named as a certificate or a key: one in a folder of SECRETS_ALLOWED, wherever a
    link leads, or for "ca_file" the one that the project itself trusts."""
    return _is_in_a_folder(path) or (field == "ca_file" and path == str(conf.get("TLS_CA_FILE")))


def check_variable(password: str, field: str = "password") -> None:
    """Refuse ``env:NAME`` and ``file:/path`` where they are not allowed, or not there on this node.

    It is one sentence for both, and for a variable the same steps, or whoever may change the configuration could find
    out which there are. Raises StoreMisconfigured, on that field.
    """
    if password.startswith(FILE):
        try:
            there = may_read(password.removeprefix(FILE))
        except (StoreMisconfigured, ValueError):
            there = False
        if not there:
            text = _("This file can't be read on this node, or may not be used here. Allowed: {names}.")
            raise StoreMisconfigured(text.format(names=names_in_words()), field)
    if not password.startswith(ENVIRONMENT):
        return
    name = password.removeprefix(ENVIRONMENT)
    is_set, may = name in os.environ, may_name(name)
    if not (is_set and may):
        text = _("This variable is not set on this node, or may not be used here. Allowed: {names}.")
        raise StoreMisconfigured(text.format(names=names_in_words()), field)


def check_file(path: str, field: str) -> None:
    """Refuse a file of a certificate or a key that is not allowed, or not there on this node. It is one sentence for
    both, as above, and nobody borrows the key of another service. Raises StoreMisconfigured, on that field."""
    try:
        there = may_use(path, field) and Path(path).exists()
    except (OSError, ValueError):
        there = False
    if not there:
        text = _(
            "This file is not on this node, or may not be used here. Folders in SECRETS_ALLOWED: {names}."
        )
        raise StoreMisconfigured(text.format(names=", ".join(_folders()) or _("none")), field)


def names_in_words() -> str:
    """Return what SECRETS_ALLOWED allows, for staff."""
    entries = (
        entry.removesuffix("*") + "*" if _is_prefix(entry) else entry for entry in conf.secrets_allowed()
    )
    return ", ".join(entries) or _("none")


def _is_folder(entry: str) -> bool:
    return entry.startswith("/")


def _folders() -> list[str]:
    return [entry for entry in conf.secrets_allowed() if _is_folder(entry)]


def _is_in_a_folder(path: str) -> bool:
    file = Path(os.path.realpath(path))
    return any(file.is_relative_to(os.path.realpath(folder)) for folder in _folders())


def _matches(name: str, entry: str) -> bool:
    if _is_folder(entry):
        return False
    return name.startswith(entry.removesuffix("*")) if _is_prefix(entry) else name == entry


def _is_prefix(entry: str) -> bool:
    return entry.endswith(PREFIX_ENDINGS) and not _is_folder(entry)


def _is_own(name: str) -> bool:
    return name in OWN_VARIABLES or name.startswith(OWN_PREFIX)


def _holds_own_secret(value: str) -> bool:
    """All are compared, whatever is found: how long it takes says nothing."""
    return sum(_holds(value, secret) for secret in _own_secrets() if secret) > 0


def _holds(value: str, secret: str) -> bool:
    """A URL or a list may have the secret in it."""
    same = hmac.compare_digest(force_bytes(value), force_bytes(secret))
    return same or (len(secret) >= LONG and (secret in value or quote(secret, safe="") in value))


def _own_secrets() -> Iterator[str]:
    keys = secret_keys()
    yield from (Secret(force_bytes(key).decode("utf-8", "replace")) for key in keys)
    yield from (Secret(each.get("PASSWORD") or "") for each in settings.DATABASES.values())
    yield from (Secret(each or "") for each in _mail_passwords())


def _mail_passwords() -> Iterator[str | None]:
    """Those of MAILERS (Django 6.1). Beside it the older setting can't be read; without it, reading warns of it."""
    mailers = getattr(settings, "MAILERS", None)
    if mailers is not None:
        yield from (each.get("OPTIONS", {}).get("password") for each in mailers.values())
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield settings.EMAIL_HOST_PASSWORD
