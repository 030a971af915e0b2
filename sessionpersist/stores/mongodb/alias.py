"""A MongoDB database of the project: an alias of DATABASES, used through its own connection.

django-mongodb-backend keeps one client a process; djongo keeps one a thread, and closes it with the connection. Each
is what the project has set up, so no second client is made beside it.
"""

from __future__ import annotations

import threading
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from sessionpersist import forks
from sessionpersist.exceptions import StoreMisconfigured

ENGINES = ("django_mongodb_backend", "djongo")
NO_SUCH = "The project has no MongoDB database “{alias}” in DATABASES."
NOT_INSTALLED = "The backend of the database “{alias}” can't be imported on this node ({engine})."


def mongodb_aliases() -> list[str]:
    """Return the databases of the project that are MongoDB, in the order of DATABASES."""
    return [alias for alias in connections if is_mongodb(alias)]


def is_mongodb(alias: str) -> bool:
    """Return whether a database of the project is MongoDB. Nothing is imported or connected."""
    engine = engine_of(alias)
    return engine in ENGINES or engine.startswith(tuple(f"{each}." for each in ENGINES))


def engine_of(alias: str) -> str:
    """Return the dotted name of its backend; "" where there is no such database."""
    return str(connections.settings.get(alias, {}).get("ENGINE", ""))


_connecting = threading.Lock()


def database_of(alias: str) -> Any:
    """Return PyMongo's database object of this thread's connection. Raises StoreMisconfigured."""
    connection = connection_to(alias)
    if connection.vendor == "mongodb":
        if "database" not in vars(connection):
            with _connecting:  # of threads that come first together, it would have each make a client
                return connection.database
        return connection.database
    if connection.connection is None:
        # Closed at the end of a request, and djongo would hand out the client that it has closed.
        connection.client_connection = None
        connection.ensure_connection()
    return connection.connection


def connection_to(alias: str) -> Any:
    """Return this thread's connection. Raises StoreMisconfigured."""
    if not is_mongodb(alias):
        raise StoreMisconfigured(NO_SUCH.format(alias=alias), "alias")
    try:
        return connections[alias]
    except ImproperlyConfigured as error:
        sentence = NOT_INSTALLED.format(alias=alias, engine=engine_of(alias))
        raise StoreMisconfigured(sentence, "alias") from error


def advice(alias: str) -> str | None:
    """Return what staff should know about the way in which the project connects, if anything."""
    connection = connection_to(alias)
    if connection.vendor == "mongodb" or connection.settings_dict["CONN_MAX_AGE"] is None:
        return None
    return (
        f"djongo closes the client of the database “{alias}” after {connection.settings_dict['CONN_MAX_AGE']} seconds, "
        "and each thread makes a new one, which takes longer than a session does. Set its CONN_MAX_AGE to None."
    )


_inherited: list[Any] = []


def _let_go() -> None:
    """In a forked child: a client belongs to the parent, and its threads are not here."""
    global _connecting
    _connecting = threading.Lock()
    for connection in connections.all(initialized_only=True):
        if not is_mongodb(connection.alias):
            continue
        _inherited.append(vars(connection).copy())
        connection.connection = None
        if connection.vendor == "mongodb":
            vars(connection).pop("database", None)
            pools: Any = getattr(type(connection), "_connection_pools", {})
            pools.pop(connection.alias, None)


forks.in_child(forks.Layer.CONNECTIONS, _let_go)
