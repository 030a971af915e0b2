"""What is in force before anybody has saved anything, a store and a policy: ``SESSIONPERSIST["INITIAL"]``.

Where that names no store and the sessions of another engine are adopted (``ADOPT_FROM``), the store is the place where
that engine keeps them, as all nodes share it. Otherwise it is In-Memory.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.sessions.backends.cache import SessionStore as CacheSession
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.core.cache import BaseCache, caches
from django.core.cache.backends.redis import RedisCache as DjangoRedisCache
from django.core.exceptions import ValidationError
from django.db import connections, models, router

from sessionpersist import conf
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.session import adoption
from sessionpersist.session.policy import FIELDS, Policy
from sessionpersist.stores.base import now_ms
from sessionpersist.stores.secret import Secret
from sessionpersist.stores.settings import (
    ENVIRONMENT,
    DatabaseSettings,
    MemorySettings,
    RedisSettings,
    StoreSettings,
    fields_of,
    from_fields,
)
from sessionpersist.stores.sql import DIALECTS

STARTED = now_ms()  # this process


def initial_fields() -> dict[str, Any]:
    """Return the fields of the Login Configuration that hold until somebody saves it."""
    store = None if names_store() else place_of_adopted()
    return {"persistence_type": MemorySettings.type, **(store or {}), **_given()}


def _given() -> Mapping[str, Any]:
    return conf.get("INITIAL") or {} if _of_run is None else _of_run


_of_run: Mapping[str, Any] | None = None


def replace_for_run(fields: Mapping[str, Any] | None) -> None:
    """Have these fields take the place of INITIAL in this process and its forked children; None: INITIAL again."""
    global _of_run
    _of_run = fields


def names_store() -> bool:
    """Return whether INITIAL says which store, and not only what else holds for sessions."""
    return bool(_given().keys() - set(FIELDS))


def place_of_adopted() -> dict[str, Any] | None:
    """Return the fields that choose the place where the engine of ADOPT_FROM keeps its sessions; None where there is no
    such engine, or where nodes do not share that place, or none of our stores can use it."""
    engine = adoption.engine()
    if engine is None:
        return None
    if issubclass(engine, DatabaseSession):  # cached_db, too: its cache holds copies
        alias = router.db_for_write(engine.get_model_class())
        return fields_of(DatabaseSettings(alias)) if connections[alias].vendor in DIALECTS else None
    if issubclass(engine, CacheSession):
        found = _redis_of(caches[settings.SESSION_CACHE_ALIAS])
        return None if found is None else fields_of(found)
    return None


def _redis_of(cache: BaseCache) -> RedisSettings | None:
    """Return how a cache reaches its one Redis server, as its client has put it together from all its settings. Nothing
    is connected. None where it is no such cache, or where our store would not reach the server in the same way."""
    pool = getattr(client_of(cache), "connection_pool", None)
    if pool is None:
        return None
    from redis.connection import Connection, SSLConnection

    given = pool.connection_kwargs
    password = Secret(given.get("password") or "")
    if pool.connection_class not in (Connection, SSLConnection):  # a socket file, a sentinel
        return None
    if given.get("credential_provider") or password.startswith(ENVIRONMENT) or not _same_certificates(given):
        return None
    return RedisSettings(
        host=str(given.get("host", "localhost")),
        port=int(given.get("port", RedisSettings.port)),
        username=str(given.get("username") or ""),
        password=password,
        database=int(given.get("db") or 0),
        tls=pool.connection_class is SSLConnection,
    )


def _same_certificates(given: dict[str, Any]) -> bool:
    """Whether our store checks the server's certificate in the same way, and is asked for none of its own."""
    options = {name for name, value in given.items() if name.startswith("ssl_") and value is not None}
    return options <= {"ssl_ca_certs"} and given.get("ssl_ca_certs") in (None, conf.get("TLS_CA_FILE"))


def client_of(cache: Any) -> Any:
    """Return the client with which a cache writes to its one server: Django's own cache for Redis, or django-redis."""
    if isinstance(cache, DjangoRedisCache):
        return cache._cache.get_client(write=True)
    try:
        from django_redis.cache import RedisCache
        from django_redis.client import ShardClient
    except ModuleNotFoundError:
        return None
    if not isinstance(cache, RedisCache) or isinstance(cache.client, ShardClient):
        return None
    return cache.client.get_client(write=True)


def initial_settings() -> StoreSettings:
    """Return the settings of the store in force until somebody saves another. Asks no database.

    Raises StoreMisconfigured where INITIAL is not made of fields of the Login Configuration.
    """
    fields = initial_fields()
    _check(fields)
    return from_fields(fields)


def initial_policy() -> Policy:
    """Return what holds for sessions until somebody saves the Login Configuration. Raises StoreMisconfigured, too.

    Nobody knows when the setting came. It counts from the start of this process: of the sessions of before nobody has
    noted the use, and whoever is there stays.
    """
    fields = initial_policy_fields()
    _check(fields)
    policy = Policy.of(fields)
    return replace(policy, since=STARTED) if policy.has_times else policy


def initial_policy_fields() -> dict[str, Any]:
    """Return what INITIAL says about sessions and not about their store."""
    return {name: value for name, value in _given().items() if name in FIELDS}


def _check(fields: dict[str, Any]) -> None:
    if problem := next(problems(fields), None):
        raise StoreMisconfigured(f"SESSIONPERSIST['INITIAL'] can't be used. {problem}")


def problems(fields: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the names and the types of the fields. No text repeats a value: one is a password."""
    known = editable_fields()
    for name, value in fields.items():
        if name in known:
            yield from (f"{name}: {message}" for message in _mistakes(known[name], value))
        else:
            close = difflib.get_close_matches(str(name).lower(), known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Its fields are {', '.join(known)}."
            yield f"Login Configuration has no field {name!r}. {hint}"


def editable_fields() -> dict[str, Any]:
    """Return the fields that staff can set, by name."""
    fields = apps.get_model("sessionpersist", "LoginConfiguration")._meta.concrete_fields
    return {field.name: field for field in fields if field.editable and not field.primary_key}


def _mistakes(field: models.Field[Any, Any], value: Any) -> list[str]:
    try:
        cleaned = field.clean(value, None)
    except ValidationError as error:
        return list(error.messages) if "invalid_choice" not in _codes(error) else [_choices(field)]
    kind = {int: "a whole number", bool: "True or False", str: "a text"}.get(type(cleaned), "another type")
    return [] if type(cleaned) is type(value) else [f"This must be {kind}."]


def _codes(error: ValidationError) -> set[str | None]:
    return {each.code for each in error.error_list}


def _choices(field: models.Field[Any, Any]) -> str:
    return f"This must be one of {', '.join(str(value) for value, label in field.flatchoices)}."
