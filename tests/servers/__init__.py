"""Real servers for tests and for the demo: on the loopback, with a password, gone when their parent is.

    with Postgres() as server:
        connect(server.url)

`shared(Postgres)` is one that this process keeps until it ends;
`require(Postgres)` skips a test where there is none.

Tests run in several processes, each with servers of its own, so that no test meets what another has put on a server,
paused or killed: one starts in a second at the most. Several servers that make one, such as a cluster, take longer:
give all tests that use it the same group, `pytest.mark.xdist_group("cluster")`, and one process runs them, with the one
cluster that `shared` starts there, and that conftest.py stops after the last of them.
"""

import atexit
import os
import threading
from typing import TypeVar

from tests.servers.base import Server, ServerError
from tests.servers.cluster import Cluster
from tests.servers.galera import Galera
from tests.servers.mariadb import MariaDB
from tests.servers.mongodb import MongoDB
from tests.servers.postgres import Postgres, Standby
from tests.servers.redis import Redis, Valkey
from tests.servers.replica_set import ReplicaSet
from tests.servers.sentinel import Watched

__all__ = [
    "ALL",
    "Cluster",
    "Galera",
    "MariaDB",
    "MongoDB",
    "Postgres",
    "Redis",
    "ReplicaSet",
    "Server",
    "ServerError",
    "Standby",
    "Valkey",
    "Watched",
    "require",
    "shared",
    "stop_those_of_several",
]

ALL: tuple[type[Server], ...] = (Valkey, Redis, Postgres, MariaDB, MongoDB)
SEVERAL = (Cluster, Galera, ReplicaSet, Watched)

AnyServer = TypeVar("AnyServer", bound=Server)

_shared: dict[tuple[type[Server], bool], Server] = {}
_lock = threading.Lock()


def shared(cls: type[AnyServer], *, tls: bool = False) -> AnyServer:
    """The server of this class that the process keeps, started at first use and stopped at exit.

    A forked process gets the one of its parent. Who kills, pauses or fills it puts that right again.
    """
    with _lock:
        server = _shared.get((cls, tls))
        if server is None:
            server = _shared[cls, tls] = cls(tls=tls).start()
            atexit.register(server.stop)
    assert isinstance(server, cls)
    return server


def stop_those_of_several() -> None:
    """Stop what is shared and is several servers in one: members that talk to each other are never idle."""
    with _lock:
        for key in [each for each in _shared if issubclass(each[0], SEVERAL)]:
            _shared.pop(key).stop()


def require(cls: type[Server], *, tls: bool = False) -> None:
    """Skips the running test if the server is not available; fails it where REQUIRE_SERVERS=1 is set."""
    import pytest

    if reason := cls.available(tls=tls):
        if os.environ.get("REQUIRE_SERVERS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
