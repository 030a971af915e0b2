"""Whether the store in force answers, for whoever decides where requests go.

What requests have seen is the answer where one was answered within the last second. Otherwise this process asks for a
session that nobody has: at most once a second, one thread for all, behind the breaker and within the deadline that
every request has. While a store hangs others do not wait for that thread: they are told what was last known.

The database of the site is not asked, but by a process that has never read the configuration, and by one whose store
does not answer: there may have been a switch meanwhile. No answer waits for that. Where the database hangs, too, the
request may have waited for it as it began (``snapshot.refresh``): it does not wait as long again for the store.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from sessionpersist import conf, forks
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import snapshot
from sessionpersist.stores import open_store
from sessionpersist.stores.guarded import GuardedStore, PartedStore
from sessionpersist.stores.settings import StoreSettings
from sessionpersist.threads import NoThread, begin_thread, leaving_no_connection, threads_run

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
_reading: threading.Thread | None = None  # the configuration


def look() -> Readiness:
    """Return whether the store answers. Never raises, and takes TIMEOUT_SECONDS at most, or a quarter of that where the
    configuration could not be read a moment ago."""
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
    global _lock, _last, _reading
    _lock, _last, _reading = threading.Lock(), None, None


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
    lock, timeout, patience = _lock, conf.timeout_seconds(), _patience()
    known = last if last is not None and last.seconds < PROBE_SECONDS + 2 * timeout else None
    if not lock.acquire(timeout=0 if known else patience):
        return known or Readiness(False, monotonic(), settings)
    if patience >= timeout or not _may_ask_aside():
        return _probe_in_turn(lock, before)
    try:
        asking = _aside(lambda: _probe_in_turn(lock, before))
    except NoThread:
        return _probe_in_turn(lock, before)
    asking.join(patience)
    if asking.is_alive():
        _last = Readiness(False, monotonic(), settings)
    return _last or Readiness(False, monotonic(), settings)


def _patience() -> float:
    """Return for how many seconds this request may wait. Where the configuration could not be read a moment ago, it may
    have waited for that already."""
    held, timeout = snapshot.held(), conf.timeout_seconds()
    just_lost = held is None or (held.kept and monotonic() < held.fresh_until)
    return timeout / 4 if just_lost else timeout


def _may_ask_aside() -> bool:
    """Whether another thread can ask: not where none runs, nor in a test, whose transaction it could not see."""
    return threads_run() and not conf.tests_are_quiet()


def _aside(work: Callable[[], object]) -> threading.Thread:
    """Begin work in a thread of its own, and return that. Raises NoThread."""
    return begin_thread("sessionpersist-readiness", leaving_no_connection(work))


def _probe_in_turn(lock: threading.Lock, before: Readiness | None) -> Readiness:
    """Ask the store, unless somebody has done so while this one waited for the lock; and let go of that."""
    global _last
    try:
        if (found := _last) is None or found is before:
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
        _read_again()
        return Readiness(False, monotonic(), settings)
    return Readiness(True, monotonic(), settings)


def _read_again() -> None:
    """Read the configuration if that is due, for the next probe. One thread does; the answer does not wait for it."""
    global _reading
    if not _may_ask_aside():
        _read()
    elif _reading is None or not _reading.is_alive():
        with suppress(NoThread):  # the next probe may have one
            _reading = _aside(_read)


def _read() -> None:
    with suppress(StoreUnavailable):
        snapshot.current()


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
