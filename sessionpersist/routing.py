"""From what this process knows of the configuration to the store that serves this moment."""

from __future__ import annotations

import os

from sessionpersist import snapshot
from sessionpersist.stores import open_store
from sessionpersist.stores.base import Store
from sessionpersist.stores.settings import StoreSettings

_composed: tuple[snapshot.Snapshot, Store] | None = None


def current_store() -> Store:
    """Return the store in force. In steady state this costs a comparison or two and asks nobody.

    Raises StoreUnavailable (the configuration was never read) or StoreMisconfigured.
    """
    global _composed
    known = snapshot.current()
    composed = _composed
    if composed is None or composed[0] is not known:
        composed = _composed = (known, open_store(known.current.settings))
    return composed[1]


def current_settings() -> StoreSettings:
    """Return the settings of the store in force; their ``describe()`` is for staff and has no secret in it."""
    return snapshot.current().current.settings


def reset() -> None:
    """Forget the composed store, as after a fork or in a test."""
    global _composed
    _composed = None


os.register_at_fork(after_in_child=reset)
