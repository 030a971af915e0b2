"""Runs the tests of a project that is not like ours, in a copy of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_tests_of(project: str, folder: Path, runner: Sequence[str], **variables: str) -> tuple[int, str]:
    """Copy a project into a folder and run a module of Python there, warnings being errors; return the exit code and
    what was said."""
    shutil.copytree(Path(__file__).parent / project, folder / project)
    environment = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")},
        "PYTHONPATH": str(ROOT),
        "SMALL_MEMORY": str(folder),
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", *runner],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout
