"""What a forked child forgets, and in which order: gunicorn forks its workers after the project was loaded.

A child has its parent's memory and none of its threads. A lock may be held for ever by a thread that does not exist
here, and a connection is shared with the parent: each of the two would read the other's answers. So every module that
keeps a lock, a thread or a connection registers here what makes it as new. Nothing that is the parent's is closed.

It is done from the wire upwards, so that nothing is made again out of what is yet to be forgotten.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable

from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import FORK_FAILED


class Layer(enum.IntEnum):
    """When something is forgotten, the lowest first."""

    CONNECTIONS = 1
    STORES = 2
    KNOWLEDGE = 3  # of the configuration, and what was built from it


_registered: list[tuple[Layer, Callable[[], None]]] = []


def in_child(layer: Layer, forget: Callable[[], None]) -> None:
    """Have ``forget`` called in each forked child, before anything else runs there. Within a layer the order is that of
    registration."""
    _registered.append((layer, forget))
    _registered.sort(key=lambda each: each[0])


def around(before: Callable[[], None], in_parent: Callable[[], None]) -> None:
    """Have something called before each fork, for what must not be open then, and something after it in the parent."""
    os.register_at_fork(before=before, after_in_parent=in_parent)


def _forget_all() -> None:
    """One that fails keeps no other from its turn: Python itself would ignore the error and what comes after it."""
    for _layer, forget in _registered:
        try:
            forget()
        except Exception:  # noqa: BLE001 - see above
            sentence = "A forked process could not let go of what it has from its parent."
            lines.say(FORK_FAILED, sentence, exc_info=True)


os.register_at_fork(after_in_child=_forget_all)
