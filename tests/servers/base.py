"""What every server has in common: a folder, a port, a password, a process, a beginning and an end."""

import atexit
import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import quote, unquote, urlsplit

from tests.servers import guard
from tests.servers.certificates import Certificates, make_certificates
from tests.servers.places import LOOPBACK, failure_to_run, free_port, is_free, temp_folder_open_to
from tests.servers.process import GuardedProcess

START_SECONDS = 60.0
PING_SECONDS = 2.0  # of one try to reach a server that may not be up
ANSWER_SECONDS = 60.0  # for a server that is up, on a busy machine
PORT_TRIES = 5
LOG_LINES = 25

# The folder of `unused_data`, whose name has the process that it belongs to, and the variable that names it to others.
UNUSED_DATA = "sessionpersist-unused-data-"
VARIABLE = "TEST_UNUSED_DATA"


def unused_data() -> Path:
    """Return a folder with data that servers can start with, which take a second or more to make: the first server of a
    kind leaves a copy of its own there. This process and those that it starts have one folder, and it goes with this
    process.

    It has a password for the administrators of the servers, which is in the data of some.
    """
    named = os.environ.get(VARIABLE)
    if named and Path(named).is_dir():
        return Path(named)
    remove_what_the_dead_left()
    folder = Path(tempfile.mkdtemp(prefix=f"{UNUSED_DATA}{os.getpid()}-"))
    atexit.register(_remove, folder, os.getpid())
    (folder / "password").write_text(secrets.token_urlsafe(16))
    os.environ[VARIABLE] = str(folder)
    return folder


def _remove(folder: Path, owner: int) -> None:
    """At the end of a process, but not of one that it forked."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def remove_what_the_dead_left() -> None:
    """A process that is killed leaves such folders behind, of a hundred megabytes each, which may lie in memory."""
    for folder in Path(tempfile.gettempdir()).glob(f"{UNUSED_DATA}*"):
        process = folder.name.removeprefix(UNUSED_DATA).partition("-")[0]
        if process.isdigit() and not Path("/proc", process).exists():
            shutil.rmtree(folder, ignore_errors=True)


class ServerError(RuntimeError):
    """A server could not be started, or cannot do what was asked; the text ends with the tail of its log."""


class Server(ABC):
    """One real server, started on demand. A subclass says how it is installed, started and talked to.

    Its process is gone after `stop` or when this process dies. `kill` and `restart` keep port, password and
    data; `stop` ends them. With a URL in the environment variable `variable`, that server is used instead and
    never stopped.
    """

    # What it is called, what to install, and where an external one is named.
    title: ClassVar[str]
    package: ClassVar[str]
    variable: ClassVar[str | None] = None
    # The Python module that talks to it, and the scheme of its URL.
    driver: ClassVar[str]
    scheme: ClassVar[str]
    tls_scheme: ClassVar[str | None] = None
    tls_missing: ClassVar[str | None] = None
    # Whom it knows.
    default_username: ClassVar[str] = "app"
    default_database: ClassVar[str] = "sessions"
    # How it runs and ends.
    refuses_root: ClassVar[bool] = False
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, *, tls: bool = False, password: str | None = None) -> None:
        """Takes a password to set; by default a random one, ending in what a URL must quote."""
        self.tls = tls
        self.host = LOOPBACK
        self.port = 0
        self.username = self.default_username
        self.password = password or secrets.token_urlsafe(16) + "@:/%"
        self.database = self.default_database
        self.admin_username = self.username
        self.admin_password = self.password
        self._certificates: Certificates | None = None
        self._folder: Path | None = None
        self._process: GuardedProcess | None = None
        self._owner = os.getpid()
        self._external_url = self._find_external_url(tls)
        if self._external_url:
            self._read_url(self._external_url)

    def __repr__(self) -> str:
        state = "external" if self.external else "running" if self.running else "stopped"
        return f"<{type(self).__name__} {self.host}:{self.port} {state}{' with TLS' if self.tls else ''}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What a subclass tells.

    @classmethod
    @abstractmethod
    def find_program(cls) -> Path | None:
        """The server's executable, or None where it is not installed."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The command line that runs the server in the foreground on `self.port`; no secret may be in it."""

    def _prepare(self) -> None:
        """Makes the data folder, before the first start. A server's own tool does that instead."""
        (self.folder / "data").mkdir(mode=0o700)

    def _answers(self) -> None:
        """Raises until the server talks to its administrator; used at the first start, before `_set_up`."""
        self.ping()

    def _set_up(self) -> None:
        """Creates user and database at the first start, while the server runs, and then logs in."""
        self._wait(self.ping)

    @abstractmethod
    def ping(self) -> None:
        """Logs in with the password and asks for an answer. Raises what the driver raises."""

    # Where it is.

    @classmethod
    def available(cls, *, tls: bool = False) -> str | None:
        """None if it can be started here, else one sentence that says why not and what to install."""
        if importlib.util.find_spec(cls.driver) is None:
            return f"{cls.title} needs the Python module {cls.driver}, which is not installed."
        if cls._find_external_url(tls):
            return None
        if not sys.platform.startswith("linux"):
            return f"{cls.title} is only started on Linux{cls._or_external()}."
        if (program := cls.find_program()) is None:
            return f"{cls.title} is not installed: install {cls.package}{cls._or_external()}."
        if tls and cls.tls_missing:
            return cls.tls_missing
        if failure := failure_to_run(program):
            return f"{cls.title} does not run here: {failure}"
        return None

    @property
    def external(self) -> bool:
        """Whether this is a server that someone else runs."""
        return self._external_url is not None

    @property
    def running(self) -> bool:
        """Whether the process lives; it may be paused."""
        return self._process is not None and self._process.alive

    @property
    def url(self) -> str:
        """The URL for settings, with the password in it."""
        return self._external_url or self.url_for(self.database)

    @property
    def ca_file(self) -> Path | None:
        """The authority that signed the server's certificate, with `tls=True`."""
        return self._certificates and self._certificates.ca_file

    @property
    def certificates(self) -> Certificates | None:
        """The authority, and what the server and a client show of themselves, with `tls=True`."""
        return self._certificates

    @property
    def log_file(self) -> Path:
        """Where the output of the server goes."""
        return self.folder / "server.log"

    @property
    def folder(self) -> Path:
        """The temporary folder, there from `start` to `stop`."""
        if self._folder is None:
            raise ServerError(f"{self!r} has no folder: it was not started here.")
        return self._folder

    def url_for(self, database: str) -> str:
        """The URL of another database on this server."""
        scheme = self.tls_scheme if self.tls and self.tls_scheme else self.scheme
        login = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}"
        return f"{scheme}://{login}@{self.host}:{self.port}/{quote(database, safe='')}{self._url_options()}"

    # What one does with it.

    def start(self) -> Self:
        """Starts it and returns once it answers; after `kill`, on the same port with the same data."""
        if self.external:
            self._wait(self.ping)
        elif self._folder is None:
            self._first_start()
        elif not self.running:
            self._launch()
            self._wait(self.ping)
        return self

    def stop(self) -> None:
        """Ends the process and removes the data. Does nothing in a process forked after the start."""
        if self.external or self._owner != os.getpid():
            return
        try:
            self._end()
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def kill(self) -> None:
        """Ends all its processes with SIGKILL, as a crash would; returns once they are gone."""
        self._own_process().kill()

    def pause(self) -> None:
        """Stops all its processes with SIGSTOP: it accepts connections and never answers."""
        guard.pause(self._own_process().pid)

    def resume(self) -> None:
        """Lets it go on after `pause`."""
        guard.resume(self._own_process().pid)

    def restart(self) -> None:
        """Shuts it down properly if it still runs, and starts it on the same port with the same data."""
        self._check_own()
        self._end()
        self.start()

    def processes(self) -> list[int]:
        """The pids of the server's processes; empty if it does not run here."""
        return guard.family(self._process.pid) if self._process and self._process.alive else []

    def log_tail(self) -> str:
        """The last lines of its output."""
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])

    # How that works.

    def _first_start(self) -> None:
        if reason := self.available(tls=self.tls):
            raise ServerError(reason)
        try:
            self._owner = os.getpid()
            self._make_folder()
            self._prepare()
            self._launch_on_free_port()
            self._set_up()
        except BaseException:
            self.stop()
            raise

    def _make_folder(self) -> None:
        user = self._system_user()
        prefix = f"sessionpersist-{type(self).__name__.lower()}-"
        self._folder = Path(tempfile.mkdtemp(prefix=prefix, dir=temp_folder_open_to(user))).resolve()
        if self.tls:
            self._certificates = make_certificates(self._folder)
        self._give_away(self._folder)

    def _fill_data(self, make: Callable[[], None]) -> None:
        """Make the data folder, or copy the first one that was made in this way."""
        data, unused = self.folder / "data", unused_data() / make.__qualname__
        with unused.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be making it
            if not unused.exists():
                make()
                copy = Path(shutil.copytree(data, unused.with_suffix(".copy")))
                copy.rename(unused)
                return
        shutil.copytree(unused, data)
        self._give_away(data)

    def _launch_on_free_port(self) -> None:
        for tries_left in reversed(range(PORT_TRIES)):
            self.port = free_port()
            self._launch()
            try:
                self._wait(self._answers)
                break
            except ServerError:
                # Someone may have taken the port between the choice and the start.
                if self.running or is_free(self.port) or not tries_left:
                    raise

    def _launch(self) -> None:
        self._process = self._run(self._command())

    def _run(self, command: list[str]) -> GuardedProcess:
        try:
            return GuardedProcess(command, self.folder, self._system_user(), self.log_file)
        except ChildProcessError as error:
            raise self._failure("did not start") from error

    def _run_to_end(self, command: list[str]) -> None:
        """Runs a tool of the server, such as initdb, under the same guard and user."""
        process = self._run(command)
        try:
            if process.wait(START_SECONDS):
                raise self._failure(f"could not be prepared by {Path(command[0]).name}")
        finally:
            process.kill()

    def _wait(self, check: Callable[[], None], pause: float = 0.03) -> None:
        """Calls `check` until it raises nothing, and waits for `pause` seconds in between; gives up if the process ends
        or the time is over."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return check()
            except Exception as error:  # every driver has its own
                if not (self.external or self.running):
                    raise self._failure("ended while it started") from error
                if time.monotonic() > deadline:
                    raise self._failure(f"did not answer within {START_SECONDS:.0f} s ({error})") from error
            time.sleep(pause)

    def _end(self) -> None:
        if self._process is not None:
            self._process.end(self.stop_signal)
        self._process = None

    def _own_process(self) -> GuardedProcess:
        self._check_own()
        if self._process is None or not self._process.alive:
            raise ServerError(f"{self!r} does not run.")
        return self._process

    def _check_own(self) -> None:
        if self.external:
            raise ServerError(
                f"{self!r} is named by {self.variable}: it is not ours to stop, pause or restart."
            )
        if self._owner != os.getpid():
            raise ServerError(
                f"{self!r} belongs to process {self._owner}, which alone may stop or restart it."
            )

    def wait_until(self, check: Callable[[], bool]) -> None:
        """Return once this is so; one that raises asks a server that is still starting up."""
        give_up = time.monotonic() + START_SECONDS
        while True:
            with suppress(Exception):
                if check():
                    return
            if time.monotonic() > give_up:
                raise self._failure("did not come together")
            time.sleep(0.05)

    def _failure(self, what: str) -> ServerError:
        tail = "" if self.external else f" The end of its log:\n{self.log_tail()}"
        return ServerError(f"{self!r} {what}.{tail}")

    def _write_private(self, name: str, text: str) -> Path:
        """Writes a file that holds a secret, readable by the server and by nobody else."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        self._give_away(path)
        return path

    def _give_away(self, path: Path) -> None:
        """Makes the server's user the owner of the path and of all that is in it."""
        if user := self._system_user():
            for each in (path, *path.rglob("*")):
                shutil.chown(each, user, pwd.getpwnam(user).pw_gid)

    @classmethod
    def _system_user(cls) -> str:
        """The user to run it as when we are root and it refuses that; else nothing."""
        return "nobody" if cls.refuses_root and os.geteuid() == 0 else ""

    @classmethod
    def _find_external_url(cls, tls: bool) -> str | None:
        return os.environ.get(cls.variable) or None if cls.variable and not tls else None

    @classmethod
    def _or_external(cls) -> str:
        return f", or set {cls.variable} to the URL of one" if cls.variable else ""

    def _read_url(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or LOOPBACK
        self.port = parts.port or self.port
        self.username = self.admin_username = unquote(parts.username or "")
        self.password = self.admin_password = unquote(parts.password or "")
        self.database = unquote(parts.path.lstrip("/")) or self.database

    def _url_options(self) -> str:
        return ""
