"""The contract of a store, in words and in types.

A store keeps records by their stored key and knows nothing else: not Django's sessions, not what a payload means, not
another store. Its answers are plain: a record or None, True or False, an Outcome. Each of them is a fact that the
store has vouched for. Whatever else happens is a StoreUnavailable (or StoreMisconfigured), raised with the driver's
error as its cause: "I could not look" is never told as "there is nothing".

- *Absent* and *expired* are the same to a caller; expiry is judged at every read, whatever the server does by itself.
- An *ended* record marks a session that was logged out while its record may still lie in another store. Its
  version is 0; it has no payload, can be read, and blocks its key: it can't be replaced, touched, deleted or created
  over.
- A *version* is a token, new at every write (see ``new_version``); to a store it means nothing but "the same" or not.
- Each verb that a request uses is one round trip and atomic on the server. Check-then-act is a bug.

All times are Unix times in whole milliseconds.
"""

from __future__ import annotations

import enum
import logging
import os
import re
import secrets
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, NamedTuple
from urllib.parse import quote

from sessionpersist.exceptions import ForeignRecord, SessionTooLarge, StoreMisconfigured, StoreUnavailable
from sessionpersist.stores import connecting
from sessionpersist.stores.hosts import NOT_ALLOWED, HostNotAllowed, check_addresses
from sessionpersist.stores.secret import Secret

# A session must be able to move to any of the stores. The tightest is MariaDB as it comes, with a max_allowed_packet of
# 16 MiB, through PyMySQL, which writes bytes in hexadecimal. A MongoDB document takes 16 MiB.
MAX_PAYLOAD_BYTES = 7 * 1024 * 1024
LONGEST_USER_ID = 255  # characters
LIMIT = 2**63  # versions and times fit into a signed 64-bit integer
ENDED = 0  # the version of an ended record
# The name of the record that carries the id of a place: no session has it, as a stored key has 64 characters.
PLACE = "place"
PLACE_ID = re.compile("[0-9a-f]{32}")
LONGEST_LINE = 300  # characters of what a server says that reach a page, a log or a terminal
LONGEST_TEXT = 2000  # of a whole message, most of which is ours: it may say what to run on a server
STORED_KEY = re.compile("[0-9a-f]{64}")
# What a REDIS server quotes of a command that it does not know: keys and values.
QUOTED = re.compile(", with args beginning with: .*", re.DOTALL)
URL_LOGIN = re.compile(r"(?<=://)[^\s/@]*:[^\s@]*@")
RANDOM_BITS = 40  # of a version; with the revision in front it fits the signed 64-bit integers of every store
COPY_BITS = 8  # of those, the last ones: drawn anew where a record is carried as it is

suspicious = logging.getLogger("django.security.SuspiciousSession")


def now_ms() -> int:
    """This node's clock, in milliseconds."""
    return time.time_ns() // 1_000_000


def new_version(revision: int = 0) -> int:
    """Return the version of a new write: the number of the revision in force, then 40 random bits (not all 0).

    Random, for two stores that count would reach the same number with different content. The revision says in which
    era of the site a record was written: during a handover the copy of the later era is the right one, and a record
    from before a store was last emptied is none. Revisions are numbered up to 2**23.
    """
    return revision << RANDOM_BITS | (int.from_bytes(os.urandom(RANDOM_BITS // 8)) or 1)


def restamped(version: int, revision: int) -> int:
    """Return the version of a record that is carried, as written under another revision: another one than that of any
    other carry, most likely, and with the token that is sealed with the payload."""
    return revision << RANDOM_BITS | token_of(version) << COPY_BITS | os.urandom(1)[0]


def token_of(version: int) -> int:
    """Return what stays of a version wherever its record is carried: 32 random bits."""
    return (version & ((1 << RANDOM_BITS) - 1)) >> COPY_BITS


def revision_of(version: int) -> int:
    """Return the number of the revision under which a version was written."""
    return version >> RANDOM_BITS


class Record(NamedTuple):
    """One session as a store keeps it."""

    payload: bytes
    version: int
    created_at: int
    expires_at: int
    user_id: str = ""

    @property
    def ended(self) -> bool:
        """True for a session that was logged out during a handover."""
        return self.version == ENDED


def validated(
    payload: object, version: object, created_at: object, expires_at: object, user_id: object
) -> Record:
    """Return the record of what a store has read: the one way in which any of them makes one.

    Raises ForeignRecord for values of another type or out of range, which this app has not written.
    """
    if (
        type(payload) is bytes
        and type(version) is int
        and type(created_at) is int
        and type(expires_at) is int
        and type(user_id) is str
        and 0 <= version < LIMIT
        and 0 <= created_at < LIMIT
        and 0 <= expires_at < LIMIT
        and len(payload) <= MAX_PAYLOAD_BYTES
        and len(user_id) <= LONGEST_USER_ID
    ):
        return Record(payload, version, created_at, expires_at, user_id)
    raise ForeignRecord("Under this key lies something that is not a session.")


def note_foreign(label: str) -> None:
    """Say in the log that a read has met a foreign record; without its key and its value."""
    suspicious.warning(
        "What lies in %s under the key of a session is not a session: it is passed over.", label
    )


class Outcome(enum.Enum):
    """What became of a replace."""

    SAVED = "the record is now the new one"
    CONFLICT = "the record has another version: read it, merge, try again"
    MISSING = "there is no live record: absent, expired or ended"


@dataclass(frozen=True)
class Step:
    """One step of a probe: what was tried, how long it took, and what came of it."""

    name: str
    ok: bool
    milliseconds: float
    message: str = ""
    field: str | None = None
    warning: bool = False
    detail: str = (
        ""  # the driver's own words, without secrets, for the log and for ``validate_connections -v 2``
    )


# A check is its name and what to run; it returns a remark, or None, and raises StoreUnavailable where it fails.
Check = tuple[str, Callable[[], "str | None"]]


class Store(ABC):
    """Keeps records. See the module's text for what every answer means."""

    name: ClassVar[str]

    @abstractmethod
    def get(self, key: str) -> Record | None:
        """Return the record, which may be an ended one; None where it is absent or expired."""

    @abstractmethod
    def create(self, key: str, record: Record) -> bool:
        """Write a new record. False: the key is taken, by a live or by an ended record, and nothing was written."""

    @abstractmethod
    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        """Write over the whole record whose version is ``expected``."""

    @abstractmethod
    def touch(self, key: str, expires_at: int) -> bool:
        """Move the expiry forward, never back. False: absent or ended."""

    @abstractmethod
    def delete(self, key: str, version: int | None = None) -> bool:
        """Delete a live record; with a version, only if it is still that one. False: nothing was deleted."""

    @abstractmethod
    def end(self, key: str, expires_at: int) -> None:
        """Write an ended record, whatever was there. Only during a handover."""

    @abstractmethod
    def clear_expired(self) -> int:
        """Delete expired records in small batches and return how many; 0 where the server does it by itself."""

    @abstractmethod
    def scan(self) -> Iterator[tuple[str, Record | None]]:
        """Yield every record that has not expired, ended ones too, in bounded memory; None for a foreign record.

        Records that are written or deleted meanwhile may be among them or not.
        """

    @abstractmethod
    def count(self, at_most: int | None = None) -> int:
        """Return how many live records there are; with ``at_most``, stop counting there."""

    def get_many(self, keys: Collection[str]) -> dict[str, Record]:
        """Return the records of several keys, for a drain; absent and expired ones are not among them."""
        return {key: record for key in keys if (record := self.get(key)) is not None}

    def create_many(self, records: Mapping[str, Record]) -> set[str]:
        """Create several, for a drain, and return the keys that were created. Each is atomic, not all together."""
        return {key for key, record in records.items() if self.create(key, record)}

    def delete_many(self, versions: Mapping[str, int]) -> set[str]:
        """Delete those that still have the given version, and return the keys that hold another record by now.

        A key that holds nothing may be among them.
        """
        return {key for key, version in versions.items() if not self.delete(key, version)}

    def prepare(self) -> None:  # noqa: B027 - most stores need nothing
        """Make what the store needs on its server (a table, an index, the id of the place) where it is missing.

        Safe to repeat, and for several at a time.
        """

    def place(self) -> str | None:
        """Return the id of the place where the records lie (see ``new_place``); None where ``prepare`` has made none.

        The same id is the same place, whatever it is called: a replica and a backup keep it.
        """
        return None

    def rehearsal(self) -> AbstractContextManager[bool]:
        """Have the verbs work before ``prepare`` has run, and leave nothing behind; yield whether they can be tried."""
        return nullcontext(self.missing() is None)

    @abstractmethod
    def connection_checks(self) -> Iterable[Check]:
        """Yield the checks that lead to a working connection, in order; each assumes those before it."""

    def missing(self) -> str | None:
        """Say in a sentence what ``prepare`` would have to make, or return None."""
        return None

    def warnings(self) -> Iterable[str]:
        """Yield what staff should know about a store that works: evicts live keys, keeps nothing on restart, ..."""
        return ()

    def probe(self, *, prepare: bool = False) -> list[Step]:
        """Try the store step by step, up to the first that fails; then its warnings. Leaves no record behind.

        With ``prepare``, what the store lacks on its server is made first.
        """
        from sessionpersist.stores.probe import run

        return run(self, prepare=prepare)

    @abstractmethod
    def close(self) -> None:
        """Give the connections back. The store may be used again; it then opens new ones."""


def new_place() -> str:
    """Return an id for a place: 32 hexadecimal digits, at random."""
    return secrets.token_hex(16)


def place_of(found: object) -> str | None:
    """Return the id of a place out of what a store has read (text or bytes); None for anything else."""
    text = found.decode("ascii", "replace") if isinstance(found, bytes) else found
    return text if isinstance(text, str) and PLACE_ID.fullmatch(text) else None


def check_size(payload: bytes) -> None:
    """Raise SessionTooLarge where a payload does not fit into every store."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise SessionTooLarge(
            f"The session takes {len(payload):,} bytes; a store keeps at most {MAX_PAYLOAD_BYTES:,}. "
            "Keep large data elsewhere and a reference to it in the session."
        )


def printable(text: object, at_most: int = LONGEST_LINE) -> str:
    """Return what a server or a driver says as one line of printable characters, and not a long one.

    A server can say anything: control characters that steer a terminal, marks that turn the direction of writing, a
    gigabyte. Logins in URLs and stored keys are left out.
    """
    start = STORED_KEY.sub("…", URL_LOGIN.sub("…@", str(text)[: 4 * at_most]))
    line = " ".join("".join(each if each.isprintable() else " " for each in start).split())
    return line if len(line) <= at_most else line[: at_most - 1] + "…"


def driver_words(error: BaseException) -> str:
    """Return what the driver itself said, of an error of ours that it led to; "" where it said nothing fit to be told.

    Secrets have been taken out of it before, see ``harmless``.
    """
    cause = error.__cause__
    while isinstance(cause, StoreUnavailable):
        cause = cause.__cause__
    # PostgreSQL quotes the row that it refused after DETAIL.
    return "" if cause is None else printable(f"{type(cause).__name__}: {cause}".partition("\nDETAIL:")[0])


def harmless(error: BaseException, *secrets: str) -> BaseException:
    """Return an error of a driver as it may be kept as a cause: without frames, in which a report would show every
    variable; and where a secret is in its text, or in that of what led to it, one that says the rest."""
    chain = list(causes(error))
    for link in chain:
        link.__traceback__ = None
    if all(_is_clean(link, secrets) for link in chain):
        return error
    kind: type[BaseException] = type(type(error).__name__, (Exception,), {})
    return kind(scrubbed(str(error), *secrets))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [link.__context__, link.__cause__]


def named(error: BaseException) -> str:
    """The kind of an error and its text."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def scrubbed(text: str, *secrets: str) -> str:
    """Return what a server or a driver says as one printable line without those secrets."""
    for form in _forms(secrets):
        text = text.replace(form, "…")
    return printable(QUOTED.sub("", text))


def _is_clean(error: BaseException, secrets: Collection[str]) -> bool:
    text = f"{error} {error.args} {vars(error)}"
    told = STORED_KEY.search(text) or QUOTED.search(text) or any(form in text for form in _forms(secrets))
    return not told


def _forms(secrets: Collection[str]) -> Iterator[str]:
    """Secrets as they are, as Python shows them, and as they are in a URL."""
    for secret in filter(None, secrets):
        forms = (secret, str.__repr__(secret)[1:-1], quote(secret, safe="", errors="replace"))
        yield from map(Secret, forms)


def check_address(label: str, host: str, port: int) -> None:
    """Raise StoreMisconfigured for what can't be an address. A URL may have a password in it: it is not repeated."""
    if not host or set(host) & set("/@ "):
        raise StoreMisconfigured(
            f"{label} needs the name or the address of a host, without anything else.", "host"
        )
    if not 0 < port < 65536:
        raise StoreMisconfigured(f"There is no port {port}.", "port")


def check_reachable(host: str, port: int, timeout: float) -> Iterator[Check]:
    """The first two checks of every store on a server: resolve the name, open a TCP connection."""

    found: list[connecting.Address] = []  # the name is asked for once: what is checked is what is connected

    def look_up() -> str:
        try:
            found[:] = connecting.resolve(host, port, time.monotonic() + timeout)
            check_addresses(host, connecting.hosts_of(found))
        except TimeoutError as error:
            raise StoreUnavailable(f"The name server did not answer in time for “{host}”.", "host") from error
        except HostNotAllowed as error:
            raise StoreMisconfigured(NOT_ALLOWED, "host") from error
        except (OSError, ValueError) as error:
            raise unreachable(host, port, socket.gaierror()) from error
        return ", ".join(sorted(set(connecting.hosts_of(found))))

    def connect() -> None:
        try:
            connecting.connect_to(found, time.monotonic() + timeout).close()
        except OSError as error:
            raise unreachable(host, port, error) from error

    yield "Resolve host name", look_up
    yield "Connect", connect


def check_speaks_tls(host: str, port: int, timeout: float) -> None:
    """Raise StoreUnavailable on "tls" where a server that hung up on a plain connection takes an encrypted one."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whoever it is: nothing is sent to it
    give_up = time.monotonic() + timeout
    try:
        with connecting.connect(host, port, give_up, check_addresses) as plain:
            plain.settimeout(connecting.left(give_up))
            context.wrap_socket(plain).close()
    except (OSError, ValueError):
        return
    raise StoreUnavailable(f"The server on port {port} of {host} wants TLS.", "tls")


def unreachable(host: str, port: int, error: BaseException) -> StoreUnavailable:
    """Say why a TCP connection failed, on the field that is the likely cause."""
    if isinstance(error, ConnectionRefusedError):
        return StoreUnavailable(
            f"Nothing listens on port {port} of {host}: the connection was refused.", "port"
        )
    if isinstance(error, socket.gaierror):
        return StoreUnavailable(f"The host name “{host}” does not resolve.", "host")
    if isinstance(error, TimeoutError):
        return StoreUnavailable(f"{host} did not answer on port {port} in time.", "host")
    return StoreUnavailable(f"No connection to {host}, port {port}.", "host")
