"""REDIS: a central Redis (6.2 or newer) or Valkey, through django-redis' connection factory.

One string a session: a fixed header, the user id and the payload, so that a read is one GET. What depends on the
present record is a Lua script, which the server runs atomically. Every key has a TTL.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any, Self

import redis

from sessionpersist import conf
from sessionpersist.exceptions import ForeignRecord, StoreUnavailable
from sessionpersist.stores.base import (
    ENDED,
    LONGEST_USER_ID,
    MAX_PAYLOAD_BYTES,
    PLACE,
    Check,
    Outcome,
    Probed,
    Record,
    new_place,
    note_foreign,
    now_ms,
    place_of,
    validated,
)
from sessionpersist.stores.hosts import check_literal
from sessionpersist.stores.redis import scripts
from sessionpersist.stores.redis.errors import ONE_NODE, WrongType, explain
from sessionpersist.stores.redis.scripts import Script
from sessionpersist.stores.redis.wire import SMALL, Command, Unexpected, Wire
from sessionpersist.stores.secret import Secret
from sessionpersist.stores.servers import check_address, check_reachable, check_speaks_tls
from sessionpersist.stores.settings import RedisSettings, reveal

# version (8 bytes), created_at (8), expires_at (8), length of the user id (2); all big-endian. The scripts know it.
HEADER = struct.Struct(">QQQH")
PAGE = 100  # keys that one step of a scan reads, if their records are small: bounded memory
PAGE_BYTES = 2 * 1024 * 1024  # of records that are read together; a larger one comes alone
COUNTED_TOGETHER = 1000  # keys; the server answers nobody else for about a millisecond
LONGEST_VALUE = HEADER.size + 4 * LONGEST_USER_ID + MAX_PAYLOAD_BYTES  # bytes; a character takes up to four
LAST_BYTE = str(LONGEST_VALUE).encode()  # to be read: one that no record has
LARGEST_VALUE = LONGEST_VALUE + SMALL  # bytes of an answer
LARGEST_PAGE = LARGEST_VALUE + PAGE_BYTES
OUTCOMES = {0: Outcome.MISSING, 1: Outcome.CONFLICT, 2: Outcome.SAVED}  # by what REPLACE returns


class RedisStore(Probed):
    name = "REDIS"

    def __init__(
        self, settings: RedisSettings, password: str, timeout: float, prefix: str, ca_file: str | None = None
    ) -> None:
        """``password`` is the real one; ``timeout`` in seconds is for a verb, from the name to the last byte."""
        password = Secret(password)
        check_address(self.name, settings.host, settings.port)
        self.settings, self.timeout, self.prefix = settings, timeout, prefix
        self._secret = password
        self._wire = Wire(settings, password, timeout, ca_file)

    @classmethod
    def of(cls, settings: RedisSettings) -> Self:
        check_literal(settings.host)
        password, timeout = reveal(settings.password), conf.timeout_seconds()
        return cls(settings, password, timeout, conf.key_prefix(), conf.get("TLS_CA_FILE"))

    def get(self, key: str) -> Record | None:
        try:
            value = self._command("GETRANGE", self._name(key), b"0", LAST_BYTE, most=LARGEST_VALUE)
            record = unpack(value) if value else None
        except (ForeignRecord, WrongType):
            note_foreign(self.name)
            return None
        return record if record and record.expires_at > now_ms() else None

    def create(self, key: str, record: Record) -> bool:
        name, value, life = self._name(key), pack(record), ttl(record.expires_at)
        give_up = monotonic() + self.timeout
        created = self._command("SET", name, value, "PX", life, "NX", give_up=give_up)
        if created is not None:
            return self._is_ok(created)
        # Taken, unless what is there has expired and the server's clock has not come to it.
        return self._script(scripts.REUSE, name, now_ms(), value, life, give_up=give_up) == 1

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        new, life = pack(record), ttl(record.expires_at)
        answer = self._script(scripts.REPLACE, self._name(key), now_ms(), packed(expected), new, life)
        if answer not in OUTCOMES:
            raise self._explained(answer)
        return OUTCOMES[answer]

    def touch(self, key: str, expires_at: int) -> bool:
        return self._script(scripts.TOUCH, self._name(key), now_ms(), expires_at, ttl(expires_at)) == 1

    def delete(self, key: str, version: int | None = None) -> bool:
        only = b"" if version is None else packed(version)
        return self._script(scripts.DELETE, self._name(key), now_ms(), only) == 1

    def end(self, key: str, expires_at: int) -> None:
        ended = pack(Record(b"", ENDED, now_ms(), expires_at))
        self._is_ok(self._command("SET", self._name(key), ended, "PX", ttl(expires_at)))

    def clear_expired(self) -> int:
        return 0

    def scan(self) -> Iterator[tuple[str, Record | None]]:
        """See Drainable.scan(). While the server resizes its table, a record may come twice."""
        for keys in self._pages():
            yield from self._records(keys)

    def count(self, at_most: int | None = None) -> int:
        total = 0
        for keys in self._pages(COUNTED_TOGETHER):
            counted = self._together(scripts.COUNT, keys)
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
        answers = self._commands(commands) if commands else []
        return {key for key, answer in zip(records, answers, strict=True) if answer == b"OK"}

    def delete_many(self, versions: Mapping[str, int]) -> set[str]:
        deleted = self._together(scripts.DELETE_MANY, versions, *map(packed, versions.values()))
        if type(deleted) is not list or len(deleted) != len(versions):
            raise self._explained(deleted)
        return {key for key, done in zip(versions, deleted, strict=True) if done != 1}

    def prepare(self) -> None:
        made = self._command("SET", self._name(PLACE), new_place(), "NX")
        if made is not None:  # else it was there
            self._is_ok(made)

    def place(self) -> str | None:
        try:
            return place_of(self._command("GET", self._name(PLACE)))
        except WrongType:
            return None

    def connection_checks(self) -> Iterable[Check]:
        yield from check_reachable(self.settings.host, self.settings.port, self.timeout)
        yield "Authenticate", self._check_login
        yield "Kind of server", self._check_kind
        yield "Scripts", self._check_scripts

    def warnings(self) -> Iterable[str]:
        memory, persistence = self._information("memory"), self._information("persistence")
        if memory.get("maxmemory", "0") != "0" and memory.get("maxmemory_policy") != "noeviction":
            yield (
                f"Under memory pressure this server evicts keys ({memory['maxmemory_policy']}), live sessions among "
                "them: users would be logged out. Set maxmemory-policy to noeviction."
            )
        if persistence.get("aof_enabled") != "1":
            yield (
                "This server does not keep every write over a restart (appendonly is off): a restart can log users "
                "out. Set appendonly to yes."
            )

    def close(self) -> None:
        self._wire.close()

    def _name(self, key: str) -> str:
        return f"{self.prefix}:{key}"

    def _pages(self, size: int = PAGE) -> Iterator[list[str]]:
        """The stored keys of this site's records, at most so many at a time.

        Where this site's prefix is ``shop``, the pattern also matches what a site ``shop:staging`` keeps, and the id of
        the place; their names look different, as all stored keys look alike.
        """
        ours = re.compile(re.escape(self._name("").encode()) + rb"([0-9a-f]{64})")  # see sealing.stored_key()
        pattern = re.sub(r"([\\*?\[\]^-])", r"\\\1", self._name("")) + "*"
        cursor: object = b"0"
        while True:
            before, answer = cursor, self._command("SCAN", cursor, "MATCH", pattern, "COUNT", size)
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
            now = now_ms()
            for key, value in zip(keys, page, strict=False):
                try:
                    record = unpack(value) if value is not None else None
                except ForeignRecord:
                    yield key, None
                else:
                    if record is not None and record.expires_at > now:
                        yield key, record
            keys = keys[len(page) :]

    def _together(self, script: Script, keys: Collection[str], *arguments: Any) -> Any:
        """Run a script on several records at once."""
        names = map(self._name, keys)
        return self._command("EVAL", script.text, len(keys), *names, now_ms(), *arguments, most=LARGEST_PAGE)

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
            server = self._information("server")
        except StoreUnavailable as error:
            if error.answered:
                return  # this user may not ask; the verbs will show
            raise
        mode = server.get("redis_mode") or server.get("server_mode")  # Valkey's
        if mode == "sentinel":
            raise StoreUnavailable("This is a Sentinel. Enter the REDIS server that it watches.", "port")
        if mode == "cluster":
            raise StoreUnavailable(ONE_NODE, "host")

    def _check_scripts(self) -> None:
        self._command("EVAL", "return struct.unpack('>I8', struct.pack('>I8', 1))", 0)

    def _information(self, section: str) -> dict[str, str]:
        """What INFO says about a section."""
        text = self._command("INFO", section)
        if type(text) is not bytes:
            raise self._explained(text)
        lines = text.decode("utf-8", "replace").splitlines()
        return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}

    def _command(self, *words: Any, give_up: float = 0.0, most: int = SMALL) -> Any:
        """Send one command and return the answer, of at most so many bytes, with errors translated."""
        try:
            answer = self._wire.ask((words,), give_up, most)[0]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            answer = error
        if isinstance(answer, Exception):
            raise self._explained(answer)
        return answer

    def _script(self, script: Script, name: str, *arguments: Any, give_up: float = 0.0) -> int:
        """Run a script by its hash; a server that does not know it is given its text."""
        begun = monotonic()
        try:
            answer = self._wire.ask((("EVALSHA", script.sha, 1, name, *arguments),), give_up)[0]
            if isinstance(answer, redis.exceptions.NoScriptError):
                give_up = give_up or begun + self.timeout
                answer = self._wire.ask((("EVAL", script.text, 1, name, *arguments),), give_up)[0]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            answer = error
        if type(answer) is int:
            return answer
        raise self._explained(answer)

    def _commands(self, commands: Sequence[Command]) -> list[Any]:
        """Send several commands and return their answers; an error is an answer, too."""
        try:
            return self._wire.ask(commands)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            failure = self._explained(error)
        raise failure

    def _explained(self, answer: object) -> Exception:
        """What to raise instead of an error, or of an answer that a server can't give."""
        error = answer if isinstance(answer, Exception) else Unexpected(f"a {type(answer).__name__}")
        return explain(error, self.settings, self._secret)


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


def packed(version: int) -> bytes:
    """Return a version as the header holds it."""
    return version.to_bytes(8, "big")


def ttl(expires_at: int) -> int:
    """How long the server shall keep a key, in milliseconds; relative, so that its clock need not agree with ours."""
    return max(1, expires_at - now_ms())
