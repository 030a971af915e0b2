"""A MongoDB replica set of real members on the loopback."""

import os
import secrets
import time
from collections.abc import Collection
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, ClassVar

from tests.servers.base import START_SECONDS, ServerError
from tests.servers.mongodb import MongoDB

if TYPE_CHECKING:
    from pymongo import MongoClient

NAME = "rs"
LOOK_SECONDS = 0.15  # between two looks at members, each of which takes a new client of the driver
ELECTION_MILLISECONDS = 2000  # the default, 10,000, would make the tests of a fail-over slow


class Member(MongoDB):
    """One member. It has no users of its own: they come from the primary with the rest of the data."""

    title = "MongoDB replica set"
    name: ClassVar[str] = NAME
    variable = ""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def _command(self) -> list[str]:
        return [
            *super()._command(),
            f"--replSet={NAME}",
            f"--keyFile={self.folder / 'key'}",
            # A member that follows one that hangs looks for another after so long; the default is 5.
            "--setParameter=oplogNetworkTimeoutBufferSeconds=1",
        ]

    def _prepare(self) -> None:
        super()._prepare()
        self._write_private("key", self.key)

    def _set_up(self) -> None:
        pass

    def _client(self, *seconds: float, **login: Any) -> "MongoClient[dict[str, Any]]":
        return super()._client(*seconds, directConnection=True, **login)

    def stop(self) -> None:
        if self.running and self._owner == os.getpid():
            self.kill()  # there is nothing to save, and a primary would first look for an heir
        super().stop()

    def ping(self) -> None:
        self._answers()  # logging in takes a user, and to read one takes a member that is not starting up

    def wait_to_follow(self) -> None:
        """Return once it is part of its set again."""
        self._wait(self._follows, LOOK_SECONDS)

    def _follows(self) -> None:
        hello = self.hello()
        if not (hello.get("isWritablePrimary") or hello.get("secondary") or hello.get("arbiterOnly")):
            raise RuntimeError("It is not yet part of its set.")

    def hello(self) -> dict[str, Any]:
        """What this member says of itself and of the others."""
        with self._client() as client:
            return client.admin.command("hello")


class ReplicaSet(Member):
    """Three members, each of which may become the primary; this one is the first, and the first primary.

    ``kill``, ``pause`` and ``restart`` are this member's alone; those of ``others`` have the same. With
    ``arbiter=True`` the third has no data, and a vote.
    """

    size: ClassVar[int] = 3

    def __init__(self, *, tls: bool = False, password: str | None = None, arbiter: bool = False) -> None:
        if tls:
            raise ServerError("The replica set is started without TLS here.")
        super().__init__(secrets.token_hex(32))
        self.password = password or self.password
        self.arbiter = arbiter
        self.others: list[Member] = []

    @property
    def members(self) -> list[Member]:
        """All of them, whatever their state; an arbiter is the last."""
        return [self, *self.others]

    @property
    def nodes(self) -> list[str]:
        """The addresses of those that hold data, the first one's first."""
        return [each.address for each in self.members[: self.size - self.arbiter]]

    def _set_up(self) -> None:
        for _ in range(self.size - 1):
            self.others.append(Member(self.key).start())
        self._initiate()
        MongoDB._set_up(self)

    def _initiate(self) -> None:
        members = [{"_id": number, "host": each.address} for number, each in enumerate(self.members)]
        if self.arbiter:
            members[-1]["arbiterOnly"] = True
        config = {
            "_id": NAME,
            "members": members,
            "settings": {"electionTimeoutMillis": ELECTION_MILLISECONDS, "heartbeatIntervalMillis": 500},
        }
        with self._client() as client:
            client.admin.command("replSetInitiate", config)
        self.wait_for_primary()

    def primary(self, other_than: Collection[Member] = ()) -> Member | None:
        """The member that accepts writes, if one says so at this moment; of two that do, the newer one. Those others
        are not asked."""
        found: dict[Any, Member] = {}
        for each in (each for each in self.members if each.running and each not in other_than):
            with suppress(Exception):  # it hangs, or is starting up
                hello = each.hello()
                if hello.get("isWritablePrimary"):
                    found[hello["electionId"]] = each
        return found[max(found)] if found else None

    def wait_for_primary(self, other_than: Collection[Member] = ()) -> Member:
        """Return the primary as soon as there is one that is not among those, which are not asked."""
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up:
            if (found := self.primary(other_than)) is not None:
                return found
            time.sleep(LOOK_SECONDS)
        raise self._failure("has no primary")

    def wait_for_majority(self) -> None:
        """Return as soon as a majority confirms what is written: the others may still wait for a member that hangs."""
        self._wait(self._is_confirmed)

    def _is_confirmed(self) -> None:
        from pymongo import MongoClient

        login: dict[str, Any] = {
            "username": self.username,
            "password": self.password,
            "authSource": self.auth_source,
        }
        with MongoClient[dict[str, Any]](self.nodes, timeoutMS=500, **login) as client:
            client[self.database].command(
                "insert", "confirmed", documents=[{}], writeConcern={"w": "majority"}
            )

    def heal(self) -> None:
        """Bring every member back, and wait until all of them follow a primary."""
        for each in self.members:
            if each.running:
                each.resume()
            else:
                each.start()
        self.wait_for_primary()
        for each in self.members:
            each.wait_to_follow()

    def stop(self) -> None:
        with ExitStack() as stack:
            stack.callback(super().stop)
            for each in self.others:
                stack.callback(each.stop)
