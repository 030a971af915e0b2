"""Where the records lie. ``open_store`` is the one way in."""

from __future__ import annotations

import threading
from typing import Any

from django.utils.module_loading import import_string

from sessionpersist import conf, forks
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.base import Probed
from sessionpersist.stores.guarded import GuardedStore, PartedStore, behind_breakers
from sessionpersist.stores.secret import secret_keys
from sessionpersist.stores.settings import FILE, StoreSettings, reveal

# Which package brings a module that has another name.
PACKAGES = {"bson": "pymongo", "gridfs": "pymongo", "django_redis": "django-redis"}

# Open stores of this process, by everything that matters for their connections: with a changed password or time-out
# a store is another one. Kept in the process only and never shown.
_open: dict[tuple[Any, ...], GuardedStore | PartedStore] = {}
_lock = threading.Lock()


def open_store(settings: StoreSettings) -> GuardedStore | PartedStore:
    """Return the store of these settings behind its breaker, shared within this process. Nothing is connected yet.

    Raises StoreMisconfigured: the driver is not installed, an ``env:`` variable is not set, there is no such database,
    the settings allow no store at this address. What a name leads to shows as it is connected, behind the breaker.
    """
    fingerprint = _fingerprint(settings)
    store = _open.get(fingerprint)
    if store is None:
        store = behind_breakers(build_store(settings), settings.describe())
        with _lock:
            store = _open.setdefault(fingerprint, store)
    return store


def build_store(settings: StoreSettings) -> Probed:
    """Return a store of one's own, for a probe: the caller closes it. Raises as ``open_store`` does."""
    try:
        kind: type[Probed] = import_string(settings.store)
        return kind.of(settings)
    except ImportError as error:
        raise StoreMisconfigured(_cannot_load(error, settings)) from error


def _cannot_load(error: ImportError, settings: StoreSettings) -> str:
    """Say which package is missing, or is there and can't be used: too old, or another that has taken its name."""
    module = (error.name or "").partition(".")[0]
    package = PACKAGES.get(module, module) or settings.extra
    is_missing = isinstance(error, ModuleNotFoundError)
    trouble = "is not installed on this node" if is_missing else f"can't be loaded on this node ({error})"
    return (
        f"{settings.label} needs the package {package}, which {trouble}. "
        f"Install it with: pip install 'sessionpersist[{settings.extra}]'"
    )


def reset() -> None:
    """Close every open store of this process."""
    with _lock:
        stores = list(_open.values())
        _open.clear()
    for store in stores:
        store.close()


def _fingerprint(settings: StoreSettings) -> tuple[Any, ...]:
    # What is in a file is read at each login, and may change while the store stays.
    secrets = [reveal(each) for each in settings.secrets().values() if not each.startswith(FILE)]
    surroundings = (conf.timeout_seconds(), conf.key_prefix(), conf.memory_dir(), conf.get("TLS_CA_FILE"))
    who = conf.credentials(settings.type)
    return (settings, *secrets, who, *secret_keys(), *surroundings, conf.allowed_store_hosts())


_inherited: list[Any] = []


def _forget() -> None:
    """In a forked child: connections belong to the parent and are left alone, not even closed."""
    global _lock
    _lock = threading.Lock()
    _inherited.append(dict(_open))
    _open.clear()


forks.in_child(forks.Layer.STORES, _forget)
