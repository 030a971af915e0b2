"""Where a server can listen, and where its programs and its data lie."""

import functools
import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """A free port of the loopback, below the range that Linux gives to outgoing connections.

    From within that range, a client that retries while the server is down could be given the very port that
    it calls, connect to itself, and keep the server from coming back.
    """
    while not is_free(port := 10_000 + secrets.randbelow(20_000)):
        pass
    return port


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def on_path(program: str) -> Path | None:
    """The program on PATH, or in the folders for servers, which the PATH of an ordinary user leaves out."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")
    return Path(found) if found else None


def in_wheel(package: str, pattern: str) -> Path | None:
    """The first file of an installed package that matches; the package is not imported."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        for path in sorted(Path(folder).glob(pattern)):
            return path
    return None


def open_to_all(path: Path) -> bool:
    """Whether any user may read and enter or execute this path."""
    inside = path.stat().st_mode & 0o005 == 0o005
    return inside and all(parent.stat().st_mode & 0o001 for parent in path.parents)


def temp_folder_open_to(user: str) -> Path:
    """The folder for temporary files; /tmp if another user must get in and the one of this user is closed."""
    folder = Path(tempfile.gettempdir()).resolve()
    shared = Path("/tmp")  # mkdtemp makes a private folder in it
    return shared if user and not open_to_all(folder) else folder


@functools.cache
def failure_to_run(program: Path) -> str | None:
    """What the program complains of, such as a missing library, when asked for its version; else None."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30)
    return (done.stderr or done.stdout).strip().splitlines()[0] if done.returncode else None
