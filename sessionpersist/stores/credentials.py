"""What a store logs in with: a user name and a password that stay, or ones that are read again at each login.

Tokens of a cloud hold for some minutes, and a password in a file is exchanged while the site runs. So whenever a
connection logs in, a ``file:`` is read, or the provider of ``SESSIONPERSIST["CREDENTIALS"]`` asked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

from django.utils.module_loading import import_string

from sessionpersist import conf
from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores.secret import Sealed, Secret
from sessionpersist.stores.settings import FILE, reveal

KEPT = 4  # secrets that were given last, which no text may show


class Login(NamedTuple):
    username: str
    password: Secret


class Credentials:
    """Gives the login of one store.

    ``changing`` is whether asking again can give another one. ``secrets`` are the passwords that it has given lately.
    """

    def __init__(
        self, username: str, password: str | Sealed, provider: str | None = None, *, field: str = "password"
    ) -> None:
        """``provider`` is a dotted path, which then counts instead of the user name and the password.

        Raises StoreMisconfigured, on the field, where a password that stays can't be had.
        """
        self._username, self._password, self._field = username, password, field
        self._path = provider
        text = password.reveal() if isinstance(password, Sealed) else password
        self.changing = bool(provider) or text.startswith(FILE)
        self.secrets: tuple[Secret, ...] = ()
        if not self.changing:
            self._remember(reveal(password, field))

    def now(self) -> Login:
        """Return what to log in with now. Raises StoreUnavailable or StoreMisconfigured."""
        if not self.changing:
            return Login(self._username, self.secrets[0])
        login = self._ask() if self._path else Login(self._username, reveal(self._password, self._field))
        self._remember(login.password)
        return login

    def _ask(self) -> Login:
        try:
            given = self._provider()
            *name, password = (given,) if isinstance(given, str) else given
            [username] = name or [""]
        except StoreUnavailable:
            raise
        except Exception as error:  # a provider can raise anything
            name_of_error = type(error).__name__
            message = f"The provider of CREDENTIALS gave no user name and password ({name_of_error})."
            raise StoreUnavailable(message, self._field) from error
        return Login(str(username), Secret(password))

    @cached_property
    def _provider(self) -> Callable[[], Any]:
        """What is at the dotted path: a provider of redis-py, a class of such, or whatever can be called."""
        try:
            found = import_string(self._path or "")
            found = found() if isinstance(found, type) else found
        except Exception as error:
            message = f"SESSIONPERSIST['CREDENTIALS'] names {self._path}, which can't be used on this node."
            raise StoreMisconfigured(message, self._field) from error
        given: Callable[[], Any] = getattr(found, "get_credentials", found)
        return given

    def _remember(self, secret: Secret) -> None:
        if secret not in self.secrets:
            self.secrets = (secret, *self.secrets)[:KEPT]


def fixed(username: str, password: str) -> Credentials:
    """Return those of a user whose real password this is: it names no variable and no file."""
    found = Credentials(username, "")
    found.secrets = (Secret(password),)
    return found


def credentials_of(settings: Any) -> Credentials:
    """Return those of the settings of a store that has a user name and a password. Raises StoreMisconfigured."""
    return Credentials(settings.username, settings.password, conf.credentials(settings.type))
