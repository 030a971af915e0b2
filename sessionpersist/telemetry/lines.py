"""The lines of the log: ``event=… key=value … message="a sentence"``. Each kind of line has an id that stays as it is.

A machine reads the keys, a person the sentence. What is not plain stands in double quotes, as JSON writes it, so that
no value can end its line or pretend to be another key. Handlers that write JSON find the same as ``record.event`` and
``record.fields``.
"""

from __future__ import annotations

import json
import logging
import re
from functools import cache
from typing import Any, NamedTuple

MAIN, AUDIT, SECURITY = "sessionpersist", "sessionpersist.audit", "django.security.SuspiciousSession"
PLAIN = re.compile(r"[\w.:/@+\[\]-]+", re.ASCII)


class Line(NamedTuple):
    """One kind of line: its id, its logger and level, its keys in order, and what it means."""

    id: str
    logger: str
    level: int
    fields: tuple[str, ...]
    meaning: str


STORE_LOST = Line(
    "store_lost", MAIN, logging.ERROR, ("store", "error"), "A call failed after one that worked."
)
STORE_BACK = Line("store_back", MAIN, logging.WARNING, ("store",), "A call worked after one that failed.")
STORE_REFUSED = Line(
    "store_refused",
    MAIN,
    logging.ERROR,
    ("store", "error"),
    "The server refused a request; once a minute at most.",
)
STORE_CROWDED = Line(
    "store_crowded",
    MAIN,
    logging.WARNING,
    ("store", "error"),
    "All connections of an event loop were in use, so the server was not asked; once a minute at most.",
)
RECEIVERS_UNTOLD = Line(
    "receivers_untold",
    MAIN,
    logging.ERROR,
    ("store", "signal"),
    "Receivers of store_lost or store_recovered could not be called.",
)
STORE_UNOPENED = Line(
    "store_unopened",
    MAIN,
    logging.ERROR,
    ("store", "error"),
    "A store that is draining can't be opened on this node.",
)
STORE_DRAINING = Line(
    "store_draining",
    MAIN,
    logging.ERROR,
    ("store",),
    "What was lost is a store that is draining; what to do about it.",
)
STORE_SWITCHED = Line(
    "store_switched",
    MAIN,
    logging.WARNING,
    ("store", "before", "revision", "node", "process"),
    "This node has moved to another store; one line a node.",
)
EVERYBODY_OUT = Line(
    "everybody_out",
    MAIN,
    logging.WARNING,
    ("revision", "node", "process"),
    "Everybody has been logged out; one line a node.",
)
CONFIGURATION_LOST = Line(
    "configuration_lost",
    MAIN,
    logging.ERROR,
    ("error",),
    "The login configuration could not be read; the site goes on with what it knows.",
)
CONFIGURATION_BACK = Line("configuration_back", MAIN, logging.WARNING, (), "It can be read again.")
REPORT_FAILED = Line(
    "report_failed", MAIN, logging.WARNING, ("error",), "This process could not report itself to the page."
)
PROBE_FAILED = Line(
    "probe_failed", MAIN, logging.WARNING, ("store", "step"), "A store that somebody tried failed at a step."
)
PROBE_UNFORESEEN = Line(
    "probe_unforeseen",
    MAIN,
    logging.ERROR,
    ("error",),
    "It failed in a way that we do not know; please report it.",
)
SENTINELS_SILENT = Line(
    "sentinels_silent",
    MAIN,
    logging.WARNING,
    ("name", "error"),
    "No Sentinel announces fail-overs to this process.",
)
PLACE_UNKNOWN = Line(
    "place_unknown", MAIN, logging.INFO, ("revision",), "Where a store lies could not be asked."
)
LEFT_BEHIND = Line(
    "left_behind",
    MAIN,
    logging.INFO,
    (),
    "A session that was logged out stays in a draining store; it stays logged out.",
)
ROSTER_UNREAD = Line(
    "roster_unread", MAIN, logging.INFO, (), "A user's list of sessions could not be read or extended."
)
ACCOUNT_UNENDED = Line(
    "account_unended",
    MAIN,
    logging.ERROR,
    (),
    "The sessions of a user whose account has changed could not be ended.",
)
URLS_MISSING = Line(
    "urls_missing", MAIN, logging.WARNING, (), "A page uses a tag that needs addresses of ours."
)
FORK_FAILED = Line(
    "fork_failed", MAIN, logging.ERROR, (), "A forked process could not let go of what is its parent's."
)
METRIC_FAILED = Line(
    "metric_failed", MAIN, logging.ERROR, ("error",), "Metrics are missing; once a minute at most."
)
UPKEEP_LOST = Line(
    "upkeep_lost",
    MAIN,
    logging.WARNING,
    ("scope",),
    "Another process may have taken over what runs by itself.",
)
UPKEEP_WAITS = Line(
    "upkeep_waits",
    MAIN,
    logging.WARNING,
    ("scope",),
    "What runs by itself can't go on, and tries again later.",
)
UPKEEP_OFF = Line("upkeep_off", MAIN, logging.WARNING, (), "Nothing runs by itself in this process.")
STORE_EMPTY = Line(
    "store_empty",
    MAIN,
    logging.INFO,
    ("store", "moved"),
    "What was left in an old store has moved by itself.",
)
EXPIRED_CLEARED = Line(
    "expired_cleared",
    MAIN,
    logging.DEBUG,
    ("store", "cleared"),
    "Expired sessions were cleared by themselves.",
)
RECORD_FOREIGN = Line(
    "record_foreign", SECURITY, logging.WARNING, ("store",), "Under the key of a session lies something else."
)
SESSION_UNOPENED = Line(
    "session_unopened",
    SECURITY,
    logging.WARNING,
    (),
    "A session is damaged, foreign, or sealed with another SECRET_KEY.",
)
SESSION_PROLONGED = Line(
    "session_prolonged", SECURITY, logging.WARNING, (), "Somebody has prolonged a session in its store."
)
SESSION_UNREADABLE = Line(
    "session_unreadable", SECURITY, logging.WARNING, ("error",), "SESSION_SERIALIZER can't read a session."
)
SESSION_NOT_TAKEN = Line(
    "session_not_taken",
    SECURITY,
    logging.WARNING,
    ("error",),
    "A session of the engine used before stays there.",
)
ROSTER_UNOPENED = Line(
    "roster_unopened", SECURITY, logging.WARNING, (), "A user's list of sessions can't be opened."
)
LOGIN = Line("login", AUDIT, logging.INFO, ("session", "user"), "A user logged in.")
LOGOUT = Line("logout", AUDIT, logging.INFO, ("session", "user"), "A user logged out.")
SESSION_ENDED = Line(
    "session_ended", AUDIT, logging.INFO, ("session",), "A session was ended without a logout."
)
SESSION_MOVED = Line(
    "session_moved", AUDIT, logging.INFO, ("session", "now"), "A session got a new key, as at a login."
)
STORE_TRIED = Line(
    "store_tried", AUDIT, logging.INFO, ("user", "store", "refused"), "A member of staff had a store tried."
)
STORE_CHECKED = Line(
    "store_checked",
    AUDIT,
    logging.INFO,
    ("user", "store", "refused"),
    "A member of staff had the store in use tried.",
)
CHANGED = Line(
    "changed",
    AUDIT,
    logging.INFO,
    ("what", "by", "store"),
    "Somebody decided about the sessions of everybody.",
)
ENDED_BY_STAFF = Line(
    "ended_by_staff", AUDIT, logging.INFO, ("number", "user", "by"), "Staff have ended sessions of a user."
)
PASSWORD_AGAIN = Line(
    "password_again",
    AUDIT,
    logging.INFO,
    ("result", "user", "action"),
    "A user entered the password again.",
)
PASSWORD_WRONG = Line(
    "password_wrong",
    AUDIT,
    logging.WARNING,
    ("result", "user", "action"),
    "It was wrong, or came too late after too many that were.",
)


def events() -> list[Line]:
    """Return every kind of line that there is."""
    return [each for each in globals().values() if isinstance(each, Line)]


# Made as it is first needed: ``dictConfig`` disables by default what is there before it.
_logger = cache(logging.getLogger)


def say(
    event: Line, sentence: str, *, exc_info: BaseException | bool | None = None, **fields: object
) -> None:
    """Write a line. ``fields`` are those of the event; no value and no sentence holds a secret or a session key."""
    logger = _logger(event.logger)
    if not logger.isEnabledFor(event.level):
        return
    # The id is part of the template: who groups lines by that has a group for each kind.
    template = f"event={event.id} %s"
    rest = " ".join(f"{name}={quoted(value)}" for name, value in [*fields.items(), ("message", sentence)])
    said: dict[str, Any] = {"event": event.id, "fields": fields}
    logger.log(event.level, template, rest, exc_info=exc_info, extra=said, stacklevel=2)


def quoted(value: object) -> str:
    """Return a value as it stands in a line."""
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
