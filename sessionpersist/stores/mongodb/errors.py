"""What a MONGODB server or its driver says, as a sentence for staff, on the setting that is the likely cause."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from typing import Any, NamedTuple

from pymongo import errors
from pymongo.saslprep import saslprep

from sessionpersist.exceptions import SessionTooLarge, StoreMisconfigured, StoreUnavailable
from sessionpersist.stores.allowed_hosts import NOT_ALLOWED
from sessionpersist.stores.reachability import all_in_use, unreachable
from sessionpersist.stores.settings import X509, MongoSettings, lines
from sessionpersist.stores.texts import causes, harmless, named, scrubbed

AUTHENTICATION_FAILED, USER_NOT_FOUND, UNAUTHORIZED = 18, 11, 13
TOO_LARGE, OTHER_CASE, TIME_LIMIT = 17280, 13297, 50
NO_HOSTS = "The name server knows no MONGODB hosts under “{host}” (SRV), or did not answer in time."
NOT_PRIMARY = (10107, 13435, 13436, 10058)


class Reply(NamedTuple):
    """What staff read where a reply has this code; ``answered``: it says nothing against other requests."""

    sentence: str
    answered: bool = True


UNCONFIRMED = 64
REPLIES = {
    UNCONFIRMED: Reply(
        "MONGODB could not confirm in time that enough of its members have a change; a failover may undo it."
    ),
    91: Reply("This MONGODB server is shutting down.", answered=False),
    11600: Reply("This MONGODB server is shutting down.", answered=False),
    14031: Reply("The disk of this MONGODB server is full: it takes no more data."),
}


class LoginRefused(StoreUnavailable):
    """The server knows no such user, or not with this password or certificate."""


def explain(error: Exception, settings: MongoSettings, *secrets: str) -> Exception:
    """Return what to raise instead of an error of the driver; it keeps the driver's words as its cause."""
    failure = _explain(error, settings, secrets)
    if isinstance(failure, StoreUnavailable):
        failure.field = _field(failure.field, settings)
    failure.__cause__ = harmless(error, *secrets)
    return failure


def _field(field: str | None, settings: MongoSettings) -> str | None:
    """A database of the project has one field, whatever is wrong with it."""
    return "alias" if settings.alias and field else field


def _explain(error: Exception, settings: MongoSettings, secrets: Sequence[str]) -> Exception:
    code = code_of(error)
    if isinstance(error, errors.DocumentTooLarge) or code == TOO_LARGE:
        return SessionTooLarge("The session is larger than a MongoDB document may be.")
    if (refused := _explain_rights(error, code, settings)) is not None:
        return refused
    if isinstance(error, errors.InvalidName) or code == OTHER_CASE:
        return _explain_name(error, code, settings)
    if isinstance(error, errors.NotPrimaryError) or code in NOT_PRIMARY:
        return StoreUnavailable("This MONGODB server is not the primary: it does not accept writes.", "host")
    if code in REPLIES:
        return StoreUnavailable(REPLIES[code].sentence, answered=REPLIES[code].answered)
    if isinstance(error, errors.ExecutionTimeout) or code == TIME_LIMIT:
        return StoreUnavailable(f"{_place(settings)} did not answer in time.")
    if isinstance(error, errors.OperationFailure):
        return StoreUnavailable(f"{_place(settings)} refused: “{_words(error, secrets)}”", answered=True)
    return _explain_failure(error, settings, secrets)


def code_of(error: Exception) -> int | None:
    """The number that the server gives its refusal; of many at once, the first."""
    if isinstance(error, errors.WTimeoutError):
        return UNCONFIRMED  # its own number is that of any command that took too long
    code = getattr(error, "code", None)
    details = getattr(error, "details", None)
    if isinstance(error, errors.BulkWriteError) and isinstance(details, dict):
        if any(_number_of(each) == TIME_LIMIT for each in _listed(details, "writeConcernErrors")):
            return UNCONFIRMED
        faults = [*_listed(details, "writeConcernErrors"), *_listed(details, "writeErrors")]
        code = next((_number_of(each) for each in faults), code)
    return code if isinstance(code, int) else None


def _number_of(fault: object) -> object:
    return fault.get("code") if isinstance(fault, dict) else None


def _listed(details: dict[str, Any], name: str) -> list[Any]:
    found = details.get(name)
    return found if isinstance(found, list) else []


def _explain_rights(error: Exception, code: int | None, settings: MongoSettings) -> StoreUnavailable | None:
    # After one refusal PyMongo calls the server unknown, and the next error only quotes the first.
    if code in (AUTHENTICATION_FAILED, USER_NOT_FOUND) or "AuthenticationFailed" in str(error):
        if settings.mechanism == X509:
            return LoginRefused(
                "MONGODB knows no user that is called like the subject of this client certificate (in $external).",
                "client_certificate",
            )
        place = settings.auth_source or "admin"
        return LoginRefused(
            f"MONGODB refused the user name or the password. It looked for the user in the database “{place}”.",
            "password",
        )
    if code == UNAUTHORIZED and not settings.username:
        return StoreUnavailable("MONGODB wants a user name and a password.", "username")
    if code == UNAUTHORIZED:
        return StoreUnavailable(
            f"The MONGODB user may not read and write the database “{settings.database}”.",
            "database",
            answered=True,
        )
    return None


def _explain_name(error: Exception, code: int | None, settings: MongoSettings) -> StoreUnavailable:
    if code == OTHER_CASE:
        return StoreUnavailable(
            f"This MONGODB server has a database whose name differs from “{settings.database}” in capital letters "
            "only. Enter the name as it is there.",
            "database",
            answered=True,
        )
    if "collection names" in str(error):
        return StoreMisconfigured(
            "With MONGODB, KEY_PREFIX must not contain “$”, “..” or NUL: the name of a collection begins with it."
        )
    return StoreMisconfigured(f"“{settings.database}” can't be the name of a MongoDB database.", "database")


def _words(error: errors.OperationFailure, secrets: Sequence[str]) -> str:
    """The server's own words; the driver would add the whole document."""
    details: Any = error.details
    said = details.get("errmsg") if isinstance(details, dict) else None
    return scrubbed(said if isinstance(said, str) else str(error), *secrets)


def _explain_failure(error: Exception, settings: MongoSettings, secrets: Sequence[str]) -> StoreUnavailable:
    """Of what is no refusal: nothing came, or nothing of a MONGODB server's."""
    if isinstance(error, errors.ConnectionFailure | OSError):
        return _explain_connection(error, settings)
    if isinstance(error, errors.InvalidOperation):  # somebody closed the store meanwhile
        return StoreUnavailable(f"The connection to {_place(settings)} was closed.", connection_lost=True)
    if isinstance(error, UnicodeError) or (
        isinstance(error, ValueError | LookupError) and not all(map(_prepares, secrets))
    ):
        return StoreUnavailable(
            "MONGODB does not take this user name or password: a character in it is not allowed.", "password"
        )
    if isinstance(error, errors.ConfigurationError) and settings.srv:
        return StoreUnavailable(NO_HOSTS.format(host=settings.host), "host")
    if isinstance(error, errors.ConfigurationError):
        return StoreMisconfigured(
            f"MONGODB can't be reached with these settings: {scrubbed(str(error), *secrets)}"
        )
    if isinstance(error, errors.PyMongoError | LookupError | TypeError | ValueError | AttributeError):
        return StoreUnavailable(f"{_place(settings)} gave an answer that no MONGODB server gives.", "port")
    return StoreUnavailable(f"{_place(settings)} failed in its driver: {scrubbed(named(error), *secrets)}")


def _prepares(password: str) -> bool:
    """Whether the driver can make of a password what is sent instead of it."""
    try:
        saslprep(password)
    except Exception:  # noqa: BLE001 - it has several kinds for it, and does not expect an empty rest
        return False
    return True


def _explain_connection(error: Exception, settings: MongoSettings) -> StoreUnavailable:
    """PyMongo gathers what its monitor has met in one text."""
    text, chain = str(error), list(causes(error))
    if NOT_ALLOWED in text:
        return StoreMisconfigured(NOT_ALLOWED, "host")
    if (crowded := _explain_crowd(error, chain, settings)) is not None:
        return crowded
    if (told := _explain_tls(text, chain, settings)) is not None:
        return told
    if isinstance(error, errors.ServerSelectionTimeoutError):
        return _explain_selection(text, settings)
    if any(isinstance(cause, socket.gaierror) for cause in chain):
        return unreachable(settings.host, settings.port, socket.gaierror())
    if "refused" in text:
        return unreachable(settings.host, settings.port, ConnectionRefusedError())
    if isinstance(error, errors.NetworkTimeout | TimeoutError):
        return _late(settings)
    return StoreUnavailable(f"The connection to {_place(settings)} was lost.", connection_lost=True)


def _explain_crowd(
    error: Exception, chain: list[BaseException], settings: MongoSettings
) -> StoreUnavailable | None:
    """Why there was no connection: a loop has all of ours in use, or the client of a database of the project has."""
    if isinstance(error, errors.WaitQueueTimeoutError):
        return StoreUnavailable(
            f"{_place(settings)} was not asked: all connections that this process may have are in use, or it does not "
            "answer. If it is healthy, raise maxPoolSize in DATABASES, or start more processes."
        )
    return all_in_use(chain, _place(settings))


def _explain_tls(text: str, chain: list[BaseException], settings: MongoSettings) -> StoreUnavailable | None:
    if any(isinstance(cause, FileNotFoundError | PermissionError | IsADirectoryError) for cause in chain):
        return _unreadable(settings)
    if not any(each in text for each in ("SSL", "TLS", "certificate")) and not isinstance(
        chain[0], ssl.SSLError
    ):
        return None
    return StoreUnavailable(
        "The TLS handshake with MONGODB failed: the server may not speak TLS, or its certificate is not trusted.",
        "tls",
    )


def _explain_selection(text: str, settings: MongoSettings) -> StoreUnavailable:
    """Why there is no server to ask: what the replica set is in want of, or what each host has come to."""
    if any(each in text for each in ("for replica set name", "belongs to a set named")):
        return StoreUnavailable(
            f"None of these hosts belongs to a replica set “{settings.replica_set}”.", "replica_set"
        )
    if any(each in text for each in ("No primary available", "match selector")):
        return StoreUnavailable(
            f"{_place(settings)} has no primary at this time: its members are electing one, or too few of them are up."
        )
    if settings.alias or settings.srv or lines(settings.nodes):
        return StoreUnavailable(f"None of the hosts can be reached: {_place(settings)}.", "host")
    if "Errno -" in text:
        return unreachable(settings.host, settings.port, socket.gaierror())
    return (
        unreachable(settings.host, settings.port, ConnectionRefusedError())
        if "refused" in text
        else _late(settings)
    )


def _late(settings: MongoSettings) -> StoreUnavailable:
    if settings.alias or settings.srv or lines(settings.nodes):
        return StoreUnavailable(f"{_place(settings)} did not answer in time.", "host")
    return StoreUnavailable(f"{_place(settings)} did not answer in time, or is not a MONGODB server.", "port")


def _unreadable(settings: MongoSettings) -> StoreUnavailable:
    """Staff have entered the file, or the settings of the site name it."""
    if settings.ca_file or settings.client_certificate:
        return StoreUnavailable("A file of the certificates can't be read on this node.", "ca_file")
    return StoreUnavailable("The file of TLS_CA_FILE can't be read.", "tls")


def _place(settings: MongoSettings) -> str:
    if settings.alias:
        return f"The MONGODB database “{settings.alias}” of the project"
    if settings.srv:
        return f"MONGODB at {settings.host}"
    return f"MONGODB at {', '.join([f'{settings.host}:{settings.port}', *lines(settings.nodes)])}"
