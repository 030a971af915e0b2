"""``DATABASE_URL`` and every ``DATABASE_URL_<ALIAS>`` become ``settings.DATABASES``."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import environ
from django.core.exceptions import ImproperlyConfigured

from project import mysql

Database = dict[str, Any]

DEFAULT_URL = "sqlite:///db.sqlite3"
VARIABLE = "DATABASE_URL"
ALIAS_PREFIX = "DATABASE_URL_"
NOT_A_URL = (
    "The environment variable {variable} is not a database URL of the form scheme://user:password@host:port/name. "
    "In a user name or password, write / as %2F, ? as %3F, # as %23, @ as %40, : as %3A and % as %25."
)

MEMORY = ":memory:"
SQLITE_ENGINE = "django.db.backends.sqlite3"
MYSQL_ENGINE = "django.db.backends.mysql"

# What SQLite itself understands behind the "?" of a file name; everything else is an option of Django's.
SQLITE_URI_PARAMETERS = {"cache", "immutable", "mode", "nolock", "psow", "vfs"}
# Readers and the one writer don't wait for each other.
SQLITE_WRITE_AHEAD_LOG = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"


def databases(environment: Mapping[str, str], folder: Path) -> dict[str, Database]:
    """Return the databases that the environment names; a relative SQLite path starts at ``folder``."""
    found = {"default": database(environment.get(VARIABLE) or DEFAULT_URL, folder)}
    for name, url in environment.items():
        if name.startswith(ALIAS_PREFIX) and url:
            alias = name.removeprefix(ALIAS_PREFIX).lower()
            if not alias or alias in found:
                raise ImproperlyConfigured(f"The environment variable {name} needs an alias of its own.")
            found[alias] = database(url, folder, name)
    return found


def database(url: str, folder: Path, variable: str = VARIABLE) -> Database:
    """Return the settings of one database. Raises ImproperlyConfigured, which names the variable and no value."""
    config = parsed(url)
    if not config:
        raise ImproperlyConfigured(NOT_A_URL.format(variable=variable))
    config.setdefault("OPTIONS", {})
    if config["ENGINE"] == SQLITE_ENGINE:
        return sqlite(config, folder)
    return server(config)


def parsed(url: str) -> Database | None:
    """Return what a URL says, or None: the errors and warnings of the parser repeat parts of it."""
    # A slash in a password would end the host there; the real one would then pass for a part of the database's name.
    behind_the_host = re.split(r"[/?]", url.partition("://")[2], maxsplit=1)[1:]
    if any("@" in text for text in behind_the_host):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            config: Database = environ.Env.db_url_config(url)
        except Exception:  # noqa: BLE001 - whatever it is, there may be a part of a password in it
            return None
    return config if "." in config["ENGINE"] else None  # else the scheme is unknown


def sqlite(config: Database, folder: Path) -> Database:
    """Complete the settings of an SQLite database: several processes write to one file without errors."""
    options = config["OPTIONS"]
    parameters = {name: options.pop(name) for name in SQLITE_URI_PARAMETERS & options.keys()}
    if config["NAME"] != MEMORY:
        config["NAME"] = str(folder / config["NAME"])
    if parameters:
        config["NAME"] = f"{Path(config['NAME']).as_uri()}?{urlencode(parameters)}"
        options["uri"] = True
    if not is_read_only(parameters):
        options.setdefault("init_command", SQLITE_WRITE_AHEAD_LOG)
        # A transaction that reads first and writes later fails at once, whatever the timeout, if another one
        # wrote in between. One that takes the write lock at its start waits for its turn instead.
        options.setdefault("transaction_mode", "IMMEDIATE")
    options.setdefault("timeout", 20)
    return config


def is_read_only(parameters: Mapping[str, Any]) -> bool:
    return parameters.get("mode") == "ro" or bool(parameters.get("immutable"))


def server(config: Database) -> Database:
    """Complete the settings of a database server: connections are kept, and a dead server is noticed soon."""
    if config["ENGINE"] == MYSQL_ENGINE:
        mysql.provide_driver()
    config.setdefault("CONN_MAX_AGE", 60)
    config.setdefault("CONN_HEALTH_CHECKS", True)
    config["OPTIONS"].setdefault("connect_timeout", 5)
    return config
