"""`make demo`: two nodes of the site and three real stores on this machine, to switch between by hand.

The nodes share one PostgreSQL for their configuration, as two machines behind a load balancer would. All of
it lies in a temporary folder and is gone afterwards.
"""

import argparse
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.servers import MongoDB, Postgres, Server, ServerError, Valkey
from tests.servers.places import LOOPBACK, is_free
from tests.servers.process import GuardedProcess

ROOT = Path(__file__).resolve().parent.parent
PORTS = (8001, 8002)
STORES: tuple[type[Server], ...] = (Valkey, Postgres, MongoDB)
CONFIGURATION_PAGE = "/admin/sessionpersist/loginconfiguration/"
REPORTS = "reports"

NOTE = """\
Your browser sends one cookie to all nodes, as it would to a load balancer. In-Memory keeps a login on one node:
choose another store before you visit the next node. Ctrl-C stops everything.
"""

START_SECONDS = 30.0
LOOK_SECONDS = 0.5
LOG_LINES = 25

Environment = Mapping[str, str]


class DemoError(Exception):
    """The demo cannot go on; the text says why to a person."""


class Node:
    """One gunicorn with its own name and memory, which stands for one machine."""

    def __init__(self, number: int, port: int, folder: Path, environment: Environment) -> None:
        self.name = f"node-{number}"
        self.url = f"http://{LOOPBACK}:{port}"
        self.log_file = folder / f"{self.name}.log"
        memory = folder / f"{self.name}-memory"
        memory.mkdir(mode=0o700)
        own = {**environment, "NODE_NAME": self.name, "MEMORY_DIR": str(memory)}
        self._process = GuardedProcess(self._command(port), folder, "", self.log_file, own)

    def _command(self, port: int) -> list[str]:
        options = {
            "bind": f"{LOOPBACK}:{port}",
            "workers": 2,
            "threads": 4,
            "graceful-timeout": 2,
            "chdir": ROOT,
        }
        gunicorn = [sys.executable, "-m", "gunicorn", "project.wsgi", "--no-control-socket"]
        return [*gunicorn, *(f"--{name}={value}" for name, value in options.items())]

    def wait_until_up(self) -> None:
        """Returns once the node answers over HTTP; DemoError if it ends first or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not answers(f"{self.url}/healthz"):
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"{self.name} did not answer within {START_SECONDS:.0f} s.{self._log_tail()}")
            time.sleep(0.1)

    def check(self) -> None:
        """Raises DemoError if the node has ended."""
        if not self._process.alive:
            raise DemoError(f"{self.name} has ended.{self._log_tail()}")

    def stop(self) -> None:
        self._process.end(signal.SIGTERM)

    def _log_tail(self) -> str:
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([" The end of its log:", *lines])


def answers(url: str) -> bool:
    """Whether anything but a server error comes back from this address."""
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - an address of our own
            return True
    except urllib.error.HTTPError as error:
        with error:
            return error.code < 500
    except OSError:
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo until Ctrl-C or SIGTERM (0), or until something fails (1)."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(parse(arguments))
    except KeyboardInterrupt:
        print("\nStopped.")
    except (DemoError, ServerError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: Sequence[str] | None) -> list[int]:
    """The ports of the nodes, from the command line."""
    parser = argparse.ArgumentParser(prog="make demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--ports",
        nargs="+",
        default=PORTS,
        metavar="PORT",
        help=f"one node a port (default: {PORTS[0]} {PORTS[1]}); with make: ARGS='--ports 9001 9002 9003'",
    )
    return [port_of(text) for text in parser.parse_args(arguments).ports]


def port_of(text: str | int) -> int:
    """The number of a port; DemoError if there is none of that number."""
    try:
        port = int(text)
    except ValueError:
        port = 0
    if not 0 < port < 65536:
        raise DemoError(f"“{text}” is not a port: choose numbers from 1 to 65535 with --ports.")
    return port


def run(ports: Sequence[int]) -> None:
    """Starts everything, says what is where, and watches the nodes; stops everything on the way out."""
    check_possible(ports)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sessionpersist-demo-")))
        print("Starting Valkey, PostgreSQL and MongoDB …", flush=True)
        # Plain passwords, which a double click selects.
        valkey = stack.enter_context(Valkey(password=secrets.token_hex(8)))
        postgres = stack.enter_context(Postgres(password=secrets.token_hex(8)))
        mongodb = stack.enter_context(MongoDB(password=secrets.token_hex(8)))
        environment = site_environment(postgres)
        manage(environment, "migrate", "--no-input", "--verbosity=0")
        account = manage(environment, "create_dev_staff", f"--password-file={folder / 'password'}")
        print(f"Starting {len(ports)} nodes …", flush=True)
        nodes = stack.enter_context(running_nodes(ports, folder, environment))
        print(describe(nodes, account, valkey, postgres, mongodb), flush=True)
        watch(nodes)


def check_possible(ports: Sequence[int]) -> None:
    """Raises DemoError with what stands in the way, before anything is started."""
    for port in ports:
        if not is_free(port):
            raise DemoError(f"Port {port} is in use: end what listens there, or choose others with --ports.")
    if len(set(ports)) < len(ports):
        raise DemoError("Each node needs a port of its own.")
    for cls in STORES:
        if reason := cls.available():
            raise DemoError(reason)


def site_environment(postgres: Postgres) -> dict[str, str]:
    """What all nodes share: one secret key, one configuration database, one more database to choose."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DATABASE_URL")}
    return {
        **kept,
        "ENV_FILE": "",  # a developer's .env is not for the demo
        "DEBUG": "1",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "ALLOWED_HOSTS": "*",
        "DATABASE_URL": postgres.url,
        f"DATABASE_URL_{REPORTS.upper()}": postgres.create_database(REPORTS),
        "PYTHONUNBUFFERED": "1",
    }


def manage(environment: Environment, *arguments: str) -> str:
    """Runs a management command and returns what it printed; DemoError with its complaint if it fails."""
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"manage.py {arguments[0]} failed:\n{done.stderr.strip()}")
    return done.stdout


@contextmanager
def running_nodes(ports: Sequence[int], folder: Path, environment: Environment) -> Iterator[list[Node]]:
    """The nodes, each answering; stopped at the end."""
    with ExitStack() as stack:
        nodes = []
        for number, port in enumerate(ports, start=1):
            nodes.append(Node(number, port, folder, environment))
            stack.callback(nodes[-1].stop)
        for node in nodes:
            node.wait_until_up()
        yield nodes


def watch(nodes: Sequence[Node]) -> None:
    """Returns never: a node that ends raises DemoError, Ctrl-C and SIGTERM raise KeyboardInterrupt."""
    while True:
        for node in nodes:
            node.check()
        time.sleep(LOOK_SECONDS)


def describe(
    nodes: Sequence[Node], account: str, valkey: Valkey, postgres: Postgres, mongodb: MongoDB
) -> str:
    """The block that tells a person where to go and what to type into the form."""
    redis = {
        "Host": valkey.host,
        "Port": valkey.port,
        "Password": valkey.password,
        "Database": valkey.database,
    }
    mongo = {
        "Database name": mongodb.database,
        "Host": mongodb.host,
        "Port": mongodb.port,
        "User name": mongodb.username,
        "Password": mongodb.password,
        "Authentication database": mongodb.auth_source,
    }
    databases = {"Database": f"default or {REPORTS}", "(server)": f"{postgres.host}:{postgres.port}"}
    logs = {node.name: node.log_file for node in nodes}
    logs |= {server.title: server.log_file for server in (valkey, postgres, mongodb)}
    sections = [
        section("Nodes", {node.name: f"{node.url}/" for node in nodes}),
        section("Login Configuration", {"page": nodes[0].url + CONFIGURATION_PAGE}),
        section("Staff account", dict(line.split(":", 1) for line in account.splitlines() if ":" in line)),
        section("REDIS (Valkey)", redis),
        section("JDBC (PostgreSQL)", databases),
        section("MONGODB", mongo),
        section("Logs", logs),
    ]
    return "\n".join(["", *sections, NOTE])


def section(title: str, rows: Mapping[str, object]) -> str:
    """A title and its rows in two columns, with an empty line after them."""
    return "\n".join([title, *(f"  {name:<12} {str(value).strip()}" for name, value in rows.items()), ""])


if __name__ == "__main__":
    sys.exit(main())
