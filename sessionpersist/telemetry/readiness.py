"""Whether the store in force answers, for whoever decides where requests go.

What requests have seen is the answer where one was answered within the last second. Otherwise this process asks for a
session that nobody has: at most once a second, one thread for all, behind the breaker and within the deadline that
every request has. While a store hangs others do not wait for that thread: they are told what was last known.

The database of the site is not asked, but by a process that has never read the configuration, and by one whose store
does not answer: there may have been a switch meanwhile.
"""

from __future__ import annotations

import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from sessionpersist import conf, forks
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import snapshot
from sessionpersist.stores import open_store
from sessionpersist.stores.guarded import GuardedStore, PartedStore
from sessionpersist.stores.settings import StoreSettings

PROBE_SECONDS = 1.0  # between two probes of a process, and how long an answer counts
TRIES = 8  # for a store of several servers: the users of the others do not notice that one of them is down


@dataclass(frozen=True)
class Readiness:
    """``answers``: the store did, ``at`` that time of the monotonic clock. ``settings`` say which store; None: this
    process does not know of any."""

    answers: bool
    at: float
    settings: StoreSettings | None = None

    @property
    def seconds(self) -> float:
        """How long ago that was."""
        return max(0.0, monotonic() - self.at)


_lock = threading.Lock()
_last: Readiness | None = None


def look() -> Readiness:
    """Return whether the store answers. Never raises, and takes TIMEOUT_SECONDS at most, but for a process that has yet
    to read the configuration."""
    settings = _settings_in_force()
    seen = _seen_by_requests(settings)
    if seen is not None and seen.seconds < PROBE_SECONDS:
        return seen
    before = _last
    last = before if before is not None and before.settings == settings else None
    if last is not None and last.seconds < PROBE_SECONDS:
        return last
    return _asked(settings, before, last)


def reset() -> None:
    """Forget what was found: after a fork, after settings changed, in tests."""
    global _lock, _last
    _lock, _last = threading.Lock(), None


def _settings_in_force() -> StoreSettings | None:
    held = snapshot.held()
    return None if held is None else held.at(monotonic()).current.settings


def _seen_by_requests(settings: StoreSettings | None) -> Readiness | None:
    """Return when a request was last answered; None where this process can't tell, or one has failed since."""
    if settings is None:
        return None
    with suppress(StoreUnavailable):
        return Readiness(True, open_store(settings).answered_at, settings)
    return None


def _asked(settings: StoreSettings | None, before: Readiness | None, last: Readiness | None) -> Readiness:
    """Ask the store, unless another thread does: it is waited for only where nothing is known that may still be so.
    ``before`` is what was found by then, of whichever store; ``last``, of this one."""
    global _last
    lock, patience = _lock, conf.timeout_seconds()
    known = last if last is not None and last.seconds < PROBE_SECONDS + 2 * patience else None
    if not lock.acquire(timeout=0 if known else patience):
        return known or Readiness(False, monotonic(), settings)
    try:
        if (found := _last) is None or found is before:  # nobody has asked meanwhile
            found = _last = _probe()
        return found
    finally:
        lock.release()


def _probe() -> Readiness:
    settings = None
    try:
        settings = _settings_in_force() or snapshot.current().current.settings
        _ask(open_store(settings))
    except StoreUnavailable:
        with suppress(StoreUnavailable):
            snapshot.current()  # the next probe goes by it
        return Readiness(False, monotonic(), settings)
    return Readiness(True, monotonic(), settings)


def _ask(store: GuardedStore | PartedStore) -> None:
    """Ask for a session that nobody has, of several servers until one answers. Raises StoreUnavailable."""
    until = monotonic() + conf.timeout_seconds()
    for left in reversed(range(TRIES if isinstance(store, PartedStore) else 1)):
        try:
            store.get(secrets.token_hex(32))
        except StoreUnavailable:
            if not left or monotonic() >= until:
                raise
        else:
            return


forks.in_child(forks.Layer.KNOWLEDGE, reset)
