"""REDIS on several servers: the stores for Sentinel and for Cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import redis
from redis.sentinel import MasterNotFoundError

from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores.addresses import Address, addresses
from sessionpersist.stores.allowed_hosts import check_literal
from sessionpersist.stores.base import Check, Outcome, Record, Rotation, Saving, Store, now_ms
from sessionpersist.stores.credentials import Credentials
from sessionpersist.stores.guarded import Parted
from sessionpersist.stores.reachability import check_speaks_tls
from sessionpersist.stores.redis import scripts
from sessionpersist.stores.redis.cluster import ClusterLink
from sessionpersist.stores.redis.scripts import Script
from sessionpersist.stores.redis.sentinel import PrimaryWire, Sentinels
from sessionpersist.stores.redis.store import (
    COUNTED_TOGETHER,
    LARGEST_PAGE,
    PAGE,
    PAGE_BYTES,
    RedisStore,
    counted_of,
    living,
    pack,
    packed,
    replicas_in_words,
    ttl,
)
from sessionpersist.stores.redis.wire import Command, Link, Wire, options_of, pool_of_one

AT_A_TIME = 10  # servers that a probe asks at once
SHOWN = 30  # nodes that a probe shows


class SeveralStore(RedisStore):
    """What Sentinel and Cluster have in common: a list of servers of which each can tell where the others are."""

    kind: str  # what those servers are

    @cached_property
    def seeds(self) -> list[Address]:
        """The servers that were entered. Raises StoreMisconfigured."""
        found = addresses(self.settings.nodes)
        for each in found:
            check_literal(each.host)
        return found

    def _silent(self) -> list[tuple[Address, Exception]]:
        """Ask each server that was entered, and return those that can't tell, and why. Where none can, raises that."""
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            found = list(zip(self.seeds, pool.map(self._reason, self.seeds), strict=True))
        silent = [(address, reason) for address, reason in found if reason is not None]
        if len(silent) == len(self.seeds):
            raise silent[0][1]
        return silent

    def _reason(self, seed: Address) -> Exception | None:
        """Why this server can't tell, or None."""
        raise NotImplementedError

    def _or_tls(self, seed: Address, reason: Exception) -> Exception:
        """Return why a server can't tell; where it hung up because it wants TLS, that."""
        if isinstance(reason, StoreUnavailable) and reason.connection_lost and not self.settings.tls:
            try:
                check_speaks_tls(seed.host, seed.port, self.timeout)
            except StoreUnavailable as better:
                return better
        return reason

    def _check_seeds(self) -> str:
        count = len(self.seeds) - len(self._silent())
        return f"{count} of {len(self.seeds)} answer"

    def _warnings_of_seeds(self) -> Iterator[str]:
        for address, reason in self._silent():
            yield f"The {self.kind} at {address} can't tell where the sessions are: {reason}"

    def _warnings_of_replicas(self, replication: Mapping[str, str], server: str) -> Iterable[str]:
        yield from super()._warnings_of_replicas(replication, server)
        if replicas_in_words(replication) == "no replica":
            yield f"{server} has no replica: while it is down, its sessions can't be reached."

    def _look_at(self, address: Address, options: Mapping[str, Any], database: int = 0) -> str:
        """Return the role of a node, for staff."""
        wire = Wire(partial(pool_of_one, *address, database, options), self.timeout)
        try:
            found = self._information("replication", wire)
        finally:
            wire.close()
        if found.get("role") == "master":
            return f"primary, {replicas_in_words(found)}"
        state = "" if found.get("master_link_status") == "up" else ", which has lost its primary"
        return f"replica{state}"

    def _look_at_replica(self, address: Address, options: Mapping[str, Any]) -> str:
        """The same, of one without which the store works."""
        try:
            return self._look_at(address, options)
        except StoreUnavailable as error:
            return f"replica, not reached: {error}"


class SentinelStore(SeveralStore):
    """The server that Sentinels name."""

    kind = "Sentinel"
    _wire: PrimaryWire

    def _connected(self) -> Link:
        settings = self.settings
        if not settings.sentinel_name:
            raise StoreMisconfigured(
                "Enter the name that the Sentinels watch the primary by.", "sentinel_name"
            )
        login = Credentials(settings.sentinel_username, settings.sentinel_password, field="sentinel_password")
        self._sentinel_login = login
        self._sentinel_options = options_of(login, self._certificates, self.timeout)
        sentinels = Sentinels(settings.sentinel_name, self.seeds, self._sentinel_options)
        options = {**self._options, "db": settings.database}
        return PrimaryWire(settings.sentinel_name, sentinels, options, self.timeout, settings.wait_replicas)

    def connection_checks(self) -> Iterable[Check]:
        if self._certificates:
            yield "Certificates", self._certificates.check
        yield from self._tls_check(self.seeds)
        yield "Sentinels", self._check_seeds
        primary: list[Address] = []
        yield "Primary", lambda: self._find_primary(primary)
        yield "Authenticate", self._check_login
        yield "Kind of server", self._check_kind
        for address in primary:
            yield f"Server {address}", partial(self._look_at, address, self._options)
        for address in self._replicas()[0]:
            yield f"Server {address}", partial(self._look_at_replica, address, self._options)
        yield "Scripts", self._check_scripts

    def warnings(self) -> Iterable[str]:
        yield from self._warnings_of_seeds()
        if len(self.seeds) == 1:
            yield "Only one Sentinel is entered: while it is down, no new connection is made. Enter the others, too."
        yield from super().warnings()
        if (reason := self._replicas()[1]) is not None:
            yield f"The Sentinels do not tell which replicas there are, and they were not looked at: {reason}"

    def _reason(self, seed: Address) -> Exception | None:
        wire = Wire(partial(pool_of_one, *seed, 0, self._sentinel_options), self.timeout)
        name = self.settings.sentinel_name
        try:
            answer = wire.ask([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)])[0]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            answer = error
        finally:
            wire.close()
        if isinstance(answer, list):
            return None
        if "unknown command" in str(answer):
            return StoreUnavailable("This is a REDIS server, and no Sentinel.", "nodes")
        if answer is None:
            return StoreUnavailable(f"It watches nothing that is called “{name}”.", "sentinel_name")
        return self._or_tls(seed, self._explained_of_sentinel(answer))

    def _explained(self, answer: object) -> Exception:
        if isinstance(answer, MasterNotFoundError) and isinstance(answer.__cause__, Exception):
            return self._explained_of_sentinel(answer.__cause__)
        return super()._explained(answer)

    def _explained_of_sentinel(self, answer: object) -> Exception:
        failure = self._explained(answer)
        if isinstance(failure, StoreUnavailable) and failure.field in ("username", "password"):
            failure.field = f"sentinel_{failure.field}"
            failure.args = (str(failure).replace("REDIS", "Sentinel"),)
        return failure

    def _secrets(self) -> Sequence[str]:
        return [*super()._secrets(), *self._sentinel_login.secrets]

    def _find_primary(self, found: list[Address]) -> str:
        try:
            found.append(self._wire.primary())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            failure = self._explained_of_sentinel(error)
        else:
            return str(found[0])
        raise failure

    def _replicas(self) -> tuple[list[Address], Exception | None]:
        """Return where the replicas are; or nothing, and why."""
        try:
            return self._wire.replica_addresses()[:SHOWN], None
        except Exception as error:  # noqa: BLE001 - the store works without
            return [], self._explained_of_sentinel(error)

    def _check_login(self) -> None:
        self._command("PING")


class ClusterStore(SeveralStore, Parted):
    """The nodes of a Cluster. A record is on the node that has the slot of its key; a drain goes to all of them."""

    kind = "node"
    _wire: ClusterLink

    def _connected(self) -> Link:
        if self.settings.database:
            raise StoreMisconfigured("A REDIS Cluster has the database 0 only.", "database")
        if set(self.prefix) & set("{}"):
            raise StoreMisconfigured(
                "With a REDIS Cluster, KEY_PREFIX must not contain braces: all sessions would be on one node."
            )
        return ClusterLink(self.seeds, self._options, self.timeout, self.settings.wait_replicas)

    def rotate(self, old_key: str, version: int | None, new_key: str, record: Record) -> Rotation:
        """See Store.rotate(). No script takes keys of two slots, which are on different nodes most of the time."""
        return Store.rotate(self, old_key, version, new_key, record)

    def end_and_replace(
        self, ended: Mapping[str, int], until: int, key: str, record: Record, expected: int
    ) -> Outcome:
        """See Store.end_and_replace(). Each record is on a node of its own most of the time."""
        return Store.end_and_replace(self, ended, until, key, record, expected)

    def save_both(self, first: Saving, second: Saving) -> tuple[Outcome, Outcome | None]:
        """See Store.save_both(). Each record is on a node of its own most of the time."""
        return Store.save_both(self, first, second)

    def part_of(self, key: str) -> str:
        """Return which server a record is on, as far as that is known; "" where it is not."""
        return self._wire.part_of(self._name(key))

    def count(self, at_most: int | None = None, *, rosters: bool = False) -> int:
        """See Drainable.count(). That there is none is said only where no slot was being moved, as its keys could have
        been overlooked."""
        before = self._moves()
        total = 0
        for page in self._pages(COUNTED_TOGETHER):
            answers = self._each(scripts.COUNT, counted_of(page, rosters))
            total += sum(self._number(answer) for answer in answers)
            if at_most is not None and total >= at_most:
                return at_most
        if total == 0 and self._moves() != before:
            raise StoreUnavailable(
                "Slots of the REDIS Cluster are being moved: whether a session is left can't be told.",
                answered=True,
            )
        return total

    def create_many(self, records: Mapping[str, Record]) -> set[str]:
        """See Store.create_many(). What a server refuses is not created: whoever tries it alone is told why."""
        named: list[tuple[str, Command]] = [
            (name, ("SET", name, pack(record), "PX", ttl(record.expires_at), "NX"))
            for key, record in records.items()
            for name in [self._name(key)]
        ]
        answers = self._ask_each(named, writes=True)
        return {key for key, answer in zip(records, answers, strict=True) if answer == b"OK"}

    def delete_many(self, versions: Mapping[str, int]) -> set[str]:
        own = [(packed(version),) for version in versions.values()]
        answers = self._each(scripts.DELETE_MANY, list(versions), own, writes=True)
        return {key for key, done in zip(versions, answers, strict=True) if self._only(done) != 1}

    def connection_checks(self) -> Iterable[Check]:
        if self._certificates:
            yield "Certificates", self._certificates.check
        yield from self._tls_check(self.seeds)
        yield "Nodes", self._check_seeds
        primaries: list[Wire] = []
        yield "Cluster", lambda: self._find_nodes(primaries)
        yield "Authenticate", self._check_login
        for wire in primaries[:SHOWN]:
            yield f"Node {wire.address}", partial(self._look_at, wire.address, self._options)
        for address in self._wire.replicas_at[:SHOWN]:
            yield f"Node {address}", partial(self._look_at_replica, address, self._options)
        yield "Scripts", self._check_scripts

    def warnings(self) -> Iterable[str]:
        yield from self._warnings_of_seeds()
        for wire in self._primaries():
            yield from self._warnings_of(wire, f"The node at {wire.address}")
            if self._refuses_all(wire):
                yield (
                    f"The node at {wire.address} refuses every session once one shard is lost. "
                    "Set cluster-require-full-coverage to no, so that the users of the other shards notice nothing."
                )

    def _reason(self, seed: Address) -> Exception | None:
        try:
            self._command("CLUSTER", "INFO", wire=self._wire.node(seed))
        except StoreUnavailable as error:
            return self._or_tls(seed, error)
        return None

    def _refuses_all(self, wire: Wire) -> bool:
        """Whether a node takes no request while a slot has nobody. Where this user may not ask, that is not known."""
        try:
            answer = self._command("CONFIG", "GET", "cluster-require-full-coverage", wire=wire)
        except StoreUnavailable as error:
            if error.answered:
                return False
            raise
        return isinstance(answer, list) and answer[1:] == [b"yes"]

    def _find_nodes(self, found: list[Wire]) -> str:
        found += self._primaries()
        count = len(self._wire.replicas_at)
        return f"{len(found)} primaries, {count} {'replica' if count == 1 else 'replicas'}"

    def _check_login(self) -> None:
        for wire in self._primaries():
            self._command("PING", wire=wire)

    def _check_scripts(self) -> None:
        for wire in self._primaries():
            self._command("EVAL", "return struct.unpack('>I8', struct.pack('>I8', 1))", 0, wire=wire)

    def _primaries(self) -> list[Wire]:
        try:
            return self._wire.primaries()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            failure = self._explained(error)
        raise failure

    def _moves(self) -> list[str]:
        """Return what the primaries say of their own slots. It differs while one is moved, and from itself."""
        found = []
        for wire in self._primaries():
            text = self._command("CLUSTER", "NODES", wire=wire)
            lines = text.decode("utf-8", "replace").splitlines() if type(text) is bytes else []
            own = [line.split(" ", 8)[8:] for line in lines if "myself" in line]
            found.append(f"{wire.address} {own}")
            if "->-" in found[-1] or "-<-" in found[-1]:
                found.append(f"{now_ms()} moving")
        return found

    def _pages(self, size: int = PAGE) -> Iterator[list[str]]:
        for wire in self._primaries():
            yield from self._pages_of(wire, size)

    def _records(self, keys: Sequence[str]) -> Iterator[tuple[str, Record | None]]:
        """Read several records, a page of bounded size at a time: each that lives, and None for a foreign one."""
        names = list(map(self._name, keys))
        lengths = self._ask_each([(name, ("STRLEN", name)) for name in names])
        for page in _within(PAGE_BYTES, list(zip(keys, map(_length, lengths), strict=True))):
            values = self._each(scripts.PAGE, page, [(PAGE_BYTES,)] * len(page))
            yield from living(zip(page, map(self._only, values), strict=True))

    def _each(
        self,
        script: Script,
        keys: Sequence[str],
        own: Sequence[tuple[Any, ...]] = (),
        *,
        writes: bool = False,
    ) -> list[Any]:
        """Run a script on each record alone, as records that are together in a script must be in one slot. ``own`` are
        its arguments for each, after the time. An error is an answer, too."""
        arguments = own or [()] * len(keys)
        now = now_ms()

        def commands(verb: str, code: str, places: Iterable[int]) -> list[tuple[str, Command]]:
            names = [(at, self._name(keys[at])) for at in places]
            return [(name, (verb, code, 1, name, now, *arguments[at])) for at, name in names]

        answers = self._ask_each(commands("EVALSHA", script.sha, range(len(keys))), writes=writes)
        unknown = [at for at, each in enumerate(answers) if isinstance(each, redis.exceptions.NoScriptError)]
        told = self._ask_each(commands("EVAL", script.text, unknown), writes=writes)
        for at, answer in zip(unknown, told, strict=True):
            answers[at] = answer
        return answers

    def _ask_each(self, named: Sequence[tuple[str, Command]], *, writes: bool = False) -> list[Any]:
        ask: Callable[[Sequence[Any]], list[Any]] = partial(
            self._wire.ask_each, most=LARGEST_PAGE, writes=writes
        )
        return self._commands(ask, named) if named else []

    def _only(self, answer: object) -> Any:
        """Return what a script that takes many says of one."""
        if type(answer) is not list or len(answer) != 1:
            raise self._explained(answer)
        return answer[0]

    def _number(self, answer: object) -> int:
        if type(answer) is not int or answer not in (0, 1):
            raise self._explained(answer)
        return answer


def _length(answer: object) -> int:
    """The bytes of a value; 0 for what has none, and is read all the same."""
    return answer if type(answer) is int else 0


def _within(limit: int, lengths: Collection[tuple[str, int]]) -> Iterator[list[str]]:
    """Gather keys whose values take at most so many bytes together; a larger one comes alone."""
    page: list[str] = []
    total = 0
    for key, length in lengths:
        if page and total + length > limit:
            yield page
            page, total = [], 0
        page.append(key)
        total += length
    if page:
        yield page
