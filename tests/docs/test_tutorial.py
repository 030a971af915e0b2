"""The tutorial, followed to the letter in an empty folder.

Its site is a Python of its own; its commands are run by forks of one that has imported Django, see tests/load/warm.py.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, Block, blocks_of
from tests.load.warm import IN_FOLDER, warm
from tests.servers.places import free_port

# The package is installed elsewhere in the tests.
PASSED_OVER = ("python -m venv", "source ", "pip install")
SERVE = "python manage.py runserver"
# What the reader does not set: memory of the folder's own, a switch that takes less than ten seconds, and a password
# that costs less than half a second of work.
FOR_TESTS = """
SESSIONPERSIST = {{'MEMORY_DIR': {!r}, 'REFRESH_SECONDS': 0.5}}
PASSWORD_HASHERS = ['django.contrib.auth.hashers.MD5PasswordHasher']
"""
SWITCH_SECONDS = 2.0  # twice REFRESH_SECONDS and GUARD_SECONDS, and a little more
START_SECONDS = 30.0
PASSWORD = "correct horse battery"
MATCHES = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.xdist_group("tutorial")
def test_each_step_does_what_the_page_says(tmp_path: Path) -> None:
    with ExitStack() as stack:
        browser = None
        for block in blocks_of(DOCS / "tutorial.md"):
            if block.language == "python":
                write(block, tmp_path)
            for command, expected in steps(block):
                if command == SERVE:
                    browser = stack.enter_context(served(tmp_path))
                    browser.log_in()
                elif not command.startswith(PASSED_OVER):
                    printed = run(command, tmp_path)
                    assert doctest.OutputChecker().check_output(expected, printed, MATCHES), (
                        command,
                        printed,
                    )
                    if " set " in command:
                        time.sleep(SWITCH_SECONDS)
                    assert browser is None or browser.is_logged_in(), command
        assert browser is not None


def write(block: Block, folder: Path) -> None:
    """Add to the file that a block names."""
    path = folder / block.title
    before = path.read_text() if path.exists() else ""
    more = FOR_TESTS.format(str(folder / "memory")) if path.name == "settings.py" else ""
    path.write_text(f"{before}\n{block.text}{more}")


def steps(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command and what it is to print: ``...`` stands for anything."""
    if block.language == "shell":
        yield from ((line, "...\n") for line in block.text.splitlines())
    if block.language == "console":
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            yield command, printed.replace("…", "...")


def run(command: str, folder: Path) -> str:
    """Run a command of the page and return what it printed; fail where it fails."""
    if "createsuperuser" in command:
        command += " --no-input"
    python, *words = command.split()
    assert python == "python", command
    done = warm().run(["-c", IN_FOLDER, str(folder), *words], environment(), "", seconds=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def environment() -> dict[str, str]:
    """That of a reader, and not that of these tests."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT), "DJANGO_SUPERUSER_PASSWORD": PASSWORD}


class Browser:
    """What the reader looks at the site with."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies = CookieJar()
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies)).open

    def read(self, path: str, **fields: str) -> str:
        """Return a page; with fields, what a form leads to."""
        data = urllib.parse.urlencode(fields).encode() if fields else None
        with self._open(f"{self.url}{path}", data, timeout=START_SECONDS) as answer:
            return str(answer.read().decode())

    def log_in(self) -> None:
        self.read("/admin/login/")
        token = next(str(cookie.value) for cookie in self.cookies if cookie.name == "csrftoken")
        fields = {"username": "admin", "password": PASSWORD, "csrfmiddlewaretoken": token}
        self.read("/admin/login/?next=/admin/", **fields)
        assert self.is_logged_in()

    def is_logged_in(self) -> bool:
        return "Log out" in self.read("/admin/")


@contextmanager
def served(folder: Path) -> Iterator[Browser]:
    """The site while it runs."""
    port = free_port()
    words = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    with (
        (folder / "server.log").open("w") as log,
        subprocess.Popen(
            words, cwd=folder, env=environment(), stdout=log, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            browser = Browser(f"http://127.0.0.1:{port}")
            wait_for(browser, process)
            yield browser
        finally:
            process.terminate()


def wait_for(browser: Browser, process: subprocess.Popen[bytes]) -> None:
    """Return once the site answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            browser.read("/admin/login/")
        except OSError:  # it does not listen yet, or is slow on a busy machine
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return
