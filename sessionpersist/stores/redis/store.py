"""REDIS: a central Redis (6.2 or newer) or Valkey, through django-redis' connection factory.

One string a session: a fixed header, the user id and the payload, so that a read is one GET. What depends on the
present record is a Lua script, which the server runs atomically. Every key has a TTL.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import redis
from django.utils.module_loading import import_string

from sessionpersist import conf
from sessionpersist.exceptions import ForeignRecord, StoreMisconfigured, StoreUnavailable
from sessionpersist.stores.addresses import Address
from sessionpersist.stores.allowed_hosts import check_literal
from sessionpersist.stores.base import (
    LONGEST_USER_ID,
    MAX_PAYLOAD_BYTES,
    PLACE,
    ROSTER,
    Check,
    Outcome,
    Probed,
    Record,
    Rotation,
    Saving,
    ended_record,
    is_roster,
    new_place,
    note_foreign,
    now_ms,
    place_of,
    validated,
)
from sessionpersist.stores.certificates import Certificates
from sessionpersist.stores.credentials import Credentials, credentials_of, fixed
from sessionpersist.stores.reachability import check_address, check_reachable, check_speaks_tls, shake_hands
from sessionpersist.stores.redis import scripts
from sessionpersist.stores.redis.errors import A_SENTINEL, ONE_NODE, explain, is_foreign
from sessionpersist.stores.redis.scripts import Script
from sessionpersist.stores.redis.wire import (
    ADDRESS,
    SMALL,
    Command,
    Link,
    Unexpected,
    Wire,
    options_of,
    pool_of_one,
)
from sessionpersist.stores.settings import CLUSTER, SENTINEL, RedisSettings

# version (8 bytes), created_at (8), expires_at (8), length of the user id (2); all big-endian. The scripts know it.
HEADER = struct.Struct(">QQQH")
PAGE = 100  # keys that one step of a scan reads, if their records are small: bounded memory
PAGE_BYTES = 2 * 1024 * 1024  # of records that are read together; a larger one comes alone
COUNTED_TOGETHER = 1000  # keys; the server answers nobody else for about a millisecond
LONGEST_VALUE = HEADER.size + 4 * LONGEST_USER_ID + MAX_PAYLOAD_BYTES  # bytes; a character takes up to four
LAST_BYTE = str(LONGEST_VALUE).encode()  # to be read: one that no record has
LARGEST_VALUE = LONGEST_VALUE + SMALL  # bytes of an answer
LARGEST_PAGE = LARGEST_VALUE + PAGE_BYTES
SEVERAL = {
    SENTINEL: "sessionpersist.stores.redis.several.SentinelStore",
    CLUSTER: "sessionpersist.stores.redis.several.ClusterStore",
}
T = TypeVar("T")

PING = b"PING\r\n"  # every server answers it at once, be it with a refusal
# By what REPLACE returns.
OUTCOMES = {-1: Outcome.MISSING, 0: Outcome.MISSING, 1: Outcome.CONFLICT, 2: Outcome.SAVED}
# By what SAVE_BOTH returns.
OUTCOMES_OF_BOTH: dict[int, tuple[Outcome, Outcome | None]] = {
    0: (Outcome.MISSING, None),
    1: (Outcome.CONFLICT, None),
    2: (Outcome.SAVED, Outcome.MISSING),
    3: (Outcome.SAVED, Outcome.CONFLICT),
    4: (Outcome.SAVED, Outcome.SAVED),
}
# By what ROTATE returns.
ROTATIONS = {0: Rotation.TAKEN, 1: Rotation.LEFT, 2: Rotation.DONE}


class RedisStore(Probed):
    blocks = False
    name = "REDIS"

    def __init__(
        self,
        settings: RedisSettings,
        credentials: Credentials | str,
        timeout: float,
        prefix: str,
        ca_file: str | None = None,
    ) -> None:
        """``credentials`` may be the real password, which then stays; ``timeout`` in seconds is for a verb, from the
        name to the last byte. ``ca_file`` counts where the settings name none.

        Raises StoreMisconfigured.
        """
        self.settings, self.timeout, self.prefix = settings, timeout, prefix
        if not isinstance(credentials, Credentials):
            credentials = fixed(settings.username, credentials)
        self._credentials = credentials
        self._certificates = certificates_of(settings, ca_file)
        self._options = options_of(credentials, self._certificates, timeout)
        self._wire = self._connected()

    @classmethod
    def of(cls, settings: RedisSettings) -> RedisStore:
        kind: type[RedisStore] = import_string(SEVERAL[settings.mode]) if settings.mode in SEVERAL else cls
        credentials, timeout = credentials_of(settings), conf.timeout_seconds()
        return kind(settings, credentials, timeout, conf.key_prefix(), conf.get("TLS_CA_FILE"))

    def get(self, key: str) -> Record | None:
        try:
            name = self._name(key)
            value = self._command("GETRANGE", name, b"0", LAST_BYTE, most=LARGEST_VALUE, name=name)
            record = unpack(value) if value else None
        except (ForeignRecord, StoreUnavailable) as error:
            if not is_foreign(error):
                raise
            note_foreign(self.name)
            return None
        return record if record and record.expires_at > now_ms() else None

    def create(self, key: str, record: Record) -> bool:
        name, value, life = self._name(key), pack(record), ttl(record.expires_at)
        give_up = monotonic() + self.timeout
        created = self._command("SET", name, value, "PX", life, "NX", give_up=give_up, name=name, writes=True)
        if created is not None:
            return self._is_ok(created)
        # Taken, unless what is there has expired and the server's clock has not come to it.
        return self._script(scripts.REUSE, [name], now_ms(), value, life, give_up=give_up) == 1

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        new, life = pack(record), ttl(record.expires_at)
        answer = self._script(scripts.REPLACE, [self._name(key)], now_ms(), packed(expected), new, life)
        return self._meaning(answer, OUTCOMES)

    def touch(self, key: str, expires_at: int) -> bool:
        return self._script(scripts.TOUCH, [self._name(key)], now_ms(), expires_at, ttl(expires_at)) == 1

    def delete(self, key: str, version: int | None = None) -> bool:
        only = b"" if version is None else packed(version)
        return self._script(scripts.DELETE, [self._name(key)], now_ms(), only) == 1

    def end(self, key: str, expires_at: int, reason: int = 0) -> None:
        name, ended = self._name(key), pack(ended_record(expires_at, reason))
        self._is_ok(self._command("SET", name, ended, "PX", ttl(expires_at), name=name, writes=True))

    def rotate(self, old_key: str, version: int | None, new_key: str, record: Record) -> Rotation:
        if self.settings.wait_replicas:
            # The new record is confirmed before the old one goes: nobody has been told the new key yet.
            return super().rotate(old_key, version, new_key, record)
        names, only = [self._name(old_key), self._name(new_key)], b"" if version is None else packed(version)
        new, life = pack(record), ttl(record.expires_at)
        return self._meaning(self._script(scripts.ROTATE, names, now_ms(), only, new, life), ROTATIONS)

    def end_and_replace(
        self, ended: Mapping[str, int], until: int, key: str, record: Record, expected: int
    ) -> Outcome:
        names = [self._name(each) for each in (key, *ended)]
        ends = [pack(ended_record(until, reason)) for reason in ended.values()]
        own = (now_ms(), packed(expected), pack(record), ttl(record.expires_at))
        return self._meaning(self._script(scripts.END_AND_REPLACE, names, *own, ttl(until), *ends), OUTCOMES)

    def save_both(self, first: Saving, second: Saving) -> tuple[Outcome, Outcome | None]:
        if second.old_key and self.settings.wait_replicas:
            return super().save_both(first, second)  # see rotate()
        names = [self._name(each) for each in (first.key, second.key, second.old_key) if each]
        own: list[Any] = [now_ms()]
        for _, record, expected, _ in (first, second):
            own += (b"" if expected is None else packed(expected), pack(record), ttl(record.expires_at))
        return self._meaning(self._script(scripts.SAVE_BOTH, names, *own), OUTCOMES_OF_BOTH)

    def scan(self) -> Iterator[tuple[str, Record | None]]:
        """See Drainable.scan(). While the server resizes its table, a record may come twice."""
        for keys in self._pages():
            yield from self._records(keys)

    def count(self, at_most: int | None = None, *, rosters: bool = False) -> int:
        total = 0
        for page in self._pages(COUNTED_TOGETHER):
            counted = self._together(scripts.COUNT, counted_of(page, rosters))
            if type(counted) is not int or counted < 0:
                raise self._explained(counted)
            total += counted
            if at_most is not None and total >= at_most:
                return at_most
        return total

    def get_many(self, keys: Collection[str]) -> dict[str, Record]:
        return {key: record for key, record in self._records(list(keys)) if record is not None}

    def create_many(self, records: Mapping[str, Record]) -> set[str]:
        """See Drainable.create_many(). What the server refuses is not created: whoever tries it alone is told why."""
        commands = [
            ("SET", self._name(key), pack(record), "PX", ttl(record.expires_at), "NX")
            for key, record in records.items()
        ]
        answers = self._commands(self._wire.write, commands) if commands else []
        return {key for key, answer in zip(records, answers, strict=True) if answer == b"OK"}

    def delete_many(self, versions: Mapping[str, int]) -> set[str]:
        deleted = self._together(scripts.DELETE_MANY, versions, *map(packed, versions.values()), writes=True)
        if type(deleted) is not list or len(deleted) != len(versions):
            raise self._explained(deleted)
        return {key for key, done in zip(versions, deleted, strict=True) if done != 1}

    def prepare(self) -> None:
        name = self._name(PLACE)
        made = self._command("SET", name, new_place(), "NX", name=name, writes=True)
        if made is not None:  # else it was there
            self._is_ok(made)

    def place(self) -> str | None:
        try:
            return place_of(self._command("GET", name := self._name(PLACE), name=name))
        except StoreUnavailable as error:
            if not is_foreign(error):
                raise
            return None

    def connection_checks(self) -> Iterable[Check]:
        if self._certificates:
            yield "Certificates", self._certificates.check
        yield from check_reachable(self.settings.host, self.settings.port, self.timeout)
        yield from self._tls_check([Address(self.settings.host, self.settings.port)])
        yield "Authenticate", self._check_login
        yield "Kind of server", self._check_kind
        yield "Scripts", self._check_scripts

    def warnings(self) -> Iterable[str]:
        yield from self._warnings_of(self._wire, "This server")

    def close(self) -> None:
        self._wire.close()

    def _tls_check(self, servers: Sequence[Address]) -> Iterator[Check]:
        """Yield the check of the handshake, before any login. Of several servers one that makes it is enough: each is
        looked at later."""
        if self._certificates is not None:
            yield "TLS", partial(self._shake_hands, servers, self._certificates)

    def _shake_hands(self, servers: Sequence[Address], certificates: Certificates) -> str:
        failure: Exception | None = None
        for server in servers:
            try:
                return shake_hands(server.host, server.port, self.timeout, certificates, ask=PING)
            except (OSError, ValueError) as error:
                vars(error)[ADDRESS] = server
                failure = self._explained(error)
        assert failure is not None  # there is a server
        raise failure

    def _connected(self) -> Link:
        """Return the way to the server."""
        settings = self.settings
        check_address(self.name, settings.host, settings.port)
        check_literal(settings.host)
        pool = partial(pool_of_one, settings.host, settings.port, settings.database, self._options)
        return Wire(pool, self.timeout, settings.wait_replicas)

    def _warnings_of(self, wire: Link, server: str) -> Iterable[str]:
        memory, persistence = self._information("memory", wire), self._information("persistence", wire)
        if memory.get("maxmemory", "0") != "0" and memory.get("maxmemory_policy") != "noeviction":
            policy = memory["maxmemory_policy"]
            yield (
                f"Under memory pressure {server[0].lower()}{server[1:]} evicts keys ({policy}), live sessions among "
                "them: users would be logged out. Set maxmemory-policy to noeviction."
            )
        if persistence.get("aof_enabled") != "1":
            yield (
                f"{server} does not keep every write over a restart (appendonly is off): a restart can log users out. "
                "Set appendonly to yes."
            )
        yield from self._warnings_of_replicas(self._information("replication", wire), server)

    def _warnings_of_replicas(self, replication: Mapping[str, str], server: str) -> Iterable[str]:
        replicas, waited = replicas_in_words(replication), self.settings.wait_replicas
        if replicas != "no replica" and not waited:
            yield (
                f"{server} has {replicas}, asynchronous: a fail-over can lose the last writes, a logout among "
                "them. Waiting for a replica prevents that."
            )
        if replicas == replicas_of(waited) != "no replica":
            yield (
                f"{server} has {replicas}, and each write waits for {waited}: once a replica is lost, every login, "
                "change and logout is a 503. Have one replica more than are waited for."
            )

    def _name(self, key: str) -> str:
        return f"{self.prefix}:{key}"

    def _pages(self, size: int = PAGE) -> Iterator[list[str]]:
        """The stored keys of this site's records, at most so many at a time."""
        return self._pages_of(self._wire, size)

    def _pages_of(self, wire: Link, size: int) -> Iterator[list[str]]:
        """Those on one server.

        Where this site's prefix is ``shop``, the pattern also matches what a site ``shop:staging`` keeps, and the id of
        the place; their names look different, as all stored keys look alike.
        """
        # See sealing.stored_key() and roster.roster_key().
        ours = re.compile(
            re.escape(self._name("").encode()) + rb"([0-9a-f" + ROSTER.encode() + rb"][0-9a-f]{63})"
        )
        pattern = re.sub(r"([\\*?\[\]^-])", r"\\\1", self._name("")) + "*"
        cursor: object = b"0"
        while True:
            before = cursor
            answer = self._command("SCAN", cursor, "MATCH", pattern, "COUNT", size, wire=wire)
            try:
                cursor, names = answer
                keys = [found[1].decode() for found in map(ours.fullmatch, names) if found]
            except (TypeError, ValueError):
                raise self._explained(answer) from None
            if type(cursor) is not bytes or cursor == before != b"0":
                raise self._explained(answer)  # else it would go on for ever
            for start in range(0, len(keys), size):  # the server may give more than it was asked for
                yield keys[start : start + size]
            if cursor == b"0":
                return

    def _records(self, keys: Sequence[str]) -> Iterator[tuple[str, Record | None]]:
        """Read several records, a page of bounded size at a time: each that lives, and None for a foreign one."""
        while keys:
            page = self._together(scripts.PAGE, keys, PAGE_BYTES)
            if type(page) is not list or not 0 < len(page) <= len(keys):
                raise self._explained(page)
            yield from living(zip(keys, page, strict=False))
            keys = keys[len(page) :]

    def _together(self, script: Script, keys: Collection[str], *arguments: Any, writes: bool = False) -> Any:
        """Run a script on several records at once."""
        names, ask = [self._name(each) for each in keys], self._wire.write if writes else self._wire.ask
        answer = self._run(ask, script, names, (now_ms(), *arguments), 0.0, LARGEST_PAGE)
        if isinstance(answer, Exception):
            raise self._explained(answer)
        return answer

    def _is_ok(self, answer: object) -> bool:
        if answer != b"OK":
            raise self._explained(answer)
        return True

    def _check_login(self) -> None:
        try:
            self._command("PING")
        except StoreUnavailable as error:
            if error.field == "port":
                check_speaks_tls(self.settings.host, self.settings.port, self.timeout)
            raise

    def _check_kind(self) -> None:
        """A Sentinel knows where a REDIS server is, and a node of a Cluster has some of the keys."""
        try:
            server = self._information("server", self._wire)
        except StoreUnavailable as error:
            if error.answered:
                return  # this user may not ask; the verbs will show
            raise
        mode = mode_of(server)
        if mode == "sentinel":
            raise StoreUnavailable(A_SENTINEL, "port")
        if mode == "cluster":
            raise StoreUnavailable(ONE_NODE, "host")

    def _check_scripts(self) -> None:
        self._command("EVAL", "return struct.unpack('>I8', struct.pack('>I8', 1))", 0)

    def _information(self, section: str, wire: Link) -> dict[str, str]:
        """What INFO says about a section."""
        text = self._command("INFO", section, wire=wire)
        if type(text) is not bytes:
            raise self._explained(text)
        lines = text.decode("utf-8", "replace").splitlines()
        return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}

    def _command(
        self,
        *words: Any,
        give_up: float = 0.0,
        most: int = SMALL,
        name: str = "",
        wire: Link | None = None,
        writes: bool = False,
    ) -> Any:
        """Send one command and return the answer, of at most so many bytes, with errors translated."""
        wire = wire or self._wire
        try:
            answer = (wire.write if writes else wire.ask)((words,), give_up, most, name)[0]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            answer = error
        if isinstance(answer, Exception):
            raise self._explained(answer)
        return answer

    def _script(self, script: Script, names: Sequence[str], *arguments: Any, give_up: float = 0.0) -> int:
        """Run a script that changes records of these names, and return its number."""
        if self.settings.wait_replicas:
            arguments = (*arguments, scripts.CONFIRMED)
        answer = self._run(self._wire.write, script, names, arguments, give_up, SMALL)
        if type(answer) is int:
            return answer
        raise self._explained(answer)

    def _meaning(self, answer: int, meanings: Mapping[int, T]) -> T:
        """Return what the number of a script says."""
        if answer not in meanings:
            raise self._explained(answer)
        return meanings[answer]

    def _run(
        self,
        ask: Callable[..., list[Any]],
        script: Script,
        names: Sequence[str],
        arguments: Sequence[Any],
        give_up: float,
        most: int,
    ) -> Any:
        """Run a script by its hash; a server that does not know it is given its text. An error is an answer, too."""
        begun, name = monotonic(), names[0] if names else ""
        own = (len(names), *names, *arguments)
        try:
            answer = ask((("EVALSHA", script.sha, *own),), give_up, most, name)[0]
            if isinstance(answer, redis.exceptions.NoScriptError):
                give_up = give_up or begun + self.timeout
                answer = ask((("EVAL", script.text, *own),), give_up, most, name)[0]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            answer = error
        return answer

    def _commands(
        self, ask: Callable[[Sequence[Command]], list[Any]], commands: Sequence[Command]
    ) -> list[Any]:
        """Send several commands and return their answers; an error is an answer, too."""
        try:
            return ask(commands)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            failure = self._explained(error)
        raise failure

    def _explained(self, answer: object) -> Exception:
        """What to raise instead of an error, or of an answer that a server can't give."""
        error = answer if isinstance(answer, Exception) else Unexpected(f"a {type(answer).__name__}")
        return explain(error, self.settings, self._secrets())

    def _secrets(self) -> Sequence[str]:
        """What no text may show."""
        return self._credentials.secrets


def certificates_of(settings: RedisSettings, ca_file: str | None) -> Certificates | None:
    """Return the files for TLS; None without TLS."""
    if not settings.tls:
        if settings.ca_file or settings.client_certificate or settings.client_key:
            raise StoreMisconfigured("A certificate is of use with TLS only: turn TLS on.", "tls")
        return None
    return Certificates(settings.ca_file or ca_file or "", settings.client_certificate, settings.client_key)


def mode_of(server: Mapping[str, str]) -> str:
    """Return the kind of a server by what INFO says of it: ``standalone``, ``sentinel``, ``cluster``, or ""."""
    return server.get("redis_mode") or server.get("server_mode") or ""  # the latter is Valkey's


def replicas_in_words(replication: Mapping[str, str]) -> str:
    """Return how many replicas a server has, by what INFO says of it."""
    return replicas_of(replication.get("connected_slaves", "0"))


def replicas_of(count: int | str) -> str:
    return {"0": "no replica", "1": "1 replica"}.get(str(count), f"{count} replicas")


def counted_of(keys: Sequence[str], rosters: bool) -> list[str]:
    """Return the keys that are counted: all, or those of sessions."""
    return [key for key in keys if rosters or not is_roster(key)]


def pack(record: Record) -> bytes:
    """Return the record as the bytes of one Redis string."""
    user = record.user_id.encode("utf-8", "replace")
    return (
        HEADER.pack(record.version, record.created_at, record.expires_at, len(user)) + user + record.payload
    )


def unpack(value: object) -> Record:
    """Return the record that ``pack`` made the bytes of. Raises ForeignRecord."""
    if type(value) is not bytes or len(value) < HEADER.size:
        raise ForeignRecord("Under this key lies something that is too short for a session.")
    version, created_at, expires_at, length = HEADER.unpack_from(value)
    payload = HEADER.size + length
    try:
        user_id = value[HEADER.size : payload].decode()
    except UnicodeDecodeError as error:
        raise ForeignRecord("Under this key lies something with a user id that is no text.") from error
    if payload > len(value):
        raise ForeignRecord("Under this key lies something that ends too early.")
    return validated(value[payload:], version, created_at, expires_at, user_id)


def living(found: Iterable[tuple[str, object]]) -> Iterator[tuple[str, Record | None]]:
    """Yield each record that has not expired, of what was read under keys; None for a foreign one."""
    now = now_ms()
    for key, value in found:
        try:
            record = unpack(value) if value is not None else None
        except ForeignRecord:
            yield key, None
        else:
            if record is not None and record.expires_at > now:
                yield key, record


def packed(version: int) -> bytes:
    """Return a version as the header holds it."""
    return version.to_bytes(8, "big")


def ttl(expires_at: int) -> int:
    """How long the server shall keep a key, in milliseconds; relative, so that its clock need not agree with ours."""
    return max(1, expires_at - now_ms())
