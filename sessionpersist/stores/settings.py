"""What one has to know to open a store: plain, frozen, without any driver, so that a form can build it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.secret import Sealed, Secret

ENVIRONMENT = "env:"


@dataclass(frozen=True)
class StoreSettings:
    """The settings of one store.

    ``type`` is the value saved in the configuration, ``label`` what staff read, ``prefix`` what the fields of
    ``LoginConfiguration`` begin with. ``identity`` names the fields that say *where* the sessions are: a change in
    any other (a new password, say) is the same store, reached in another way.
    """

    type: ClassVar[str]
    label: ClassVar[str]
    prefix: ClassVar[str]
    identity: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """A password is given as text, and is none from then on; see ``reveal``."""
        password = getattr(self, "password", None)
        if isinstance(password, str):
            object.__setattr__(self, "password", Sealed(password))

    @property
    def target(self) -> tuple[Any, ...]:
        """Where the sessions are; two settings with the same target share their sessions."""
        return (self.type, *(getattr(self, name) for name in self.identity))

    def public(self) -> dict[str, Any]:
        """The settings without the password, as JSON can hold them."""
        return {name: value for name, value in asdict(self).items() if name != "password"}

    def describe(self) -> str:
        """One line for staff, without any secret."""
        return self.label


@dataclass(frozen=True)
class MemorySettings(StoreSettings):
    type = "IN_MEMORY"
    label = "In-Memory"
    prefix = "memory"


@dataclass(frozen=True)
class RedisSettings(StoreSettings):
    type = "REDIS"
    label = "REDIS"
    prefix = "redis"
    identity = ("host", "port", "database")

    host: str = ""
    port: int = 6379
    username: str = ""
    password: str | Sealed = field(default="", repr=False)
    database: int = 0
    tls: bool = False

    def describe(self) -> str:
        return f"{self.label} at {self.host}:{self.port}, database {self.database}"


@dataclass(frozen=True)
class DatabaseSettings(StoreSettings):
    type = "JDBC"
    label = "JDBC"
    prefix = "jdbc"
    identity = ("database",)

    database: str = ""

    def describe(self) -> str:
        return f"{self.label}, database “{self.database}”"


@dataclass(frozen=True)
class MongoSettings(StoreSettings):
    type = "MONGODB"
    label = "MONGODB"
    prefix = "mongodb"
    identity = ("host", "port", "database")

    database: str = ""
    host: str = ""
    port: int = 27017
    username: str = ""
    password: str | Sealed = field(default="", repr=False)
    auth_source: str = ""
    tls: bool = False

    def describe(self) -> str:
        return f"{self.label} at {self.host}:{self.port}, database “{self.database}”"


TYPES: dict[str, type[StoreSettings]] = {
    cls.type: cls for cls in (MemorySettings, RedisSettings, DatabaseSettings, MongoSettings)
}


def build(store_type: str, values: dict[str, Any]) -> StoreSettings:
    """Return the settings of that type from a dictionary, whose other keys are passed over.

    Raises StoreMisconfigured where there is no such type.
    """
    try:
        cls = TYPES[store_type]
    except KeyError:
        raise StoreMisconfigured(f"There is no session store of the type “{store_type}”.") from None
    return cls(**{each.name: values[each.name] for each in fields(cls) if each.name in values})


def from_fields(values: dict[str, Any]) -> StoreSettings:
    """Return the settings of the chosen store from the fields of the Login Configuration.

    Raises StoreMisconfigured where there is no such store.
    """
    store_type = values["persistence_type"]
    prefix = TYPES[store_type].prefix + "_" if store_type in TYPES else ""
    own = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    return build(store_type, own)


def fields_of(settings: StoreSettings) -> dict[str, Any]:
    """Return the fields of the Login Configuration that choose this store."""
    values = {
        f"{settings.prefix}_{name}": value.reveal() if isinstance(value, Sealed) else value
        for name, value in vars(settings).items()
    }
    return {"persistence_type": settings.type, **values}


def reveal(password: str | Sealed) -> Secret:
    """Return the password itself: ``env:NAME`` is read from this node's environment.

    Raises StoreMisconfigured where the variable is not set, or where the saved password can't be decrypted.
    """
    password = password.reveal() if isinstance(password, Sealed) else password
    if isinstance(password, UnreadablePassword):
        raise StoreMisconfigured(
            "The saved password can't be decrypted: the site's SECRET_KEY has changed. Enter the password again.",
            "password",
        )
    if not password.startswith(ENVIRONMENT):
        return Secret(password)
    name = password.removeprefix(ENVIRONMENT)
    try:
        return Secret(os.environ[name])
    except KeyError:
        raise StoreMisconfigured(
            f"The environment variable {name or '(no name given)'} is not set on this node.", "password"
        ) from None


class UnreadablePassword(Secret):
    """A saved password that this process can't decrypt; it carries the ciphertext, so saving loses nothing."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return UnreadablePassword, (str(self),)
