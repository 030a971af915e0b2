"""Where the files of tests lie, and the data of the servers that they start: in memory, where there is enough of it.

They are written thousands of times and read once, and nobody wants them back after a power failure. On a disk a commit
of SQLite waits for it, and so does each journal of a server.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

IN_MEMORY = Path("/dev/shm")
ENOUGH = 8 << 30  # bytes; the files of a run take a quarter of it


def use_memory_for_files() -> None:
    """Have this process and those that it starts make their temporary files there, unless TMPDIR names a folder."""
    if "TMPDIR" not in os.environ and is_enough(IN_MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(IN_MEMORY)


def is_enough(folder: Path) -> bool:
    """Whether there is room in the folder, memory for it, and leave to run programs there."""
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return False
    found = os.statvfs(folder)
    room = min(found.f_bavail * found.f_frsize, available_memory())
    return room >= ENOUGH and not found.f_flag & os.ST_NOEXEC


def available_memory() -> int:
    """In bytes; 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 0)
