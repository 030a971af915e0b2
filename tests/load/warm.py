"""Pythons for the sites of tests that need not start: a process that has imported Django and the drivers forks one for
each that is asked for.

A start and an end take half a second of a core, and the tests of the long way (a command as an operator runs it, a
process that knows nothing of the test) take hundreds of them. What reads settings is not imported beforehand, so a
fork has the environment that it is given, and nothing of another's. Tests of how a process begins and ends start a
Python of their own.

Most of these processes are of a site with the settings of tests/load. They are forked from a second process, itself a
fork, which has imported the modules of that site's apps as well. Each of them begins with neither settings nor apps,
and sets up Django as its own environment says.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO, TypeVar

from tests.servers import guard
from tests.servers.process import Guarded

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 1 << 20  # bytes of a request: arguments and an environment
SITE = "tests.load.settings"
SETTINGS = [SITE, "project.settings"]  # modules that read the environment
LIBC = ctypes.CDLL(None)  # loaded before the forks
# Does in the folder named first what a Python with the other arguments does there: it may have tests of its own.
IN_FOLDER = """
import os, runpy, sys
for name in [each for each in sys.modules if each.partition(".")[0] == "tests"]:
    del sys.modules[name]
_, folder, *sys.argv = sys.argv
os.chdir(folder)
sys.path.insert(0, folder)
if sys.argv[0] == "-m":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    runpy.run_path(sys.argv[0], run_name="__main__")
"""

BEFOREHAND = [
    *("django.core.management", "django.core.handlers.wsgi", "django.core.cache.backends.locmem"),
    *("django.db.models", "django.db.migrations.executor", "django.db.backends.sqlite3.base"),
    *("django.forms", "django.template.loader", "django.contrib.auth.hashers", "django.views.generic"),
    *("cryptography.hazmat.primitives.ciphers.aead", "cryptography.fernet", "environ", "logging.config"),
    *("psycopg", "pymongo", "redis", "whitenoise.middleware"),
    *("gunicorn.app.wsgiapp", "gunicorn.workers.gthread", "gunicorn.glogging"),
    *("django.core.handlers.asgi", "uvicorn.main", "uvicorn.lifespan.on", "uvicorn.protocols.http.auto"),
    *("django.test", "django.contrib.admin", "django.contrib.admin.templatetags.admin_list"),
    *("django.core.servers.basehttp", "django.conf.urls.i18n", "django.contrib.auth.password_validation"),
    # Of the app, which may be forked once it is loaded, what needs no models. Its models need settings.
    *("sessionpersist.engine", "sessionpersist.audit", "sessionpersist.middleware"),
    *("sessionpersist.configuration.probing", "sessionpersist.configuration.pulse"),
    *("sessionpersist.stores.memory", "sessionpersist.stores.mongodb.uri", "sessionpersist.handover.routing"),
]
# What needs them, and is imported as an app gets ready, or with the first page.
WITH_MODELS = [
    *("django.contrib.auth.admin", "sessionpersist.admin"),
    *("sessionpersist.checks", "sessionpersist.receivers", "sessionpersist.account.changes"),
    *("sessionpersist.telemetry.opentelemetry", "sessionpersist.account.views", "sessionpersist.health"),
    *("django.contrib.auth.views", "django.contrib.auth.backends", "django.contrib.auth.middleware"),
    *("django.contrib.messages.middleware", "django.contrib.messages.storage.fallback"),
    *("django.contrib.sessions.serializers", "django.contrib.contenttypes.views"),
    *("django.contrib.staticfiles.views", "django.contrib.staticfiles.storage"),
    *("django.middleware.clickjacking", "django.middleware.common", "django.middleware.locale"),
    *("django.middleware.security", "django.template.loaders.cached", "django.conf.locale.en.formats"),
    *("sessionpersist.templatetags.sessionpersist", "sessionpersist.templatetags.sessionpersist_times"),
]


class WarmProcess(Guarded):
    """A Python that was forked, until it ends."""

    def __init__(self, arguments: Sequence[str], answer: TextIO) -> None:
        self.arguments, self._answer = arguments, answer
        self._code: int | None = None
        self.pid = int(answer.readline())

    @property
    def alive(self) -> bool:
        return not self._ended(0)

    def wait(self, seconds: float | None = None) -> int:
        if not self._ended(seconds):
            raise subprocess.TimeoutExpired(list(self.arguments), seconds or 0)
        assert self._code is not None
        return self._code

    def _ended(self, seconds: float | None) -> bool:
        if self._code is None:
            waiting = select.poll()  # select() takes no file with a number above 1,023
            waiting.register(self._answer, select.POLLIN)
            if not waiting.poll(None if seconds is None else seconds * 1000):
                return False
            with self._answer:
                self._code = int(self._answer.readline())
        return True


class TalkingProcess(WarmProcess):
    """One that a test talks to, by its standard input and output."""

    stdin: TextIO
    stdout: TextIO

    def finish(self, seconds: float = 60) -> int:
        """Close its input, and return what it ends with."""
        with self.stdin, self.stdout:
            self.stdin.close()
            return self.wait(seconds)

    def kill(self) -> None:
        with self.stdin, self.stdout:
            super().kill()


AnyProcess = TypeVar("AnyProcess", bound=WarmProcess)


class Warm:
    """The process that forks. It ends with the one that started it."""

    def __init__(self) -> None:
        self._socket, other = _socket_pair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.load.warm", str(other.fileno())],
                cwd=ROOT,
                pass_fds=[other.fileno()],
                start_new_session=True,
            )

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], standard_input: str, seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Do what ``subprocess.run([sys.executable, *arguments], …)`` does in the folder of the project. The arguments
        are a script and its own, a program after ``-c``, or a module after ``-m``."""
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(standard_input.encode())
            given.seek(0)
            process = self.start(arguments, environment, [each.fileno() for each in (given, out, err)])
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            for file in (out, err):
                file.seek(0)
            return subprocess.CompletedProcess(
                list(arguments), code, out.read().decode(), err.read().decode()
            )

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        standard: Sequence[int],
        folder: Path | None = None,
    ) -> WarmProcess:
        """Start one with these files as standard input, output and error. If the process that asks dies, so does this
        one, and the folder is removed."""
        return self._start(WarmProcess, arguments, environment, standard, folder)

    def talk(self, arguments: Sequence[str], environment: Mapping[str, str]) -> TalkingProcess:
        """Start one with pipes."""
        given, stdin = os.pipe()
        stdout, out = os.pipe()
        process = self._start(TalkingProcess, arguments, environment, (given, out, 2), None)
        os.close(given)
        os.close(out)
        process.stdin, process.stdout = os.fdopen(stdin, "w"), os.fdopen(stdout)
        return process

    def _start(
        self,
        kind: type[AnyProcess],
        arguments: Sequence[str],
        environment: Mapping[str, str],
        standard: Sequence[int],
        folder: Path | None,
    ) -> AnyProcess:
        requests = self._of_site if environment.get("DJANGO_SETTINGS_MODULE") == SITE else self._socket
        request = {"argv": arguments, "environment": dict(environment), "folder": str(folder or "")}
        read, write = os.pipe()
        try:
            socket.send_fds(requests, [json.dumps(request).encode()], [*standard, write])
        finally:
            os.close(write)
        return kind(arguments, os.fdopen(read))

    @functools.cached_property
    def _of_site(self) -> socket.socket:
        """What takes the requests for processes of a site."""
        requests, other = _socket_pair()
        with other:
            own = {
                "PYTHONPATH": str(ROOT),
                "ENV_FILE": "",
                "DEBUG": "true",
                "DATABASE_URL": "sqlite://:memory:",
            }
            environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "", **own}
            arguments = ["-m", "tests.load.warm", "0", SITE]
            self._site = self.start(arguments, environment, (other.fileno(), 2, 2))
        return requests


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (one, other):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONGEST)
    return one, other


@functools.cache
def warm() -> Warm:
    """The one of this process."""
    return Warm()


def serve(requests: socket.socket) -> None:
    """Fork a Python for each request, until nobody can ask any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the forks below are not waited for
    # Where the tests run in the background, they ignore it, and what they start would, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.freeze()  # what is here already is no fork's garbage
    while True:
        request, numbers, _, _ = socket.recv_fds(requests, LONGEST, 4)
        if not request:
            return
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            keep_one(json.loads(request), *numbers)
        for number in numbers:
            os.close(number)


def keep_one(request: dict[str, Any], given: int, out: int, err: int, answer: int) -> None:
    """Fork once more, and be the guard of that Python: say of which pid it is, and how it has ended."""
    parent, guarded = os.getppid(), os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # watch() takes it
    pid = os.fork()
    if pid == 0:
        os.close(answer)
        os.setsid()
        guard.bind(LIBC, guarded)
        be(request["argv"], request["environment"], (given, out, err))
    for number in (given, out, err):
        os.close(number)
    # Whoever asked may have gone meanwhile.
    with suppress(BrokenPipeError), os.fdopen(answer, "w") as told:
        print(pid, file=told, flush=True)
        print(guard.watch(pid, parent, request["folder"]), file=told, flush=True)
    os._exit(0)


def be(arguments: list[str], environment: dict[str, str], standard: Sequence[int]) -> None:
    """Be a Python that was started with these arguments, to its end; nothing comes back.

    It does all that a Python does for the sake of others as it ends: it waits for its threads, calls what was
    registered, and writes what it still has. Taking itself apart, module by module, costs more than most of what is
    asked of it here; the system does that at no cost.
    """
    for number, file in enumerate(standard):
        os.dup2(file, number)
        os.close(file)
    code = 1
    try:
        code = exit_code(arguments, environment)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def exit_code(arguments: list[str], environment: dict[str, str]) -> int:
    """What a Python with these arguments comes to."""
    try:
        begin(arguments, environment)
    except SystemExit as end:
        if isinstance(end.code, int):
            return end.code
        if end.code is not None:
            sys.stderr.write(f"{end.code}\n")
        return int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def begin(arguments: list[str], environment: dict[str, str]) -> None:
    """Run what a Python with these arguments does."""
    os.environ.clear()
    os.environ.update(environment)
    forget_site()
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    first, *others = arguments
    if first == "-m":
        sys.argv = others
        runpy.run_module(others[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *others[1:]]
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(others[0], vars(main))  # noqa: S102 - as python -c does
    else:
        sys.argv = arguments
        runpy.run_path(first, run_name="__main__")


def import_all(names: Sequence[str]) -> None:
    for name in names:
        with suppress(ImportError):  # a driver that is not installed
            importlib.import_module(name)


def load_site(settings: str) -> None:
    """Import what Django imports as it is set up. No app gets ready: that reads settings."""
    import django
    from django.apps import AppConfig

    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    create = AppConfig.create

    def idle(entry: str) -> AppConfig:
        config = create(entry)
        config.ready = lambda: None  # type: ignore[method-assign]
        return config

    AppConfig.create = staticmethod(idle)  # type: ignore[method-assign]
    django.setup()
    AppConfig.create = create  # type: ignore[method-assign]
    import_all(WITH_MODELS)


def forget_site() -> None:
    """Have Django know neither settings nor apps; their modules stay imported."""
    from django.apps import apps
    from django.conf import settings
    from django.db import connections
    from django.utils.functional import empty
    from django.utils.translation import trans_real

    settings._wrapped = empty
    vars(connections).clear()
    type(connections).__init__(connections)
    vars(trans_real)["_default"] = None
    for name in SETTINGS:
        sys.modules.pop(name, None)
    apps.app_configs.clear()
    apps.apps_ready = apps.models_ready = apps.ready = apps.loading = False
    apps.ready_event.clear()
    apps.clear_cache()


if __name__ == "__main__":
    import_all(BEFOREHAND)
    number, *sites = sys.argv[1:]
    for name in sites:
        load_site(name)
    serve(socket.socket(fileno=int(number)))
