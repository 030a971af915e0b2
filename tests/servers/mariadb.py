"""MariaDB from the system."""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.base import ANSWER_SECONDS, PING_SECONDS, Server
from tests.servers.places import on_path

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import Cursor


class MariaDB(Server):
    """`mariadbd` with a root account (`admin_username`) and an ordinary user that owns the database."""

    title = "MariaDB"
    package = "mariadb-server with the package manager of the system"
    variable = "TEST_MARIADB_URL"
    driver = "pymysql"
    scheme = "mysql"
    tls_missing = "MariaDB is started without TLS here."
    refuses_root = True

    # A commit is written at once and flushed later: it survives the death of the process, though not of the
    # machine.
    settings = (
        "--skip-log-bin",
        "--skip-name-resolve",
        "--innodb-flush-log-at-trx-commit=2",
        "--innodb-buffer-pool-size=64M",
        "--character-set-server=utf8mb4",
        "--max-connections=200",
    )

    @classmethod
    def find_program(cls) -> Path | None:
        return on_path("mariadbd") if on_path("mariadb-install-db") else None

    def _command(self) -> list[str]:
        return [
            str(self.find_program()),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--tmpdir={self.folder}",
            f"--pid-file={self.folder / 'server.pid'}",
            f"--bind-address={self.host}",
            f"--port={self.port}",
            "--socket=",  # none: the path of a temporary folder may be too long for one
            f"--init-file={self.folder / 'users.sql'}",
            *self.settings,
        ]

    def _prepare(self) -> None:
        self.admin_username, self.admin_password = "root", secrets.token_urlsafe(16)
        # Carried out at each start, before it listens: there is no moment with an empty password.
        self._write_private("users.sql", "".join(f"{line};\n" for line in self._users()))
        self._fill_data(self._install_db)

    def _install_db(self) -> None:
        self._run_to_end(
            [
                str(on_path("mariadb-install-db")),
                "--no-defaults",
                f"--datadir={self.folder / 'data'}",
                f"--tmpdir={self.folder}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
            ]
        )

    def _users(self) -> list[str]:
        """The statements that make the accounts and the database. The passwords hold no quotes."""
        return [
            f"CREATE USER IF NOT EXISTS root@'%' IDENTIFIED BY '{self.admin_password}'",
            "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION",
            "DROP USER IF EXISTS root@localhost, root@'127.0.0.1', root@'::1'",
            f"CREATE DATABASE IF NOT EXISTS `{self.database}`",
            f"CREATE USER IF NOT EXISTS `{self.username}`@'%' IDENTIFIED BY '{self.password}'",
            f"GRANT ALL ON `{self.database}`.* TO `{self.username}`@'%'",
            f"GRANT ALL ON `test\\_%`.* TO `{self.username}`@'%'",
        ]

    def create_database(self, name: str) -> str:
        """Creates a database that the user may do anything in, and returns its URL."""
        self._execute_as_admin(f"CREATE DATABASE `{name}`")
        if not self.external:
            self._execute_as_admin(f"GRANT ALL ON `{name}`.* TO `{self.username}`@'%'")
        return self.url_for(name)

    def connect(self, password: str | None = None, seconds: float = ANSWER_SECONDS) -> "Connection[Cursor]":
        """A connection in autocommit mode, as the user or with another password; close it after use."""
        return self._connect(
            seconds,
            user=self.username,
            password=self.password if password is None else password,
            database=self.database,
        )

    def ping(self) -> None:
        with self.connect(seconds=PING_SECONDS) as connection:
            connection.ping(reconnect=False)

    def _execute_as_admin(self, statement: str) -> None:
        with self._connect(user=self.admin_username, password=self.admin_password) as connection:
            connection.cursor().execute(statement)

    def _connect(self, seconds: float = ANSWER_SECONDS, **login: Any) -> "Connection[Cursor]":
        import pymysql

        return pymysql.connect(
            host=self.host,
            port=self.port,
            connect_timeout=seconds,
            read_timeout=seconds,
            autocommit=True,
            **login,
        )
