"""A circuit breaker: a store that keeps failing is left alone for a moment, so that nobody waits for it in vain."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FAULTS = 3  # in a row, before the circuit opens
PAUSE = 1.0  # seconds that it stays open


class Breaker:
    """Counts the faults of one store in one process. The lock is held for a few assignments, never during I/O.

    A caller asks ``admits()``, calls the store, and reports ``succeeded()`` or ``failed()``. While the circuit is open
    nobody is admitted; after the pause *one* caller is, and the pause begins again for all others, so that a trial
    that hangs (or whose thread dies) holds nobody up and is followed by another. While it is ``healthy``, as the last
    call that was made succeeded, everybody is admitted, and an answer need not be reported.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.healthy, self._faults = True, 0
        self._open_until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether the store is being left alone, or has not answered the one that tried it since."""
        return self._open_until is not None

    def admits(self) -> bool:
        """Return whether the store may be called now."""
        return self._open_until is None or self._admits_trial()

    def succeeded(self) -> bool:
        """Note an answer; True where it is the first one after a fault."""
        if self.healthy:
            return False
        with self._lock:
            recovered = not self.healthy
            self.healthy, self._faults, self._open_until = True, 0, None
            return recovered

    def failed(self) -> bool:
        """Note a fault; True where it is the first one after an answer."""
        with self._lock:
            self.healthy, self._faults = False, self._faults + 1
            if self._faults >= FAULTS:
                self._open_until = self._clock() + PAUSE
            return self._faults == 1

    def _admits_trial(self) -> bool:
        with self._lock:
            now = self._clock()
            if self._open_until is None:  # another caller has just succeeded
                return True
            if now < self._open_until:
                return False
            self._open_until = now + PAUSE
            return True
