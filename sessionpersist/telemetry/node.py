"""What one process of a node says for all: this machine or container has several, which share the folder of In-Memory.

The system lets go of a lock whose process was killed. Where there is no such folder each process speaks for itself: to
be told twice is better than not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import suppress
from pathlib import Path

from sessionpersist import conf, forks
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.memory.folder import make_private
from sessionpersist.stores.memory.store import MemoryStore

SAID = "said-"  # what the names of the marks begin with
MOST_MARKS = 20  # of this node; older ones are removed

_lock: tuple[Path, int] | None = None  # the file that this process has locked, and its descriptor


def speaks() -> bool:
    """Return whether this process is the one that tells the figures of the site; it stays so until it ends."""
    global _lock
    try:
        path = _folder() / f"speaks-{_name()}"
        if _lock is not None and _lock[0] == path:
            return True
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except (OSError, StoreMisconfigured):
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    reset()
    _lock = path, descriptor
    return True


def is_first(event: str) -> bool:
    """Return whether no process of this node has asked that of this event before."""
    try:
        folder = _folder()
        path = folder / f"{SAID}{_name()}-{hashlib.sha256(event.encode()).hexdigest()[:16]}"
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    except (OSError, StoreMisconfigured):
        return True
    _remove_old(folder)
    return True


def reset() -> None:
    """Let go of what this process has locked; a forked child, of its copy of that, which leaves the lock as it is."""
    global _lock
    if _lock is not None:
        os.close(_lock[1])
    _lock = None


def _folder() -> Path:
    store = MemoryStore.inside(conf.memory_dir())
    make_private(store.folder, store.newest)
    return store.folder


def _name() -> str:
    """Tell nodes that share a folder apart, as in a demonstration."""
    return hashlib.sha256(conf.node_name().encode()).hexdigest()[:12]


def _remove_old(folder: Path) -> None:
    marks = []
    for each in folder.glob(f"{SAID}*"):
        with suppress(FileNotFoundError):  # another process was faster
            marks.append((each.stat().st_mtime, each))
    for _, each in sorted(marks)[:-MOST_MARKS]:
        each.unlink(missing_ok=True)


forks.in_child(forks.Layer.KNOWLEDGE, reset)
