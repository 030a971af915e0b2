"""Tries stores again that did not answer while this process last had requests.

A circuit breaker closes with an answer, and a process without requests asks nothing: its metrics would say for ever
that the store is down.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic

from sessionpersist import conf
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover.snapshot import Known
from sessionpersist.stores import open_store
from sessionpersist.stores.guarded import GuardedStore, PartedStore

TRIES = 8  # of a store of several servers, each of which has some of the keys


def try_again(known: Iterable[Known]) -> None:
    """Ask each of these stores whose breaker is open for a session that nobody has, for about TIMEOUT_SECONDS at most.
    The breaker decides whether that reaches the store. Raises nothing."""
    for each in known:
        with suppress(StoreUnavailable):
            _try(open_store(each.settings))


def _try(store: GuardedStore | PartedStore) -> None:
    give_up = monotonic() + conf.timeout_seconds()
    for _ in range(TRIES):
        if not store.open_breakers() or monotonic() >= give_up:
            return
        with suppress(StoreUnavailable):
            store.get(secrets.token_hex(32))
