"""The pages and the command of staff in a project that has a user model of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("model", ["people.ByUuid", "people.ByName"])
def test_staff_end_sessions_whatever_a_primary_key_is(model: str, tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent / "people", tmp_path / "people")
    environment = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")},
        "PYTHONPATH": str(ROOT),
        "USER_MODEL": model,
        "SMALL_MEMORY": str(tmp_path),
    }
    command = [sys.executable, "-W", "error", "-m", "django", "test", "--settings=people.settings"]
    done = subprocess.run(
        [*command, "people.staff"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Ran 4 tests" in done.stdout
