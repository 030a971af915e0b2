"""What a REDIS server or its driver says, as a sentence for staff, on the setting that is the likely cause."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import redis
from redis.sentinel import MasterNotFoundError

from sessionpersist.exceptions import ForeignRecord, SessionTooLarge, StoreMisconfigured, StoreUnavailable
from sessionpersist.stores.allowed_hosts import NOT_ALLOWED, HostNotAllowed
from sessionpersist.stores.reachability import all_in_use, unreachable
from sessionpersist.stores.redis.cluster import NoSlots, Relocated
from sessionpersist.stores.redis.wire import ADDRESS, AnswerTooLarge, Unconfirmed, Unexpected
from sessionpersist.stores.settings import CLUSTER, STANDALONE, RedisSettings
from sessionpersist.stores.texts import causes, harmless, named, scrubbed

# The driver cuts off the code that a reply begins with, and makes it the class of the error.
CODES = {
    "OutOfMemoryError": "OOM",
    "BusyLoadingError": "LOADING",
    "NoPermissionError": "NOPERM",
    "ReadOnlyError": "READONLY",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "AskError": "ASK",
    "TryAgainError": "TRYAGAIN",
    "ClusterDownError": "CLUSTERDOWN",
    "ClusterCrossSlotError": "CROSSSLOT",
}
ONE_NODE = (
    "This REDIS server is one node of a Cluster and keeps only some of the sessions. "
    "Choose Cluster, or enter a server that keeps them all."
)
A_SENTINEL = "This is a Sentinel. Choose Sentinel, or enter the REDIS server that it watches."
NO_PASSWORD = "This REDIS server has no password: leave the field empty."  # noqa: S105 - a sentence


class Reply(NamedTuple):
    """What staff read where a reply has these words; ``answered``: it says nothing against other requests."""

    words: str
    sentence: str
    field: str | None = None
    answered: bool = True


REPLIES = (
    Reply(
        "command not allowed when used memory",
        "The memory of this REDIS server is full: it takes no more data.",
    ),
    Reply("READONLY", "This REDIS server is a read-only replica. Use the primary.", "host", answered=False),
    Reply("LOADING", "This REDIS server has just started and is still reading its data.", answered=False),
    Reply(
        "MASTERDOWN",
        "This REDIS server is a replica that has lost its primary. Use the primary.",
        "host",
        False,
    ),
    Reply("CLUSTERDOWN", "The REDIS Cluster that this server belongs to is down.", "host", answered=False),
    Reply("MOVED", ONE_NODE, "host"),
    Reply("ASK", ONE_NODE, "host"),
    Reply("TRYAGAIN", ONE_NODE, "host"),
    Reply("CROSSSLOT", ONE_NODE, "host"),
    Reply("cluster support disabled", "This REDIS server is no node of a Cluster.", "mode"),
    Reply("SELECT is not allowed in cluster mode", ONE_NODE, "database"),
    Reply("max number of clients reached", "This REDIS server has as many clients as it allows."),
    Reply("MISCONF", "This REDIS server can't write to its disk and takes no changes until it can."),
    Reply("NOREPLICAS", "This REDIS server takes no changes while it has too few replicas."),
    Reply("BUSY", "This REDIS server is busy with a script that does not end.", answered=False),
    Reply(
        "DENIED",
        "This REDIS server is in protected mode: it needs a password before it serves other machines.",
        "host",
    ),
    Reply("without any password configured", NO_PASSWORD, "password"),
    Reply("AUTH, but no password is set", NO_PASSWORD, "password"),
)
UNSETTLED = "The nodes of this REDIS Cluster do not agree on which of them has this session."
IN_A_CLUSTER = tuple(Reply(code, UNSETTLED, "nodes") for code in ("MOVED", "ASK", "TRYAGAIN"))
# The driver's class for a reply that it knows, and what servers say where the command was in a script.
FORBIDDEN = re.compile("^NOPERM|ACL failure in script|The user executing the script can't")
KEYS = re.compile(r"access .{0,16}\bkeys?\b", re.IGNORECASE)
COMMAND = re.compile(r"'([\w|-]{1,40})'")


def explain(error: Exception, settings: RedisSettings, secrets: Sequence[str]) -> Exception:
    """Return what to raise instead of an error of the driver; it keeps the driver's words as its cause."""
    found = next((each for each in causes(error) if isinstance(each, StoreUnavailable)), None)
    if found is not None:  # from what the driver asked us for
        return found
    failure = _explain(error, at(settings, error), secrets)
    if settings.mode != STANDALONE and isinstance(failure, StoreUnavailable):
        failure.field = "nodes" if failure.field in ("host", "port") else failure.field
    failure.__cause__ = harmless(error, *secrets)
    return failure


def is_foreign(error: Exception) -> bool:
    """Whether a read has met what no session is: a string that is none, or a key of another type."""
    return isinstance(error, ForeignRecord) or "WRONGTYPE" in str(error.__cause__)


def at(settings: RedisSettings, error: Exception) -> RedisSettings:
    """Return the settings with the address of the server that an error is about, where it is one of several."""
    if settings.mode == STANDALONE:
        return settings
    address = next((vars(each)[ADDRESS] for each in causes(error) if ADDRESS in vars(each)), None)
    return replace(settings, host=address.host, port=address.port) if address and address.host else settings


def _explain(error: Exception, settings: RedisSettings, secrets: Sequence[str]) -> Exception:
    words = _words(error)
    known = _explain_reply(words, settings) if words else None
    if known is not None:
        return known
    if isinstance(error, redis.AuthenticationError):
        missing = any(each in words for each in ("Authentication required", "already authenticated"))
        what = "wants a password" if missing else "refused the user name or the password"
        return StoreUnavailable(f"REDIS {what}.", "password")
    if isinstance(error, redis.ResponseError):
        return StoreUnavailable(f"{_place(settings)} refused: “{scrubbed(words, *secrets)}”", answered=True)
    if (apart := _explain_several(error, settings)) is not None:
        return apart
    return _explain_failure(error, settings, secrets)


def _explain_several(error: Exception, settings: RedisSettings) -> StoreUnavailable | None:
    """Of what happens only where there are several servers."""
    match error:
        case Unconfirmed():
            return StoreUnavailable(
                f"{_place(settings)} has written this, and too few replicas ({error}) have confirmed it in time: a "
                "fail-over could lose it.",
                "wait_replicas",
                answered=True,
            )
        case MasterNotFoundError():
            name = settings.sentinel_name
            return StoreUnavailable(f"No Sentinel names a server that is up as “{name}”.", "sentinel_name")
        case NoSlots():
            return StoreUnavailable("No server of this REDIS Cluster has the slot of this session.", "nodes")
        case Relocated():
            return _lost(settings)
    return None


def _words(error: Exception) -> str:
    """The server's reply, with the code in front; "" for an error that is none."""
    if not isinstance(error, redis.ResponseError | redis.ConnectionError):
        return ""
    return f"{CODES.get(type(error).__name__, '')} {error}".strip()


def _explain_reply(words: str, settings: RedisSettings) -> Exception | None:
    if "WRONGTYPE" in words:
        return StoreUnavailable("Under this key lies something that is not a string.", answered=True)
    if "string exceeds maximum allowed size" in words:
        return SessionTooLarge("The session is larger than this REDIS server accepts.")
    if "DB index" in words:
        return StoreUnavailable(f"REDIS has no database {settings.database}.", "database")
    if FORBIDDEN.search(words):
        return _explain_forbidden(words)
    if "unknown command" in words:
        return StoreUnavailable(
            f"This server does not know the command{_command(words)}, which sessions need: it was renamed or turned "
            "off, or this is another kind of server, such as a Sentinel.",
            "port",
            answered=True,
        )
    for reply in (*IN_A_CLUSTER, *REPLIES) if settings.mode == CLUSTER else REPLIES:
        if re.search(rf"\b{re.escape(reply.words)}\b", words):
            return StoreUnavailable(reply.sentence, reply.field, answered=reply.answered)
    return None


def _explain_forbidden(words: str) -> StoreUnavailable:
    if KEYS.search(words):
        sentence = "The REDIS user may not use the keys that sessions have (they begin with KEY_PREFIX)."
    else:
        sentence = f"The REDIS user may not run the command{_command(words)}, which sessions need."
    return StoreUnavailable(sentence, "username", answered=True)


def _command(words: str) -> str:
    found = COMMAND.search(words)
    return f" {found[1].upper()}" if found else "s"


def _explain_failure(error: Exception, settings: RedisSettings, secrets: Sequence[str]) -> StoreUnavailable:
    """Of what is no reply: nothing came, or nothing of a REDIS server's."""
    chain = list(causes(error))
    if (unconnected := _explain_connecting(chain, settings)) is not None:
        return unconnected
    if (crowded := all_in_use(chain, _place(settings))) is not None:
        return crowded
    if any(isinstance(cause, redis.TimeoutError | TimeoutError) for cause in chain):
        return StoreUnavailable(f"{_place(settings)} did not answer in time.")
    if isinstance(error, AnswerTooLarge | Unexpected):
        return StoreUnavailable(f"{_place(settings)} gave an answer that no REDIS server gives.", "port")
    if isinstance(error, redis.ConnectionError | redis.exceptions.InvalidResponse | OSError):
        return _lost(settings)
    if isinstance(error, UnicodeError):
        return _explain_unicode(error, settings)
    return StoreUnavailable(f"{_place(settings)} failed in its driver: {scrubbed(named(error), *secrets)}")


def _explain_connecting(chain: list[BaseException], settings: RedisSettings) -> StoreUnavailable | None:
    for cause in chain:
        if isinstance(cause, HostNotAllowed):
            return StoreMisconfigured(NOT_ALLOWED, "host")
        if isinstance(cause, ConnectionRefusedError | socket.gaierror):
            return unreachable(settings.host, settings.port, cause)
        if isinstance(cause, FileNotFoundError | PermissionError | IsADirectoryError):
            own = (
                "client_certificate"
                if settings.client_certificate
                else "ca_file"
                if settings.ca_file
                else "tls"
            )
            which = "The file of TLS_CA_FILE" if own == "tls" else "A file of the certificates"
            return StoreUnavailable(f"{which} can't be read.", own)
        if any(words in str(cause).lower() for words in ("certificate required", "certificate_required")):
            return StoreUnavailable(
                "This REDIS server wants a client certificate."
                if not settings.client_certificate
                else "This REDIS server did not accept the client certificate.",
                "client_certificate",
            )
        if isinstance(cause, ssl.SSLError) or "handshake" in str(cause):
            # Its wish for one gets lost where it hangs up before we have read it.
            wish = "" if settings.client_certificate else " Or it wants a client certificate."
            return StoreUnavailable(
                "The TLS handshake with REDIS failed: the server may not speak TLS, or its certificate is not "
                f"trusted.{wish}",
                "tls",
            )
    return None


def _lost(settings: RedisSettings) -> StoreUnavailable:
    place = f"{settings.host}:{settings.port}"
    if settings.tls and not settings.client_certificate:
        # Its wish for one gets lost where it hangs up before we have read it.
        return StoreUnavailable(
            f"The connection to {place} was lost: the server was restarted, is not a REDIS server, does not speak TLS, "
            "or wants a client certificate.",
            "tls",
            connection_lost=True,
        )
    return StoreUnavailable(
        f"The connection to {place} was lost: the server was restarted, is not a REDIS server, "
        f"or {'does not speak' if settings.tls else 'wants'} TLS.",
        "port",
        connection_lost=True,
    )


def _explain_unicode(error: UnicodeError, settings: RedisSettings) -> StoreUnavailable:
    if isinstance(error, UnicodeEncodeError) and error.encoding != "idna":
        return StoreUnavailable(
            "REDIS can't be sent some character of the user name or the password.", "password"
        )
    return unreachable(settings.host, settings.port, socket.gaierror())


def _place(settings: RedisSettings) -> str:
    return f"REDIS at {settings.host}:{settings.port}" if settings.host else settings.describe()
