"""A node of the site, in a process of its own: gunicorn with several workers and threads, or uvicorn."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.load.warm import warm
from tests.servers.base import unused_data
from tests.servers.places import free_port
from tests.servers.process import Guarded

ROOT = Path(__file__).resolve().parents[2]
SECRET_KEY = "for-load-tests-only-0123456789-abcdefghijklmnopqrstuvwxyz"
START_SECONDS = 30.0

CONFIGURE = """
import sys, json, django
django.setup()
from sessionpersist.models import LoginConfiguration
for fields in json.load(sys.stdin):
    configuration = LoginConfiguration.get_solo()
    for name, value in fields.items():
        setattr(configuration, name, value)
    configuration.save(saved_by="operator")
"""


class Site:
    """The surroundings that all nodes of one site share: its databases, its settings, its secret key."""

    def __init__(self, folder: Path, databases: dict[str, str] | None = None, **settings: Any) -> None:
        """``databases`` maps aliases to URLs; the default one is an SQLite file. ``settings`` are environment
        variables of the site, such as REFRESH_SECONDS."""
        urls = {"default": f"sqlite:///{folder / 'site.sqlite3'}", **(databases or {})}
        self.folder, self.file = folder, folder / "site.sqlite3"
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.load.settings",
            "PYTHONPATH": str(ROOT),
            "ENV_FILE": "",
            "DEBUG": "true",
            "SECRET_KEY": SECRET_KEY,
            "ALLOWED_HOSTS": "*",
            "MEMORY_DIR": str(folder),
            "LOG_LEVEL": "WARNING",
            # Nothing moves unless a test has it moved.
            "DRAIN_RATE": "0",
            "CLEAR_SECONDS": "0",
            **{f"DATABASE_URL_{alias.upper()}": url for alias, url in urls.items() if alias != "default"},
            "DATABASE_URL": urls["default"],
            **{name: str(value) for name, value in settings.items()},
        }

    def manage(self, *arguments: str) -> str:
        """Run a management command and return what it printed. Raises AssertionError where it fails."""
        return self._python(str(ROOT / "manage.py"), *arguments)

    def migrate(self) -> None:
        """Make the tables. The SQLite file, which most sites have, is a copy of one that was migrated before."""
        if self.environment["DATABASE_URL"] == f"sqlite:///{self.file}":
            self.file.write_bytes(_migrated())
        else:
            self.manage("migrate", "--verbosity=0")

    def configure(self, **fields: Any) -> None:
        """Save fields of the Login Configuration, from a process of its own as any other node would."""
        self.configure_in_turn(fields)

    def configure_in_turn(self, *saved: dict[str, Any]) -> None:
        """Save it several times."""
        import json

        self._python("-c", CONFIGURE, standard_input=json.dumps(saved))

    def python(
        self, *arguments: str, standard_input: str = "", seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Have a process of its own run a script, a program after ``-c``, or a module after ``-m``."""
        return warm().run(arguments, self.environment, standard_input, seconds)

    def _python(self, *arguments: str, standard_input: str = "") -> str:
        done = self.python(*arguments, standard_input=standard_input)
        assert done.returncode == 0, done.stderr
        return done.stdout


@functools.cache
def _migrated() -> bytes:
    """Return an SQLite database with all tables and nothing in them. One of the processes that run the tests makes it
    for all: it takes most of a second."""
    made = unused_data() / "site.sqlite3"
    with made.with_suffix(".lock").open("w") as lock, tempfile.TemporaryDirectory() as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            site = Site(Path(folder))
            site.manage("migrate", "--verbosity=0")
            Path(shutil.copy(site.file, made.with_suffix(".copy"))).rename(made)
    return made.read_bytes()


class Node:
    """One gunicorn of a site. ``kill`` is the machine losing power; ``stop`` is a shut-down.

    With ``preload`` its workers are forked from a process that has loaded the site, which starts them sooner; without,
    each loads it.
    """

    application, pages = "tests.load.wsgi", "tests.load.urls"

    def __init__(
        self, site: Site, name: str, workers: int = 2, threads: int = 4, *, preload: bool = True
    ) -> None:
        self.site, self.name, self.workers, self.threads = site, name, workers, threads
        self.preload = preload
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = site.folder / f"{name}.log"
        self._process: Guarded | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = self.launched({**self.site.environment, "NODE_NAME": self.name, "PAGES": self.pages})
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def launched(self, environment: dict[str, str]) -> Guarded:
        """Return its process, which has just begun."""
        with self.log.open("ab") as log, Path(os.devnull).open() as nothing:
            standard = [nothing.fileno(), log.fileno(), log.fileno()]
            return warm().start(self.command(), environment, standard, self.site.folder)

    def command(self) -> list[str]:
        """Return what a Python is given to run."""
        command = ["-m", "gunicorn", self.application, "--bind", f"127.0.0.1:{self.port}"]
        command += ["--workers", str(self.workers), "--threads", str(self.threads), "--log-level", "warning"]
        command += ["--worker-tmp-dir", str(self.site.folder), "--timeout", "60"]
        return [*command, f"--chdir={ROOT}", *["--preload"] * self.preload]

    def stop(self) -> None:
        """Shut it down; kill what does not go."""
        if self._process is not None:
            self._process.end(signal.SIGTERM)
        self._process = None

    def kill(self) -> None:
        """Kill all its processes at once."""
        assert self._process is not None
        self._process.kill()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.alive, self.log.read_text()
            try:
                urllib.request.urlopen(f"{self.url}/static-page/", timeout=5).close()
                return
            except OSError:  # it does not listen yet, or is slow on a busy machine
                time.sleep(0.05)
        raise TimeoutError(self.log.read_text())


class AsgiNode(Node):
    """One uvicorn of a site: one process, one event loop, and pages that are coroutines."""

    application, pages = "project.asgi:application", "tests.load.async_urls"

    def __init__(self, site: Site, name: str) -> None:
        super().__init__(site, name, workers=1, threads=1, preload=False)

    def command(self) -> list[str]:
        command = ["-m", "uvicorn", self.application, "--port", str(self.port), "--app-dir", str(ROOT)]
        return [*command, "--log-level", "warning"]
