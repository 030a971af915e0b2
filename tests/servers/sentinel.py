"""Valkey with replicas that Sentinels watch, all on the loopback."""

import os
import secrets
from contextlib import ExitStack, suppress
from typing import Any, ClassVar

from tests.servers.base import Server, ServerError
from tests.servers.redis import Valkey

NAME = "main"
# Milliseconds; the default, 30,000, would make the tests of a fail-over slow. A Sentinel asks a new primary for the
# first time after 1,000: with that it often takes it for dead, and fails over a second time, which loses writes.
DOWN_AFTER = 3000


class Sentinel(Valkey):
    """One Sentinel, with a password of its own."""

    title = "Valkey with Sentinels"

    def __init__(self, primary: Valkey, password: str) -> None:
        super().__init__(password=password)
        self.primary = primary

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def _command(self) -> list[str]:
        path = self.folder / "sentinel.conf"
        if not path.exists():  # it keeps there what it has found out
            self._write_private(path.name, self._text())
        return [str(self.find_program()), str(path), "--sentinel"]

    def _text(self) -> str:
        watched = self.primary
        settings = [
            f"bind {self.host}",
            f"port {self.port}",
            f'requirepass "{self.password}"',
            f'sentinel sentinel-pass "{self.password}"',
            f"dir {self.folder / 'data'}",
            f"sentinel monitor {NAME} {watched.host} {watched.port} 2",
            f'sentinel auth-pass {NAME} "{watched.password}"',
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER}",
            f"sentinel failover-timeout {NAME} 5000",
        ]
        return "\n".join(settings) + "\n"


class Replica(Valkey):
    """A server that begins as a replica of another."""

    title = "Valkey with Sentinels"

    def __init__(self, primary: Valkey) -> None:
        super().__init__(password=primary.password)
        self.primary = primary

    def _settings(self) -> dict[str, Any]:
        return (
            super()._settings()
            | replication(self.password)
            | {"replicaof": f"{self.primary.host} {self.primary.port}"}
        )


def replication(password: str) -> dict[str, Any]:
    # A primary that is told to end would wait for replicas that hang, by default for 10 seconds.
    return {"masterauth": f'"{password}"', "repl-diskless-sync-delay": 0, "shutdown-timeout": 1}


class Watched(Valkey):
    """A primary, which is this one at first, replicas and Sentinels."""

    title = "Valkey with Sentinels"
    sentinel_count: ClassVar[int] = 3

    def __init__(self, *, tls: bool = False, password: str | None = None, replicas: int = 2) -> None:
        if tls:
            raise ServerError("The Sentinels are started without TLS here.")
        super().__init__(password=password)
        self.sentinel_password = secrets.token_urlsafe(16)
        self.replica_count = replicas
        self.replicas: list[Replica] = []
        self.sentinels: list[Sentinel] = []

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | replication(self.password)

    @property
    def servers(self) -> list[Valkey]:
        """Those that keep data, whatever their state."""
        return [self, *self.replicas]

    @property
    def nodes(self) -> str:
        """The addresses of the Sentinels, one a line."""
        return "\n".join(each.address for each in self.sentinels)

    def _set_up(self) -> None:
        Server._set_up(self)
        self.replicas += [Replica(self).start() for _ in range(self.replica_count)]
        self.sentinels += [Sentinel(self, self.sentinel_password).start() for _ in range(self.sentinel_count)]
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Return once the Sentinels know of each other, agree on the primary, and all others follow it."""
        self.wait_until(lambda: all(map(self._is_whole, self.sentinels)))

    def _is_whole(self, sentinel: Sentinel) -> bool:
        with sentinel.connect() as client:
            state = client.sentinel_masters()[NAME]
            replicas = client.sentinel_slaves(NAME)
        up = [each for each in replicas if not each["is_sdown"] and each["master-link-status"] == "ok"]
        return (
            state["port"] == self.primary().port
            and state["flags"] == "master"
            and state["num-other-sentinels"] == self.sentinel_count - 1
            and len(up) == len(self.replicas)
        )

    def primary(self) -> Valkey:
        """The one that the Sentinels name."""
        for each in self.sentinels:
            with suppress(Exception), each.connect() as client:
                _, port = client.sentinel_get_master_addr_by_name(NAME)
                return next(server for server in self.servers if server.port == port)
        raise self._failure("has no primary")

    def fail_over(self, *, coordinated: bool = False) -> None:
        """Have the Sentinels make another primary, as in maintenance, and return at once."""
        words = ("COORDINATED",) if coordinated else ()
        with self.sentinels[0].connect() as client:
            client.execute_command("SENTINEL", "FAILOVER", NAME, *words)

    def wait_for_primary(self, other_than: Valkey) -> Valkey:
        """Return the primary as soon as it is another one, which says so itself."""
        self.wait_until(lambda: self.primary() is not other_than and says_primary(self.primary()))
        return self.primary()

    def heal(self) -> None:
        """Bring everything back, and wait until all is together again."""
        for each in (*self.servers, *self.sentinels):
            if each.running:
                each.resume()
            else:
                each.start()
        self.wait_until_whole()

    def stop(self) -> None:
        with ExitStack() as stack:
            stack.callback(super().stop)
            if self._owner == os.getpid():
                for each in (*self.replicas, *self.sentinels):
                    stack.callback(each.stop)


def says_primary(server: Valkey) -> bool:
    """Whether a server takes itself for a primary."""
    with server.connect() as client:
        return bool(client.execute_command("ROLE")[0] == b"master")
