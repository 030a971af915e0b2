"""``DATABASE_URL`` and every ``DATABASE_URL_<ALIAS>`` become ``settings.DATABASES``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import environ
from django.core.exceptions import ImproperlyConfigured

from project import mysql

Database = dict[str, Any]

DEFAULT_URL = "sqlite:///db.sqlite3"
ALIAS_PREFIX = "DATABASE_URL_"

MEMORY = ":memory:"
SQLITE_ENGINE = "django.db.backends.sqlite3"
MYSQL_ENGINE = "django.db.backends.mysql"

# What SQLite itself understands behind the "?" of a file name; everything else is an option of Django's.
SQLITE_URI_PARAMETERS = {"cache", "immutable", "mode", "nolock", "psow", "vfs"}
# Readers and the one writer don't wait for each other.
SQLITE_WRITE_AHEAD_LOG = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"


def databases(environment: Mapping[str, str], folder: Path) -> dict[str, Database]:
    """Return the databases that the environment names; a relative SQLite path starts at ``folder``."""
    urls = {"default": environment.get("DATABASE_URL") or DEFAULT_URL}
    for name, url in environment.items():
        if name.startswith(ALIAS_PREFIX) and url:
            urls[name.removeprefix(ALIAS_PREFIX).lower()] = url
    return {alias: database(url, folder) for alias, url in urls.items()}


def database(url: str, folder: Path) -> Database:
    """Return the settings of one database."""
    if "://" not in url:
        raise ImproperlyConfigured("A database URL has the form scheme://user:password@host:port/name.")
    config: Database = environ.Env.db_url_config(url)
    config.setdefault("OPTIONS", {})
    if config["ENGINE"] == SQLITE_ENGINE:
        return sqlite(config, folder)
    return server(config)


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
