"""A Python that is forked from a warm one is like one that was started: its own environment, its own end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.load.site import ROOT, Site
from tests.load.warm import warm
from tests.servers import guard

TELL = (
    "import os, sys; print(sys.argv, os.environ['NAME'], sys.stdin.read()); print('aside', file=sys.stderr)"
)
SETTINGS = "from django.conf import settings; print(settings.DATABASES['default']['NAME'])"


def test_it_has_arguments_an_environment_and_input_of_its_own() -> None:
    for name in ("one", "two"):
        done = warm().run(["-c", TELL, "a", "b"], {"NAME": name}, f"typed by {name}", seconds=30)
        assert done.returncode == 0
        assert done.stdout == f"['-c', 'a', 'b'] {name} typed by {name}\n"
        assert done.stderr == "aside\n"
    assert "NAME" not in os.environ


@pytest.mark.parametrize(
    ("program", "code"),
    [("raise SystemExit(3)", 3), ("raise SystemExit('no')", 1), ("1 / 0", 1), ("import os; os.abort()", -6)],
)
def test_its_exit_code_is_that_of_a_python(program: str, code: int) -> None:
    done = warm().run(["-c", program], os.environ, "", seconds=30)
    assert done.returncode == code
    assert ("ZeroDivisionError" in done.stderr) == ("1 / 0" in program)


def test_each_site_has_its_own_settings(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert f"{tmp_path / name}" in Site(tmp_path / name).python("-c", SETTINGS).stdout


NOT_SET_UP = """
import django
from django.apps import apps
from django.conf import settings
print(settings.configured, apps.ready, list(apps.app_configs))
django.setup()
print(apps.is_installed("sessionpersist"), settings.LANGUAGE_CODE, settings.SESSIONPERSIST["KEY_PREFIX"])
"""


def test_a_process_of_a_site_finds_nothing_set_up_and_sets_up_its_own(tmp_path: Path) -> None:
    for prefix in ("a", "b"):
        said = Site(tmp_path, KEY_PREFIX=prefix).python("-c", NOT_SET_UP).stdout
        assert said == f"False False []\nTrue en {prefix}\n"


def test_a_script_runs_as_main_and_nothing_of_it_is_left_for_the_next(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nassert 'left' not in sys.modules\nsys.modules['left'] = sys\nprint(__name__)"
    )
    for _ in range(2):
        done = warm().run([str(script)], os.environ, "", seconds=30)
        assert (done.stdout, done.stderr) == ("__main__\n", "")


def test_it_ends_as_a_python_does_and_waits_for_its_threads(tmp_path: Path) -> None:
    program = """
import atexit, sys, threading, time
def late():
    time.sleep(0.1)
    print("late")
atexit.register(print, "at exit")
threading.Thread(target=late).start()
sys.stdout.write("first ")
"""
    done = warm().run(["-c", program], os.environ, "", seconds=30)
    assert (done.returncode, done.stdout) == (0, "first late\nat exit\n")


def test_a_module_runs_as_main_with_the_arguments_after_it() -> None:
    done = warm().run(["-m", "json.tool", "--compact"], os.environ, '{"a": 1}', seconds=30)
    assert (done.returncode, done.stdout) == (0, '{"a":1}\n')


def test_one_that_is_talked_to_answers_until_its_input_is_closed() -> None:
    process = warm().talk(["-c", "while line := input(): print(line * 2, flush=True)"], os.environ)
    print("ab", file=process.stdin, flush=True)
    assert process.stdout.readline() == "abab\n"
    assert process.alive
    print(file=process.stdin, flush=True)
    assert process.finish(seconds=30) == 0
    assert not process.alive


WITH_ONE = """
import os, sys, time
from pathlib import Path
from tests.load.warm import warm
from tests.servers import guard
folder = Path(sys.argv[1])
sleeper = warm().start(["-c", "import os, time; os.fork(); time.sleep(60)"], os.environ, (0, 2, 2), folder)
while len(family := guard.family(sleeper.pid)) < 2:
    assert sleeper.alive
    time.sleep(0.01)
print(*family, flush=True)
os.kill(os.getpid(), 9)
"""


def test_it_is_gone_with_its_children_and_its_folder_when_the_process_that_asked_for_it_dies(
    tmp_path: Path,
) -> None:
    (folder := tmp_path / "folder").mkdir()
    asked = subprocess.run(
        [sys.executable, "-c", WITH_ONE, str(folder)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=60,
    )
    assert asked.returncode == -signal.SIGKILL
    family = [int(pid) for pid in asked.stdout.split()]
    give_up = time.monotonic() + 30
    while folder.exists() or any(guard.status(pid) for pid in family):
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_one_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    program = f"import os, time; open('{tmp_path}/pid', 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(subprocess.TimeoutExpired):
        warm().run(["-c", program], os.environ, "", seconds=2)
    pid = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] in "ZX"
