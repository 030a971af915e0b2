"""What is done as the process ends, and in which order: what uses a connection stops before it is closed.

``atexit`` alone goes by when a module was loaded, the last first, and some are loaded only once they are needed.
"""

from __future__ import annotations

import atexit
import enum
from collections.abc import Callable


class Layer(enum.IntEnum):
    """When something ends, the lowest first."""

    WORK = 1  # threads
    KNOWLEDGE = 2
    CONNECTIONS = 3


_registered: list[tuple[Layer, Callable[[], None]]] = []


def at_exit(layer: Layer, end: Callable[[], None]) -> None:
    """Have ``end`` called as the process ends. Within a layer the order is that of registration."""
    _registered.append((layer, end))
    _registered.sort(key=lambda each: each[0])


def _end_all() -> None:
    """One that fails keeps no other from its turn, and Python prints its error."""
    while _registered:
        try:
            _registered.pop(0)[1]()
        except BaseException:
            _end_all()
            raise


atexit.register(_end_all)
