"""A command under the guard, as its parent sees it."""

import contextlib
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from tests.servers import guard

STOP_SECONDS = 15.0


class Guarded(ABC):
    """A process under a guard. It is signalled directly; the guard ends after it."""

    pid: int

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether it has not ended yet."""

    @abstractmethod
    def wait(self, seconds: float | None = None) -> int:
        """Waits for the end and returns the exit code; subprocess.TimeoutExpired if that takes longer."""

    def end(self, number: signal.Signals) -> None:
        """Asks the process to end with this signal, paused or not, and kills it if it does not."""
        if self.alive:
            guard.resume(self.pid)
            guard.send(self.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kills it with all its descendants and returns once they are gone."""
        if self.alive:
            guard.destroy(self.pid)
        self.wait()


class GuardedProcess(Guarded):
    """A command that runs under `guard.py`."""

    def __init__(
        self,
        command: list[str],
        folder: Path,
        user: str,
        log_file: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts the command in the folder; raises ChildProcessError if it cannot be executed."""
        report, write_end = os.pipe()
        guarded = [guard.__file__, str(os.getpid()), str(write_end), str(folder), user, *command]
        with log_file.open("ab") as log, os.fdopen(report, "rb") as answer:
            self._guard = subprocess.Popen(
                [sys.executable, "-IS", *guarded],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[write_end],
                start_new_session=True,
            )
            os.close(write_end)
            pid = answer.read()
        if not pid:
            self._guard.wait()
            raise ChildProcessError(command[0])
        self.pid = int(pid)

    @property
    def alive(self) -> bool:
        return self._guard.poll() is None

    def wait(self, seconds: float | None = None) -> int:
        return self._guard.wait(seconds)
