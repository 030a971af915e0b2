"""Runs the tests of a project that is not like ours, in a copy of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.load.warm import IN_FOLDER, ROOT, warm

# As with `python -W error`.
STRICT = 'import sys, warnings; warnings.simplefilter("error"); sys.warnoptions.append("error")'
SECONDS = 300.0


def run_tests_of(project: str, folder: Path, module: Sequence[str], **variables: str) -> tuple[int, str]:
    """Copy a project into a folder and run a module of Python there, warnings being errors; return the exit code and
    what was said."""
    shutil.copytree(Path(__file__).parent / project, folder / project)
    environment = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")},
        "PYTHONPATH": str(ROOT),
        "SMALL_MEMORY": str(folder),
        **variables,
    }
    done = warm().run(["-c", STRICT + IN_FOLDER, str(folder), "-m", *module], environment, "", SECONDS)
    return done.returncode, done.stdout + done.stderr
