"""Where and with what it was measured."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "Django", "cryptography", "django-redis", "redis", "hiredis", "psycopg", "pymongo",
    "django-mongodb-backend", "lmdb",
)  # fmt: skip


def machine() -> dict[str, str | int]:
    """Return what one needs to know to compare times with those of another machine."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
    }


def busy() -> str:
    """A warning where others use the machine at this moment; else nothing."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < cores / 2:
        return ""
    return (
        f"The machine is busy (load {load:.1f} on {cores} cores): neither times nor ratios are to be trusted."
    )


def versions() -> dict[str, str]:
    """Return the versions of Python and of what is compared."""
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def processor() -> str:
    """The name of the processor, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
