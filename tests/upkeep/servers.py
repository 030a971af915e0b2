"""The servers that a site may run on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from tests.load.site import ROOT, Node
from tests.servers.process import Guarded, GuardedProcess


class Served(Node):
    module: ClassVar[str]  # that comes with the server


class Gunicorn(Served):
    module = "gunicorn"
    application = "tests.upkeep.serving:wsgi"
    kind: ClassVar[str] = "gthread"

    def command(self) -> list[str]:
        return [*super().command(), "--worker-class", self.kind]


class Sync(Gunicorn):
    kind = "sync"

    def command(self) -> list[str]:
        command = super().command()
        place = command.index("--threads")  # more than one makes it gthread
        return command[:place] + command[place + 2 :]


class Cold(Served):
    """One that needs a program of its own, or a Python that has loaded nothing yet."""

    def launched(self, environment: dict[str, str]) -> Guarded:
        return GuardedProcess(self.program(), self.site.folder, "", self.log, environment)

    def program(self) -> list[str]:
        """Return what is run."""
        return [sys.executable, *self.command()]


class Gevent(Cold, Gunicorn):
    kind = module = "gevent"

    def command(self) -> list[str]:
        patched = ["--config", str(Path(__file__).with_name("patched.py"))]
        return [*super().command(), *patched * self.preload]


class Uvicorn(Cold):
    module = "uvicorn"

    def command(self) -> list[str]:
        command = ["-m", "uvicorn", "tests.upkeep.serving:asgi", "--port", str(self.port)]
        return [*command, "--app-dir", str(ROOT), "--workers", str(self.workers), "--log-level", "warning"]


class UWSGI(Cold):
    """Its workers are forked from a process that has loaded the site, as is its custom."""

    module = "pyuwsgi"
    options: ClassVar[list[str]] = ["--enable-threads"]

    def program(self) -> list[str]:
        program = [str(Path(sys.executable).with_name("uwsgi")), "--http-socket", f"127.0.0.1:{self.port}"]
        program += ["--module", "tests.upkeep.serving:wsgi", "--processes", str(self.workers), "--master"]
        return [*program, "--pythonpath", str(ROOT), "--die-on-term", "--disable-logging", *self.options]


class UWSGIWithoutThreads(UWSGI):
    options: ClassVar[list[str]] = []


class GunicornOnLoops(Gunicorn):
    """Its worker of its own for ASGI."""

    application = "tests.upkeep.serving:asgi"
    kind = "asgi"
