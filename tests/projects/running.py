"""Runs the tests of a project that is not like ours, in a copy of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.load.warm import ROOT, warm

# What `python -W error -m MODULE ARGUMENTS` does in that folder.
RUN = """
import os, runpy, sys, warnings
_, folder, *sys.argv = sys.argv
os.chdir(folder)
sys.path.insert(0, folder)
warnings.simplefilter("error")
sys.warnoptions.append("error")
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
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
    done = warm().run(["-c", RUN, str(folder), *module], environment, "", SECONDS)
    return done.returncode, done.stdout + done.stderr
