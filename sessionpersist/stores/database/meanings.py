"""What the errors of the relational databases mean: whether a connection is of more use, and a sentence for staff."""

from __future__ import annotations

import builtins
import re
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple

from django.db import DataError, Error, IntegrityError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper

from sessionpersist.exceptions import SessionTooLarge, StoreUnavailable
from sessionpersist.stores.deadlines import ConnectionLost, NoneFree, TimedOut
from sessionpersist.stores.texts import harmless, scrubbed

# What comes out of a driver: its own errors, and whatever of Python's own a value that it can't send or an answer that
# it can't read makes of its code. Exceptions of other makes are not the driver's, such as that of a time limit.
FAULTS: tuple[type[Exception], ...] = (
    Error,
    struct.error,
    *(
        each
        for each in vars(builtins).values()
        if isinstance(each, type) and issubclass(each, Exception) and each not in (Exception, Warning)
    ),
)

TOO_LARGE = (1153, 2020, 1118)  # MySQL: larger than max_allowed_packet, or than a tenth of the log
READ_ONLY = (1290, 1792, 1836, "25006")  # the server, the transaction or the database is read-only
READ_ONLY_WORDS = ("readonly", "read-only")  # SQLite tells by text only
DUPLICATE = (1062, 1586, "23505")
DUPLICATE_WORDS = "UNIQUE constraint failed"
# A server ended the statement for another's sake: as a deadlock, or for what another changed (by numbers in MySQL, by
# SQLSTATE in PostgreSQL). It has done nothing then, and both manuals say to execute it once more.
GAVE_WAY = (1213, 1020, "40P01", "40001")
FAILED_TRANSACTION = "25P02"  # PostgreSQL: an earlier statement failed, and the caller went on
NUMBERED = re.compile(r"""\(\d+, (['"])(.*)\1\)""", re.DOTALL)  # the text of an error of MySQL
NO_TEXT_WORDS = "Could not decode to UTF-8"  # SQLite
# MySQL: a value that has no place in its column, or in its character set.
BAD_VALUE = (1264, 1300, 1366, 1406, 3988, 4078)
# MySQL's numbers from 2000 on are its client's, for a connection that broke or that it does not understand. These are
# the server's own for the same: shutting down, killed, idle for too long, faults of the network, a packet too large.
CLIENT = range(2000, 3000)
ENDS = (1053, 1152, 1153, 1158, 1159, 1160, 1161, 1184, 1927, 4031)
TOO_MANY = (1040, 1203, 1226, "53300")
TOO_MANY_WORDS = ("too many c", "no more connections", "slots are reserved", "requests waiting")


class Refused(Exception):
    """The database refused a statement, and the store may know what to do. It never leaves the store: where nobody
    knows, ``failure`` is raised."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.failure = StoreUnavailable(message, answered=True)


class Duplicate(Refused):
    """An INSERT met a row of the same key."""


class GaveWay(Refused):
    """A statement was ended for the sake of another, and can be executed once more."""


class NoText(Refused):
    """A text could not be read: if it was read by its key, a foreign record."""


class RefusedValue(Refused):
    """The database has no room for one of the values of this record."""


def is_forbidden(error: Exception) -> bool:
    """Whether a test that may not ask a database has asked it: a mistake of the test, as Django or pytest-django tells
    it, and no outage."""
    name = type(error).__name__
    return name == "DatabaseOperationForbidden" or (
        name == "RuntimeError" and str(error).startswith("Database access not allowed")
    )


class failing:  # noqa: N801 - a context like those of contextlib, which take four times as long
    """Raise StoreUnavailable instead of what was refused."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Refused):
            raise error.failure from error.__cause__


class Lost(StoreUnavailable):
    """A connection that was open broke."""


class NotAllowed(StoreUnavailable):
    """The user of the database has no right to do this."""


class Meaning(NamedTuple):
    """A sentence about the database that is named before it; and whether the server refused this one request only."""

    text: str
    answered: bool = True


NOT_ALLOWED = (1044, 1142, 1143, 1227, 1370, "42501")
FULL = Meaning("is full: there is no room left on its disk")
GAVE_UP = Meaning("gave this up: it waited longer for a lock, or took longer, than the server allows")
CROWDED = Meaning("has as many connections as it allows")
STARTING = Meaning("is starting up, or shutting down", answered=False)

# By SQLSTATE in PostgreSQL, by number in MySQL.
MEANINGS: Mapping[Any, Meaning] = {
    **dict.fromkeys(TOO_MANY, CROWDED),
    **dict.fromkeys((1021, 1114, "53100"), FULL),
    **dict.fromkeys((1205, 1317, 1969, 3024, "55P03", "57014"), GAVE_UP),
    **dict.fromkeys((1053, "57P01", "57P02", "57P03"), STARTING),
    **dict.fromkeys((1041, "53200"), Meaning("has run out of memory")),
}
# By what is said, where that is all: in the messages of PostgreSQL while connecting, and of SQLite.
WORDS: Mapping[str, Meaning] = {
    **dict.fromkeys(TOO_MANY_WORDS, CROWDED),
    **dict.fromkeys(("starting up", "shutting down", "not yet accepting", "in recovery mode"), STARTING),
    **dict.fromkeys(("disk is full", "No space left", "error 28 from"), FULL),
    "database is locked": Meaning("is locked by another process", answered=False),
}
# While connecting.
REFUSED = Meaning("refused the user name or the password that DATABASES gives", answered=False)
UNKNOWN = Meaning("does not exist on its server, or its user does not", answered=False)
NO_CERTIFICATE = Meaning("wants a client certificate (sslcert and sslkey in OPTIONS)", answered=False)
BAD_CERTIFICATE = Meaning("does not accept the client certificate that DATABASES gives", answered=False)
BAD_FILES = Meaning("can't be reached: a file of certificates in OPTIONS can't be used", answered=False)
LATE = Meaning("did not answer in time", answered=False)
UNRESOLVED = Meaning("has a host name that does not resolve", answered=False)
CLOSED_PORT = Meaning("can't be reached: nothing listens at its host and port", answered=False)
CONNECTING: Mapping[Any, Meaning] = {
    **MEANINGS,
    **dict.fromkeys((1044, 1045, 1698), REFUSED),
    1049: UNKNOWN,
    2002: CLOSED_PORT,
}
CONNECTING_WORDS: Mapping[str, Meaning] = {
    **WORDS,
    **dict.fromkeys(("valid client certificate", "certificate required"), NO_CERTIFICATE),
    **dict.fromkeys(("certificate authentication failed", "unknown ca"), BAD_CERTIFICATE),
    **dict.fromkeys(
        ("certificate file", "private key file", "certificate present, but not private"), BAD_FILES
    ),
    "authentication failed": REFUSED,
    "does not exist": UNKNOWN,
    **dict.fromkeys(("timed out", "timeout expired", "couldn't get a connection"), LATE),
    **dict.fromkeys(("resolve", "Name or service", "getaddrinfo"), UNRESOLVED),
    "refused": CLOSED_PORT,
}


def code_of(error: BaseException) -> Any:
    """The SQLSTATE of PostgreSQL's error, the number of MySQL's, or the text of another's."""
    code = error.args[0] if error.args else None
    if isinstance(code, int):
        return code  # PyMySQL, too, tells the SQLSTATE by now, which is less exact
    return getattr(error.__cause__, "sqlstate", None) or code


def is_duplicate(error: BaseException) -> bool:
    return isinstance(error, IntegrityError) and (
        code_of(error) in DUPLICATE or DUPLICATE_WORDS in str(error)
    )


def says_nothing_of_the_table(error: BaseException) -> bool:
    """Return whether the table must be there, for the server to say this."""
    return isinstance(error, IntegrityError | DataError) or code_of(error) in (*GAVE_WAY, *MEANINGS)


def is_broken(connection: Any, error: BaseException) -> bool:
    """Return whether an open connection is of no more use, or not to be trusted: a late answer may still come. A server
    that has become read-only is no longer the primary, perhaps, and a new connection may lead to the one that is."""
    if connection.connection is None or connection.vendor == "sqlite":
        return False
    code = code_of(error) if isinstance(error, Error) else None
    if code in READ_ONLY and not connection.in_atomic_block:
        return True
    if connection.vendor == "postgresql":  # psycopg knows
        raw = connection.connection
        return bool(raw.closed) or raw.info.transaction_status in (ACTIVE, UNSURE)
    # MySQL's drivers tell by number; what has none was never sent, or is nothing that they understand.
    if isinstance(error, UnicodeEncodeError):
        return False
    return not isinstance(code, int) or isinstance(error, InterfaceError) or code in CLIENT or code in ENDS


ACTIVE, UNSURE = 1, 4  # libpq's numbers of what a connection is doing


def explain(error: BaseException, connection: BaseDatabaseWrapper, *, broken: bool) -> Exception:
    """Return what an error means: one of our errors, in our own words, or Refused. ``broken``: the connection was open,
    and has been closed for it."""
    name = f"database “{connection.alias}”"
    if code_of(error) in TOO_LARGE or _is_too_big_for_sqlite(error):
        return SessionTooLarge(f"The session is larger than the {name} accepts.")
    if isinstance(error, TimedOut):
        return StoreUnavailable(
            f"The {name} did not answer in time.", "database" if error.connecting else None
        )
    if isinstance(error, NoneFree):
        return StoreUnavailable(
            f"The {name} was not asked: all {error.most} connections of its pool are in use, or it does not answer. "
            "If it is healthy, raise max_size of the pool in DATABASES, or start more processes."
        )
    if isinstance(error, ConnectionLost):
        return Lost(f"The connection to the {name} was lost.", connection_lost=True)
    if connection.connection is None and not broken:
        return _explain_connecting(error, connection, name)
    return _explain_answer(error, connection, name, broken)


def _explain_answer(
    error: BaseException, connection: BaseDatabaseWrapper, name: str, broken: bool
) -> StoreUnavailable | Refused:
    code = code_of(error)
    if is_duplicate(error):
        return Duplicate(f"The {name} has such a row already.")
    if code in READ_ONLY or any(each in str(error) for each in READ_ONLY_WORDS):
        return StoreUnavailable(
            f"The {name} is read-only.", "database", connection_lost=broken, answered=True
        )
    if broken:
        # A transaction is gone with its connection: its statements must not be repeated on another.
        lost = not connection.in_atomic_block
        return Lost(f"The connection to the {name} was lost.", connection_lost=lost)
    if isinstance(error, UnicodeDecodeError) or NO_TEXT_WORDS in str(error):
        return NoText(f"In the {name} lies what is not text.")
    if code in GAVE_WAY:
        gave_way = GaveWay(f"The {name} had other statements go before, again and again.")
        again = connection.autocommit and not connection.in_atomic_block
        return gave_way if again else gave_way.failure
    return _explain_refusal(error, connection, name)


def _explain_refusal(
    error: BaseException, connection: BaseDatabaseWrapper, name: str
) -> StoreUnavailable | Refused:
    code, said = code_of(error), own_words(error, connection)
    if isinstance(error, DataError | UnicodeEncodeError | OverflowError) or code in BAD_VALUE:
        return RefusedValue(f"The {name} takes no such value: {said}")
    if code in NOT_ALLOWED:
        return NotAllowed(f"The {name} does not allow this to its user: {said}", "database", answered=True)
    meaning = _meaning(MEANINGS, WORDS, code, str(error))
    if meaning:
        return StoreUnavailable(f"The {name} {meaning.text}.", "database", answered=meaning.answered)
    answered = isinstance(error, Error) and connection.vendor != "sqlite"
    return StoreUnavailable(f"The {name} failed: {said}", "database", answered=answered)


def _explain_connecting(error: BaseException, connection: BaseDatabaseWrapper, name: str) -> StoreUnavailable:
    meaning = _meaning(CONNECTING, CONNECTING_WORDS, code_of(error), str(error))
    if meaning:
        return StoreUnavailable(f"The {name} {meaning.text}.", "database", answered=meaning.answered)
    return StoreUnavailable(f"The {name} can't be opened: {own_words(error, connection)}", "database")


def _meaning(
    codes: Mapping[Any, Meaning], words: Mapping[str, Meaning], code: Any, text: str
) -> Meaning | None:
    found = codes.get(code)
    return found or next((meaning for word, meaning in words.items() if word in text), None)


def _is_too_big_for_sqlite(error: BaseException) -> bool:
    return "too big" in str(error) and isinstance(error, DataError)


def cause_of(error: BaseException, connection: BaseDatabaseWrapper) -> BaseException:
    """Return the error, to be kept as a cause."""
    return harmless(error, str(connection.settings_dict["PASSWORD"]))


def own_words(error: BaseException, connection: BaseDatabaseWrapper) -> str:
    """Return what the server itself said, as a line that holds no secret and no stored key; of an error that is not the
    server's only its name, as its text may quote a value."""
    if not isinstance(error, Error):
        return type(error).__name__ + "."
    diagnosis = getattr(error.__cause__, "diag", None)  # of psycopg: without the details, which quote values
    said = getattr(diagnosis, "message_primary", None) or str(error) or type(error).__name__
    # Not by args[1]: where the message is not UTF-8, mysqlclient leaves a hole there, and who reads it dies of it.
    numbered = NUMBERED.fullmatch(said)
    return (
        scrubbed(numbered[2] if numbered else said, str(connection.settings_dict["PASSWORD"])).rstrip(".")
        + "."
    )
