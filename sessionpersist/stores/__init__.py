"""Where the records lie. ``open_store`` is the one way in."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings

from sessionpersist import conf, forks
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.handover import quiet
from sessionpersist.stores.base import Probed
from sessionpersist.stores.guarded import GuardedStore
from sessionpersist.stores.hosts import check_literal
from sessionpersist.stores.secret import secret_keys
from sessionpersist.stores.settings import (
    DatabaseSettings,
    MemorySettings,
    MongoSettings,
    RedisSettings,
    StoreSettings,
    reveal,
)

if TYPE_CHECKING:
    from sessionpersist.stores.memory import MemoryStore

# Open stores of this process, by everything that matters for their connections: with a changed password or time-out
# a store is another one. Kept in the process only and never shown.
_open: dict[tuple[Any, ...], GuardedStore] = {}
_lock = threading.Lock()


def open_store(settings: StoreSettings) -> GuardedStore:
    """Return the store of these settings behind its breaker, shared within this process. Nothing is connected yet.

    Raises StoreMisconfigured: the driver is not installed, an ``env:`` variable is not set, there is no such database,
    the settings allow no store at this address. What a name leads to shows as it is connected, behind the breaker.
    """
    fingerprint = _fingerprint(settings)
    store = _open.get(fingerprint)
    if store is None:
        store = GuardedStore(_build(settings), settings.describe())
        with _lock:
            store = _open.setdefault(fingerprint, store)
    return store


def build_store(settings: StoreSettings) -> Probed:
    """Return a store of one's own, for a probe: the caller closes it."""
    return _build(settings)


def reset() -> None:
    """Close every open store of this process."""
    with _lock:
        stores = list(_open.values())
        _open.clear()
    for store in stores:
        store.close()


def _fingerprint(settings: StoreSettings) -> tuple[Any, ...]:
    secret = reveal(getattr(settings, "password", ""))
    surroundings = (conf.timeout_seconds(), conf.key_prefix(), conf.memory_dir(), conf.get("TLS_CA_FILE"))
    return (settings, secret, *secret_keys(), *surroundings, conf.allowed_store_hosts())


def _build(settings: StoreSettings) -> Probed:
    """Import the driver and make the store: drivers are optional, and imported by whoever uses them."""
    try:
        match settings:
            case MemorySettings():
                return _memory(conf.memory_dir())
            case RedisSettings():
                from sessionpersist.stores.redis.store import RedisStore

                check_literal(settings.host)
                return RedisStore(settings, reveal(settings.password), **_networked())
            case DatabaseSettings():
                from sessionpersist.stores.database.store import DatabaseStore

                return DatabaseStore(settings, conf.timeout_seconds(), migrated=quiet.is_on())
            case MongoSettings():
                from sessionpersist.stores.mongodb.store import MongoStore

                check_literal(settings.host)
                return MongoStore(settings, reveal(settings.password), **_networked())
    except ModuleNotFoundError as error:
        raise StoreMisconfigured(missing_driver(settings, error.name or "")) from error
    raise StoreMisconfigured(f"There is no session store for {type(settings).__name__}.")


def _memory(directory: Path) -> MemoryStore:
    from sessionpersist.stores.memory import MemoryStore

    return MemoryStore(directory, _site(), conf.timeout_seconds(), secret_keys())


def try_memory() -> None:
    """Open the In-Memory store, for a check. Where it is not there yet, one that is removed again is opened beside it:
    the first process that serves the site makes it.

    Raises StoreUnavailable or OSError.
    """
    directory = conf.memory_dir()
    store = _memory(directory)
    with ExitStack() as stack:
        if not os.path.lexists(store.newest):
            beside = stack.enter_context(TemporaryDirectory(prefix="sessionpersist-check-", dir=directory))
            store = _memory(Path(beside))
        stack.callback(store.close)
        store.count(1)


def missing_driver(settings: StoreSettings, module: str) -> str:
    """The sentence that says what to install."""
    extra = {"REDIS": "redis", "MONGODB": "mongodb", "JDBC": "postgresql"}.get(settings.type, "all")
    return (
        f"{settings.label} needs a driver that is not installed on this node ({module}). "
        f"Install it with: pip install 'sessionpersist[{extra}]'"
    )


def _networked() -> dict[str, Any]:
    return {
        "timeout": conf.timeout_seconds(),
        "prefix": conf.key_prefix(),
        "ca_file": conf.get("TLS_CA_FILE"),
    }


def _site() -> str:
    """What tells this site's In-Memory file from that of another site of the same user on this machine."""
    default = django_settings.DATABASES.get("default", {})
    names = [str(default.get(key, "")) for key in ("ENGINE", "NAME", "HOST", "PORT")]
    return "\0".join([conf.key_prefix(), str(getattr(django_settings, "ROOT_URLCONF", "")), *names])


_inherited: list[Any] = []


def _forget() -> None:
    """In a forked child: connections belong to the parent and are left alone, not even closed."""
    global _lock
    _lock = threading.Lock()
    _inherited.append(dict(_open))
    _open.clear()


forks.in_child(forks.Layer.STORES, _forget)
