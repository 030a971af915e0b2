"""Pythons for the sites of tests that need not start: a process that has imported Django and the drivers forks one for
each that is asked for.

A start takes more than half a second of a core, and the tests of the long way (a command as an operator runs it, a
process that knows nothing of the test) take hundreds of them. What reads settings is not imported beforehand, so a
fork has the environment that it is given, and nothing of another's. Tests of how a process begins and ends start a
Python of their own.
"""

from __future__ import annotations

import functools
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
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 1 << 20  # bytes of a request: arguments and an environment

BEFOREHAND = [
    *("django.core.management", "django.core.handlers.wsgi", "django.core.cache.backends.locmem"),
    *("django.db.models", "django.db.migrations.executor", "django.db.backends.sqlite3.base"),
    *("django.forms", "django.template.loader", "django.contrib.auth.hashers", "django.views.generic"),
    *("cryptography.hazmat.primitives.ciphers.aead", "cryptography.fernet", "environ", "logging.config"),
    *("psycopg", "pymongo", "redis", "whitenoise.middleware"),
]


class Warm:
    """The process that forks. It ends with the one that started it."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._socket, other):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONGEST)
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.load.warm", str(other.fileno())],
                cwd=ROOT,
                pass_fds=[other.fileno()],
                start_new_session=True,
            )

    def run(
        self, arguments: list[str], environment: Mapping[str, str], standard_input: str, seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Do what ``subprocess.run([sys.executable, *arguments], …)`` does in the folder of the project. The arguments
        are a script and its own, or a program after ``-c``."""
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(standard_input.encode())
            given.seek(0)
            code = self._run(
                {"argv": arguments, "environment": dict(environment)}, [given, out, err], seconds
            )
            for file in (out, err):
                file.seek(0)
            return subprocess.CompletedProcess(arguments, code, out.read().decode(), err.read().decode())

    def _run(self, request: dict[str, Any], files: list[Any], seconds: float) -> int:
        read, write = os.pipe()
        with os.fdopen(read) as answer:
            try:
                numbers = [*(file.fileno() for file in files), write]
                socket.send_fds(self._socket, [json.dumps(request).encode()], numbers)
            finally:
                os.close(write)
            pid = int(answer.readline())
            waiting = select.poll()  # select() takes no file with a number above 1,023
            waiting.register(answer, select.POLLIN)
            if not waiting.poll(seconds * 1000):
                os.kill(pid, signal.SIGKILL)
                answer.readline()  # it is gone
                raise subprocess.TimeoutExpired(request["argv"], seconds)
            return int(answer.readline())


@functools.cache
def warm() -> Warm:
    """The one of this process."""
    return Warm()


def serve(requests: socket.socket) -> None:
    """Fork a Python for each request, until nobody can ask any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the forks below are not waited for
    while True:
        request, numbers, _, _ = socket.recv_fds(requests, LONGEST, 4)
        if not request:
            return
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            wait_for_one(json.loads(request), *numbers)
        for number in numbers:
            os.close(number)


def wait_for_one(request: dict[str, Any], given: int, out: int, err: int, answer: int) -> None:
    """Fork once more, and say of which pid the Python is and how it has ended. Comes back in that Python only after all
    is done."""
    pid = os.fork()
    if pid == 0:
        os.close(answer)
        for number, standard in ((given, 0), (out, 1), (err, 2)):
            os.dup2(number, standard)
            os.close(number)
        begin(request["argv"], request["environment"])
        sys.exit()
    with os.fdopen(answer, "w") as told:
        print(pid, file=told, flush=True)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(code, file=told, flush=True)
    os._exit(0)


def begin(arguments: list[str], environment: dict[str, str]) -> None:
    """Be a Python that was started with these arguments."""
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    if arguments[0] == "-c":
        program, sys.argv = arguments[1], ["-c", *arguments[2:]]
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(program, vars(main))  # noqa: S102 - as python -c does
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    for name in BEFOREHAND:
        with suppress(ImportError):  # a driver that is not installed
            importlib.import_module(name)
    serve(socket.socket(fileno=int(sys.argv[1])))
