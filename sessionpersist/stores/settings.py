"""What one has to know to open a store: plain, frozen, without any driver, so that a form can build it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from django.db import DEFAULT_DB_ALIAS, connections

from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.secret import Sealed, Secret, UnreadablePassword

ENVIRONMENT = "env:"
FILE = "file:"
LONGEST_SECRET = 64 * 1024  # bytes; tokens of clouds have some thousand


# Marks a field whose value no text, log or dump shows. It is given as a text, and is none from then on; see ``reveal``.
SECRET = {"secret": True}


@dataclass(frozen=True)
class StoreSettings:
    """The settings of one store, and its entry in the registry: ``TYPES`` has one class a store.

    ``type`` is the value saved in the configuration, ``label`` what staff read, ``prefix`` what ``field`` puts in front
    of a name. ``store`` is the dotted path of the class of the store, which is imported when it is opened: it may need
    a driver, which ``pip install 'sessionpersist[…]'`` installs with the name in ``extra``. ``identity`` names the
    fields that say *where* the sessions are: a change in any other (a new password, say) is the same store, reached in
    another way. ``per_node``: each node has such a store of its own, which no other node can reach.
    ``takes_credentials``: a provider (``SESSIONPERSIST["CREDENTIALS"]``) can log it in.
    """

    type: ClassVar[str]
    label: ClassVar[str]
    prefix: ClassVar[str]
    store: ClassVar[str]
    extra: ClassVar[str] = "all"
    identity: ClassVar[tuple[str, ...]] = ()
    per_node: ClassVar[bool] = False
    takes_credentials: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in self.secret_names():
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Sealed(value))

    @classmethod
    def secret_names(cls) -> tuple[str, ...]:
        """Return which fields are secrets."""
        return tuple(each.name for each in fields(cls) if each.metadata.get("secret"))

    @classmethod
    def field(cls, name: str) -> str:
        """Return what ``LoginConfiguration``, and so the page, calls this field."""
        return f"{cls.prefix}_{name}"

    @property
    def target(self) -> tuple[Any, ...]:
        """Where the sessions are; two settings with the same target share their sessions."""
        return (self.type, *(getattr(self, name) for name in self.identity))

    @property
    def is_entered(self) -> bool:
        """Whether anybody has entered where the sessions are to be."""
        return all(getattr(self, name) != "" for name in self.identity)

    def public(self) -> dict[str, Any]:
        """The settings without the secrets, as JSON can hold them."""
        return {name: value for name, value in vars(self).items() if name not in self.secret_names()}

    def secrets(self) -> dict[str, Secret]:
        """The secrets as they were entered, by the names of their fields."""
        return {name: getattr(self, name).reveal() for name in self.secret_names()}

    def describe(self) -> str:
        """One line for staff, without any secret."""
        return self.label

    @property
    def transaction_alias(self) -> str | None:
        """The alias in DATABASES whose transactions a request shares with its store; None: it shares none."""
        return None

    def or_default(self) -> StoreSettings:
        """The store that is meant where nobody has entered one: itself, if there is no other."""
        return self

    def candidates(self) -> Iterator[StoreSettings]:
        """The stores of this type that the site could use: the one that was entered, and what the project has."""
        if self.is_entered:
            yield self

    def borrowed_secrets(self) -> Iterator[Secret]:
        """The secrets that its store uses and nobody entered here: no text may show them either."""
        yield from ()


@dataclass(frozen=True)
class MemorySettings(StoreSettings):
    type = "IN_MEMORY"
    label = "In-Memory"
    prefix = "memory"
    store = "sessionpersist.stores.memory.MemoryStore"
    per_node = True


STANDALONE, SENTINEL, CLUSTER = "STANDALONE", "SENTINEL", "CLUSTER"  # modes of REDIS
X509 = "MONGODB-X509"  # a mechanism of MONGODB


@dataclass(frozen=True)
class RedisSettings(StoreSettings):
    """``nodes`` are the Sentinels, or nodes of the Cluster, one ``host:port`` a line; ``host`` and ``port`` are of one
    server. ``wait_replicas`` is how many replicas must have a write before it counts. Files are paths on the node."""

    type = "REDIS"
    label = "REDIS"
    prefix = "redis"
    store = "sessionpersist.stores.redis.store.RedisStore"
    extra = "redis"
    identity = ("host", "port", "database")
    takes_credentials = True

    host: str = ""
    port: int = 6379
    username: str = ""
    password: str | Sealed = field(default="", repr=False, metadata=SECRET)
    database: int = 0
    tls: bool = False
    mode: str = STANDALONE
    nodes: str = ""
    sentinel_name: str = ""
    sentinel_username: str = ""
    sentinel_password: str | Sealed = field(default="", repr=False, metadata=SECRET)
    wait_replicas: int = 0
    ca_file: str = ""
    client_certificate: str = ""
    client_key: str = ""

    @property
    def target(self) -> tuple[Any, ...]:
        nodes = tuple(sorted(set(lines(self.nodes))))
        if self.mode == SENTINEL:
            return (self.type, self.mode, nodes, self.sentinel_name, self.database)
        return (self.type, self.mode, nodes) if self.mode == CLUSTER else super().target

    @property
    def is_entered(self) -> bool:
        return bool(self.host if self.mode == STANDALONE else lines(self.nodes))

    def describe(self) -> str:
        nodes = ", ".join(lines(self.nodes))
        if self.mode == CLUSTER:
            return f"{self.label} Cluster at {nodes}"
        where = (
            f"{self.host}:{self.port}" if self.mode == STANDALONE else f"“{self.sentinel_name}” of {nodes}"
        )
        return f"{self.label} at {where}, database {self.database}"


@dataclass(frozen=True)
class DatabaseSettings(StoreSettings):
    type = "JDBC"
    label = "JDBC"
    prefix = "jdbc"
    store = "sessionpersist.stores.database.store.DatabaseStore"
    extra = "postgresql"
    identity = ("database",)

    database: str = ""

    def describe(self) -> str:
        return f"{self.label}, database “{self.database}”"

    @property
    def transaction_alias(self) -> str:
        return self.database or DEFAULT_DB_ALIAS

    def or_default(self) -> DatabaseSettings:
        return DatabaseSettings(self.transaction_alias)

    def candidates(self) -> Iterator[StoreSettings]:
        yield from map(DatabaseSettings, connections)

    def borrowed_secrets(self) -> Iterator[Secret]:
        if self.database in connections.settings:
            yield Secret(connections.settings[self.database].get("PASSWORD") or "")


@dataclass(frozen=True)
class MongoSettings(StoreSettings):
    """``nodes`` are further hosts of the replica set, one ``host:port`` a line. ``alias`` names a MongoDB database of
    the project, which is then used instead of an address. Files are paths on the node."""

    type = "MONGODB"
    label = "MONGODB"
    prefix = "mongodb"
    store = "sessionpersist.stores.mongodb.store.MongoStore"
    extra = "mongodb"
    identity = ("host", "port", "database")
    takes_credentials = True

    database: str = ""
    host: str = ""
    port: int = 27017
    username: str = ""
    password: str | Sealed = field(default="", repr=False, metadata=SECRET)
    auth_source: str = ""
    tls: bool = False
    nodes: str = ""
    replica_set: str = ""
    srv: bool = False
    mechanism: str = ""
    alias: str = ""
    ca_file: str = ""
    client_certificate: str = ""
    client_key: str = ""

    @property
    def target(self) -> tuple[Any, ...]:
        if self.alias:
            return (self.type, self.alias)
        further = tuple(sorted(set(lines(self.nodes))))
        return (*super().target, *(("srv",) if self.srv else ()), *further)

    @property
    def is_entered(self) -> bool:
        return bool(self.alias or self.host)

    def describe(self) -> str:
        if self.alias:
            return f"{self.label}, database “{self.alias}” of the project"
        first = self.host if self.srv else f"{self.host}:{self.port}"
        return f"{self.label} at {', '.join([first, *lines(self.nodes)])}, database “{self.database}”"


TYPES: dict[str, type[StoreSettings]] = {
    cls.type: cls for cls in (MemorySettings, RedisSettings, DatabaseSettings, MongoSettings)
}


# The fields that are secrets, of whatever store: a revision has a column for each.
SECRET_NAMES = tuple(dict.fromkeys(name for cls in TYPES.values() for name in cls.secret_names()))


def lines(text: str) -> list[str]:
    """Return what is in a field that takes one thing a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


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
    own = of_type(TYPES[store_type], values) if store_type in TYPES else {}
    return build(store_type, own)


def of_type(cls: type[StoreSettings], values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of one type by their plain names, from those of the Login Configuration."""
    names = {each.name: cls.field(each.name) for each in fields(cls)}
    return {name: values[field] for name, field in names.items() if field in values}


def fields_of(settings: StoreSettings) -> dict[str, Any]:
    """Return the fields of the Login Configuration that choose this store."""
    values = settings.public() | settings.secrets()
    return {"persistence_type": settings.type, **{settings.field(name): values[name] for name in values}}


def reveal(secret: str | Sealed, field: str = "password") -> Secret:
    """Return the secret itself: ``env:NAME`` is read from this node's environment, ``file:/path`` from a file.

    Raises StoreMisconfigured, on that field, where there is no such variable or file, or where the saved secret can't
    be decrypted.
    """
    secret = secret.reveal() if isinstance(secret, Sealed) else secret
    if isinstance(secret, UnreadablePassword):
        words = in_words(field)
        raise StoreMisconfigured(
            f"The saved {words} can't be decrypted: the site's SECRET_KEY has changed. Enter the {words} again.",
            field,
        )
    if secret.startswith(FILE):
        return _read(secret.removeprefix(FILE), field)
    if not secret.startswith(ENVIRONMENT):
        return Secret(secret)
    name = secret.removeprefix(ENVIRONMENT)
    try:
        return Secret(os.environ[name])
    except KeyError:
        raise StoreMisconfigured(
            f"The environment variable {name or '(no name given)'} is not set on this node.", field
        ) from None


def in_words(field: str) -> str:
    """Return the plain name of a field as it stands in a sentence."""
    return field.replace("_", " ")


def _read(path: str, field: str) -> Secret:
    """Return what is in a file, without the line break at its end."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode) or not Path(path).is_absolute():
            raise ValueError("not a file")
        with Path(path).open("rb") as file:
            content = file.read(LONGEST_SECRET + 1)
        if len(content) > LONGEST_SECRET:
            raise ValueError("too long")
        return Secret(content.decode().removesuffix("\n").removesuffix("\r"))
    except (OSError, ValueError):  # no cause: it could quote what is in the file
        where = path or "(no path given)"
        message = f"The file {where} can't be read on this node, or holds no {in_words(field)}."
        raise StoreMisconfigured(message, field) from None
