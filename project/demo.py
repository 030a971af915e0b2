"""`make demo`: two nodes of the site and three real stores on this machine, to switch between by hand.

The nodes share one PostgreSQL for their configuration, as two machines behind a load balancer would. With
`--cluster`, `--sentinel` or `--replica-set` they begin on a store of several servers, one of which can be killed
to see it fail over. With `--tour` a person is led through it. All of it lies in a temporary folder and is gone
afterwards.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from project import demo_stores
from project.demo_stores import Store
from project.tour import CONFIGURATION_PAGE, Tour, steps
from tests.servers import MongoDB, Postgres, Server, ServerError, Valkey
from tests.servers.places import LOOPBACK, is_free
from tests.servers.process import GuardedProcess

ROOT = Path(__file__).resolve().parent.parent
PORTS = (8001, 8002)
REPORTS = "reports"

NOTE = """\
Your browser sends one cookie to all nodes, as it would to a load balancer. In-Memory keeps a login on one node:
choose another store before you visit the next node. Ctrl-C stops everything.
"""

KILLED = """\
Kill a primary and reload a page: for up to {seconds} seconds some answers are a 503, then another server has
taken over, and you are still logged in. Test connection shows who is the primary. A server that was killed
comes back after {away:.0f} seconds, as a replica.
"""

START_SECONDS = 30.0
LOOK_SECONDS = 0.5
AWAY_SECONDS = 30.0  # before a server that was killed is started again
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


@dataclass(frozen=True)
class Chosen:
    """What the command line says: the ports of the nodes, which store of several servers to begin on, and whether there
    is to be a tour."""

    ports: Sequence[int]
    several: str | None = None
    tour: bool = False


def parse(arguments: Sequence[str] | None) -> Chosen:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="make demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--ports",
        nargs="+",
        default=PORTS,
        metavar="PORT",
        help=f"one node a port (default: {PORTS[0]} {PORTS[1]}); with make: ARGS='--ports 9001 9002 9003'",
    )
    several = parser.add_mutually_exclusive_group()
    for name, (cls, _) in demo_stores.SEVERAL.items():
        text = f"begin on a {cls.title} as well, which you can see fail over; with make: ARGS=--{name}"
        several.add_argument(f"--{name}", dest="several", action="store_const", const=name, help=text)
    several.add_argument(
        "--tour", action="store_true", help="be led through it, step by step; with make: ARGS=--tour"
    )
    found = parser.parse_args(arguments)
    return Chosen([port_of(text) for text in found.ports], found.several, found.tour)


def port_of(text: str | int) -> int:
    """The number of a port; DemoError if there is none of that number."""
    try:
        port = int(text)
    except ValueError:
        port = 0
    if not 0 < port < 65536:
        raise DemoError(f"“{text}” is not a port: choose numbers from 1 to 65535 with --ports.")
    return port


def run(chosen: Chosen) -> None:
    """Starts everything, says what is where, and watches it; stops everything on the way out."""
    check_possible(chosen)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sessionpersist-demo-")))
        print("Starting Valkey, PostgreSQL and MongoDB …", flush=True)
        valkey = stack.enter_context(Valkey(password=demo_stores.new_password()))
        postgres = stack.enter_context(Postgres(password=demo_stores.new_password()))
        mongodb = stack.enter_context(MongoDB(password=demo_stores.new_password()))
        several = started(chosen.several, stack)
        environment = site_environment(postgres)
        manage(environment, "migrate", "--no-input", "--verbosity=0")
        account = manage(environment, "create_dev_staff", f"--password-file={folder / 'password'}")
        if several:
            environment |= several.variables
            at_once = {
                **environment,
                "ACTIVATION_SECONDS": "0",
            }  # no node runs yet that would have to be told
            manage(at_once, "login_configuration", "set", *several.options)
        print(f"Starting {len(chosen.ports)} nodes …", flush=True)
        environment["NODE_URLS"] = ",".join(f"http://{LOOPBACK}:{port}" for port in chosen.ports)
        nodes = stack.enter_context(running_nodes(chosen.ports, folder, environment))
        stores = [*demo_stores.single(valkey, mongodb), *([several] if several else [])]
        logs = {server.title: server.log_file for server in (valkey, postgres, mongodb)}
        print(describe(nodes, account, postgres, stores, logs), flush=True)
        tour = guided(nodes, account, valkey) if chosen.tour else None
        watch(nodes, several.members if several else (), tour.listen if tour else time.sleep)


def guided(nodes: Sequence[Node], account: str, valkey: Valkey) -> Tour:
    """The tour, at its first step."""
    name, password = rows_of(account).values()
    tour = Tour(steps([node.url for node in nodes], name, password, valkey))
    tour.begin()
    return tour


def rows_of(account: str) -> dict[str, str]:
    """What `create_dev_staff` has said."""
    lines = [line.split(":", 1) for line in account.splitlines() if ":" in line]
    return {name: value.strip() for name, value in lines}


def started(name: str | None, stack: ExitStack) -> Store | None:
    """The store of several servers of that name, running until the stack is closed."""
    if name is None:
        return None
    cls, start = demo_stores.SEVERAL[name]
    print(f"Starting a {cls.title} …", flush=True)
    return start(stack)


def check_possible(chosen: Chosen) -> None:
    """Raises DemoError with what stands in the way, before anything is started."""
    for port in chosen.ports:
        if not is_free(port):
            raise DemoError(f"Port {port} is in use: end what listens there, or choose others with --ports.")
    if len(set(chosen.ports)) < len(chosen.ports):
        raise DemoError("Each node needs a port of its own.")
    if chosen.tour and len(chosen.ports) < 2:
        raise DemoError("The tour needs two nodes: give --ports two numbers, or leave it out.")
    several = [demo_stores.SEVERAL[chosen.several][0]] if chosen.several else []
    for cls in (*demo_stores.SINGLE, *several):
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


def watch(nodes: Sequence[Node], members: Sequence[Server], wait: Callable[[float], object]) -> None:
    """Returns never: a node that ends raises DemoError, Ctrl-C and SIGTERM raise KeyboardInterrupt.

    A member of a store that ends is started again after a while. `wait` is given the seconds between two looks.
    """
    ended: dict[Server, float] = {}
    while True:
        for node in nodes:
            node.check()
        for member in members:
            bring_back(member, ended)
        wait(LOOK_SECONDS)


def bring_back(member: Server, ended: dict[Server, float]) -> None:
    """Starts a server that has been down for long enough; `ended` says since when each is (monotonic seconds)."""
    if member.running:
        return
    now = time.monotonic()
    if member not in ended:
        ended[member] = now
        print(f"{address_of(member)} is down.", flush=True)
    elif now > ended[member] + AWAY_SECONDS:
        del ended[member]
        member.start()
        print(f"{address_of(member)} is back. To kill it again: {kill_command(member)}", flush=True)


def describe(
    nodes: Sequence[Node],
    account: str,
    postgres: Postgres,
    stores: Sequence[Store],
    logs: Mapping[str, Path],
) -> str:
    """The block that tells a person where to go and what to type into the form."""
    databases = {"Database": f"default or {REPORTS}", "(server)": address_of(postgres)}
    sections = [
        section("Nodes", {node.name: f"{node.url}/" for node in nodes}),
        section("Login Configuration", {"page": nodes[0].url + CONFIGURATION_PAGE}),
        section("Staff account", rows_of(account)),
        section("JDBC (PostgreSQL)", databases),
        *(section(store.title, store.rows) for store in stores),
        section("Logs", {**{node.name: node.log_file for node in nodes}, **logs}),
        *(how_to_kill(store) for store in stores if store.members),
    ]
    return "\n".join(["", *sections, NOTE])


def how_to_kill(store: Store) -> str:
    """The members of a store as `kill` takes them, and what there is to see then."""
    roles = {member: "primary" if member in store.primaries else "replica" for member in store.members}
    rows = {address_of(member): f"{kill_command(member)}  {role}" for member, role in roles.items()}
    text = KILLED.format(seconds=store.seconds, away=AWAY_SECONDS)
    return "\n".join([section(f"{store.title}, which the nodes begin on", rows), text])


def kill_command(server: Server) -> str:
    """What ends a server as a crash would."""
    return f"kill -9 {server.processes()[0]}"


def address_of(server: Server) -> str:
    return f"{server.host}:{server.port}"


def section(title: str, rows: Mapping[str, object]) -> str:
    """A title and its rows in two columns, with an empty line after them."""
    width = max([12, *map(len, rows)])
    texts = {name: str(value).strip().replace("\n", f"\n{' ' * (width + 3)}") for name, value in rows.items()}
    return "\n".join([title, *(f"  {name:<{width}} {text}" for name, text in texts.items()), ""])


if __name__ == "__main__":
    sys.exit(main())
