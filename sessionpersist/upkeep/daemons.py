"""The threads that do the upkeep in a process that serves requests: one for what all nodes share, one for the memory of
the node. They begin with the first request, or with the first session of a websocket (see ``sockets.py``), and end with
the process; a forked child has none until it serves one.

In between they sleep. Every LOOK_SECONDS each looks whether there is anything to do at what this process knows anyhow;
only where there is, it asks the database for the lease. A process that no request keeps up to date reads the
configuration every REREAD_SECONDS, or every IDLE_SECONDS where nothing is going on, and reports itself once it has
moved to another revision.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import Error, connections

from sessionpersist import conf, exits, forks
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import nodes, routing, snapshot
from sessionpersist.handover.draining import NotNow
from sessionpersist.handover.snapshot import Known
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import UPKEEP_LOST, UPKEEP_OFF, UPKEEP_WAITS
from sessionpersist.threads import threads_run
from sessionpersist.upkeep import clearing, lease, mover, trials
from sessionpersist.upkeep.lease import LeaseLost

LOOK_SECONDS = 5.0  # between two looks
SOON_SECONDS = 1.0  # before another look where a switch is not over yet
REREAD_SECONDS = 10.0  # how old the knowledge of a process may be that no request keeps up to date
IDLE_SECONDS = 30.0  # the same where nothing moves: each time may be a new connection, of each process
LONGEST_PAUSE = 60.0  # seconds, where something fails again and again
CLEARING_SECONDS = 5.0  # for which clearing holds up what is to be moved
CLEARING_REST = 25.0  # seconds after which it goes on where that was not enough
LAST_SECONDS = 2.0  # that a process which ends waits for a step to end


class Upkeep(threading.Thread):
    """Does the upkeep of one scope until it is told to stop."""

    def __init__(self, scope: str) -> None:
        super().__init__(
            name=f"sessionpersist-upkeep-{'site' if scope == lease.SITE else 'node'}", daemon=True
        )
        self.scope = scope
        # Made here, in the process that serves: gevent replaces it as it comes to a worker.
        self.ending = threading.Event()
        self.clear_at = 0.0  # when to look whether to clear, on the monotonic clock
        self.unfinished: clearing.Unfinished = {}
        self.failures = 0  # in a row
        self.broken = False  # whether the last turn has raised: of several in a row the log is told once

    def run(self) -> None:
        pause = LOOK_SECONDS * random.random()  # noqa: S311 - so that the processes of a node do not look together
        while not self.ending.wait(pause):
            pause = self._turn_or_pause()

    def _turn_or_pause(self) -> float:
        """Take a turn. The thread outlives whatever goes wrong even in telling of a failure, or in letting go of it."""
        try:
            pause = self.turn()
        except Exception as error:  # noqa: BLE001 - nobody begins another thread in this process
            if not self.broken:
                self.broken = True
                self._say(error)
            return LONGEST_PAUSE
        self.broken = False
        return pause

    def turn(self) -> float:
        """Do what there is to do, and return in how many seconds to look again. Never raises: whatever is wrong, it is
        logged once and tried again, less and less often."""
        try:
            pause = self.work()
        except NotNow:
            return SOON_SECONDS
        except LeaseLost:
            sentence = f"Another process may have taken over the upkeep of the {self.scope}: this one stops."
            lines.say(UPKEEP_LOST, sentence, scope=self.scope)
            return LOOK_SECONDS
        except Exception as error:  # noqa: BLE001 - the thread goes on, whatever a store or a database raises
            return self._failed(error)
        finally:
            connections.close_all()
        if pause is None:
            return self._longer()
        self.failures = 0
        return pause

    def work(self) -> float | None:
        """Take the lease where there is anything to do, do it, and return in how many seconds to look again. None:
        something is in the way, of which the log has been told. Raises LeaseLost, Error, NotNow, StoreUnavailable."""
        known = up_to_date()
        if known is None:
            return None
        self._report()
        self._try_again([known.current, *known.draining])
        sources = [same[0] for same in routing.by_place([known.current, *known.draining])[1:]]
        to_clear, to_move = self._is_to_clear(), mover.has_work(self.scope, sources)
        if not to_clear and not to_move:
            return LOOK_SECONDS
        holding = lease.take(self.scope)
        if holding is None:
            self.unfinished.clear()  # another process goes on
            return LOOK_SECONDS
        stores = [known.current, *known.draining]
        try:
            if to_clear:
                self._clear(holding, stores, CLEARING_SECONDS if to_move else math.inf)
            return self._move(holding, stores) if to_move else LOOK_SECONDS
        finally:
            # It ends by itself, too; as the interpreter ends, anything may be raised.
            with suppress(Exception):
                holding.release()

    def _move(self, holding: lease.Holding, stores: Sequence[Known]) -> float | None:
        """Move what is left, which may take hours, and clear meanwhile as often as that is due."""

        def meanwhile() -> None:
            self._report()
            if self._is_to_clear():
                self._clear(holding, stores, CLEARING_SECONDS)

        stuck = mover.move_all(holding, self.ending.wait, meanwhile)
        if stuck and not self.failures:
            self._tell(f"{stuck} sessions can't be moved yet.")
        return None if stuck else LOOK_SECONDS

    def _report(self) -> None:
        """Have the page know that this process has switched, though nobody asks it anything. One thread does."""
        if self.scope == lease.SITE:
            nodes.report_move()

    def _try_again(self, stores: Sequence[Known]) -> None:
        """Notice that a store is back, though no request asks it. One thread does."""
        if self.scope == lease.SITE:
            trials.try_again(stores)

    def _clear(self, holding: lease.Holding, stores: Sequence[Known], seconds: float) -> None:
        """Clear for about so many seconds. A store that can't be cleared keeps no other from being cleared, and none
        from being emptied. What is left over has its turn after a while: what is to be moved goes on meanwhile."""
        every = conf.clear_seconds()
        try:
            done = clearing.clear_all(holding, stores, self.ending.wait, seconds, self.unfinished)
        except StoreUnavailable as error:
            self._say(error)
            done = True
        self.clear_at = monotonic() + (every if done else min(every, CLEARING_REST))

    def _is_to_clear(self) -> bool:
        every = conf.clear_seconds()
        if not every or monotonic() < self.clear_at:
            return False
        left = every - lease.cleared_ago(self.scope)
        if left > 0:
            self.clear_at = monotonic() + left
        return left <= 0

    def _failed(self, error: Exception) -> float:
        """Log the first of several failures in a row. Of a database that can't be asked, the log has a line already."""
        if isinstance(error, Error):
            snapshot.expire()
            if up_to_date() is None:
                return self._longer()
        if not self.failures:
            self._say(error)
        return self._longer()

    def _say(self, error: Exception) -> None:
        told = None if isinstance(error, StoreUnavailable) else error
        said = str(error) if told is None else type(error).__name__
        self._tell(said, told)

    def _tell(self, said: str, error: Exception | None = None) -> None:
        sentence = f"The upkeep of the {self.scope} has to wait: {said}"
        lines.say(UPKEEP_WAITS, sentence, scope=self.scope, exc_info=error)

    def _longer(self) -> float:
        self.failures += 1
        pause: float = min(LOOK_SECONDS * 2 ** min(self.failures, 10), LONGEST_PAUSE)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311


def up_to_date() -> snapshot.Snapshot | None:
    """Return what this process knows, read again where that is too old or has changed; None where it can't be read, of
    which the log has been told."""
    held = snapshot.held()
    known = held is not None and not held.kept and held.fresh_until > snapshot.EXPIRED
    if held is not None and known:
        lasts = REREAD_SECONDS if held.pending or held.draining else IDLE_SECONDS
        if monotonic() < held.read_at + lasts:
            return held.at(monotonic())
    try:
        held = snapshot.current()
    except StoreUnavailable:
        return None
    return None if held.kept else held


_threads: list[Upkeep] = []
_begun = threading.Lock()  # taken once: by whoever begins


def begin(sender: object) -> None:
    """Begin, unless this process has: it is serving a request. ``sender`` is the class that handles it; that of a test
    client serves nobody. Costs a comparison once it has begun."""
    if _begun.locked() or not (conf.drain_rate() or conf.clear_seconds()) or not serves(sender):
        return
    if not _begun.acquire(blocking=False):
        return
    if not threads_run():
        lines.say(
            UPKEEP_OFF, "uWSGI runs without enable-threads: this process moves and clears nothing by itself."
        )
        return
    for scope in (lease.SITE, lease.scope_of_node()):
        upkeep = Upkeep(scope)
        try:
            upkeep.start()
        except RuntimeError as error:  # the system allows no more threads: the request goes on without
            lines.say(UPKEEP_OFF, f"This process can't do the upkeep of the {scope}: {error}")
        else:
            _threads.append(upkeep)


def end() -> None:
    """End it, and wait a moment for a step that is under way: what is held is let go of. A request that this process
    serves nevertheless begins it again."""
    for each in _threads:
        each.ending.set()
    give_up = monotonic() + LAST_SECONDS
    for each in _threads:
        each.join(max(0.0, give_up - monotonic()))
    reset()


def reset() -> None:
    """Forget the threads: they have ended, or this is a forked child, which has none of them."""
    global _threads, _begun
    _threads, _begun = [], threading.Lock()


def serves(sender: object) -> bool:
    """Return whether it is a server that this class handles requests of."""
    is_handler = isinstance(sender, type) and issubclass(sender, WSGIHandler | ASGIHandler)
    return is_handler and not conf.tests_are_quiet()


exits.at_exit(exits.Layer.WORK, end)
forks.in_child(forks.Layer.KNOWLEDGE, reset)
