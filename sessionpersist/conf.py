"""The app's own settings: ``settings.SESSIONPERSIST``, read at call time, every key optional."""

from __future__ import annotations

import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

CENTURY = 100 * 365.25 * 86400  # seconds

DEFAULTS: dict[str, Any] = {
    "REFRESH_SECONDS": 5.0,
    "ACTIVATION_SECONDS": None,  # twice REFRESH_SECONDS
    "GUARD_SECONDS": 0.5,
    "TIMEOUT_SECONDS": 2.0,
    "LONGEST_LIFE_SECONDS": None,  # SESSION_COOKIE_AGE
    "MEMORY_DIR": None,  # /dev/shm, else the temporary folder
    "KEY_PREFIX": "sessionpersist",
    "NODE_NAME": None,  # the host name
    "TLS_CA_FILE": None,  # the system's certificate authorities
    "SECRETS_ALLOWED": [
        "SESSIONPERSIST_"
    ],  # variables that ``env:NAME`` may name, and folders of ``file:/path``
    "CREDENTIALS": None,  # the dotted path of a provider, or one by the type of the store
    "ALLOWED_STORE_HOSTS": None,  # any
    "ADOPT_FROM": None,
    "ROSTER": True,  # which sessions a user has is listed; with a limit it is in any case
    "ADDRESSES": True,  # with a shortened address
    "COMPRESSION": "zlib",  # of sessions above 16 KiB; "zstd" once all nodes have zstandard, "none"
    "QUIET_TESTS": True,  # under a test runner nothing is asked that the test did not ask for
    "INITIAL": None,  # In-Memory
    "DRAIN_RATE": 500.0,  # sessions a second that are moved without anybody asking; 0: none
    "CLEAR_SECONDS": 300.0,  # between two times that expired sessions are cleared; 0: only by ``clearsessions``
    "TRACES": False,  # a span of OpenTelemetry for each verb of a store
    "METRICS_TOKEN": None,  # what Prometheus has to send; None: whoever reaches the page may read it
    "REAUTHENTICATE_SECONDS": 600.0,  # None: staff are never asked for their password again
}


SHORTEST_TIMEOUT = 0.05  # seconds


def tests_are_quiet() -> bool:
    """Return whether this process runs tests, which want to be left alone (see ``handover/quiet_tests.py``)."""
    state = getattr(sys.modules.get("django.test.utils"), "_TestState", None)
    return hasattr(state, "saved_data") and bool(get("QUIET_TESTS"))


def get(name: str) -> Any:
    """Return the value of one key of ``settings.SESSIONPERSIST``, or its default."""
    return getattr(settings, "SESSIONPERSIST", {}).get(name, DEFAULTS[name])


def _number(name: str, of: str) -> float:
    value = get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ImproperlyConfigured(f"SESSIONPERSIST[{name!r}] must be a number of {of}, zero or more.")
    return float(value)


def _seconds(name: str) -> float:
    return _number(name, "seconds")


def refresh_seconds() -> float:
    """Return how old a process's knowledge of the configuration may become before it reads it again."""
    return _seconds("REFRESH_SECONDS")


def activation_seconds() -> float:
    """Return how long after saving every process switches; by default long enough for each to know of it."""
    return 2 * refresh_seconds() if get("ACTIVATION_SECONDS") is None else _seconds("ACTIVATION_SECONDS")


def guard_seconds() -> float:
    """Return by how much the clocks of two processes may differ about the moment of a switch, before and after it."""
    return _seconds("GUARD_SECONDS")


def longest_life_seconds() -> float:
    """Return the longest life of a session, ``set_expiry`` included. A store left that long ago holds none.

    It is a century at most, because databases can still calculate with that.
    """
    unset = get("LONGEST_LIFE_SECONDS") is None
    life = float(settings.SESSION_COOKIE_AGE) if unset else _seconds("LONGEST_LIFE_SECONDS")
    return min(max(life, 0.0), CENTURY)


def timeout_seconds() -> float:
    """Return the deadline of an operation, from resolving the name to the last byte."""
    # Drivers count in milliseconds or whole steps of the system, and some take 0 for ever.
    return max(_seconds("TIMEOUT_SECONDS"), SHORTEST_TIMEOUT)


def reauthenticate_seconds() -> float | None:
    """Return how long ago staff may have entered their password to decide about all sessions; None: at any time."""
    return None if get("REAUTHENTICATE_SECONDS") is None else _seconds("REAUTHENTICATE_SECONDS")


def drain_rate() -> float:
    """Return how many sessions a second are moved out of a draining store without anybody asking; 0: none."""
    return _number("DRAIN_RATE", "sessions a second")


def clear_seconds() -> float:
    """Return how often expired sessions are cleared; 0: only by ``clearsessions``."""
    return _seconds("CLEAR_SECONDS")


def metrics_token() -> str | None:
    """Return what has to be sent for the metrics of Prometheus; None: nothing. An empty one, as of a variable that is
    not set, opens the page to nobody: it raises ImproperlyConfigured."""
    value = get("METRICS_TOKEN")
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise ImproperlyConfigured("SESSIONPERSIST['METRICS_TOKEN'] must be a text that is not empty.")
    return value


def compression() -> str:
    """Return what large sessions are compressed with: ``zlib``, ``zstd`` or ``none``."""
    return str(get("COMPRESSION"))


def key_prefix() -> str:
    """Return the name that keeps two sites in one Redis or MongoDB apart."""
    return str(get("KEY_PREFIX"))


def node_name() -> str:
    """Return the name of this machine or container, as staff see it."""
    return str(get("NODE_NAME") or socket.gethostname())


def secrets_allowed() -> list[str]:
    """What whoever changes the configuration may name: as ``env:NAME`` variables, by their names or by prefixes, which
    end with ``_`` or ``*``; as ``file:/path`` files, by the folders that they are in, which begin with ``/``."""
    value = get("SECRETS_ALLOWED")
    if not is_texts(value):
        raise ImproperlyConfigured(
            "SESSIONPERSIST['SECRETS_ALLOWED'] must be a list of variables and folders."
        )
    return list(value)


def credentials(store_type: str) -> str | None:
    """Return the dotted path of what gives the user name and the password of a store of that type, or None."""
    value = get("CREDENTIALS")
    found = value.get(store_type) if isinstance(value, dict) else value
    if found is not None and not isinstance(found, str):
        raise ImproperlyConfigured("SESSIONPERSIST['CREDENTIALS'] must be a dotted path, or one by type.")
    return found or None


def allowed_store_hosts() -> tuple[str, ...] | None:
    """Return the names, addresses and networks that stores may be at; None: any."""
    value = get("ALLOWED_STORE_HOSTS")
    if value is None:
        return None
    if not is_texts(value):
        raise ImproperlyConfigured("SESSIONPERSIST['ALLOWED_STORE_HOSTS'] must be a list of hosts.")
    return tuple(value)


def is_texts(value: object) -> bool:
    """Return whether it is a list of texts that are not empty."""
    return isinstance(value, list | tuple) and all(isinstance(each, str) and each.strip() for each in value)


def memory_dir() -> Path:
    """Return the folder below which the In-Memory store keeps its file: memory-backed where there is one."""
    if configured := get("MEMORY_DIR"):
        return Path(configured)
    shared_memory = Path("/dev/shm")  # noqa: S108 - tmpfs on Linux; the store makes a 0700 folder of its own in it
    return shared_memory if shared_memory.is_dir() else Path(tempfile.gettempdir())
