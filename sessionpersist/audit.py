"""The log ``sessionpersist.audit``: logins, logouts and what staff did, one line an event, at the level INFO.

A session is named by the first 12 digits of its stored key, which lead to its record and never to its cookie. A line is
written once the store has done it. A session that expires ends without a line: nobody is there to see it.
"""

from __future__ import annotations

from sessionpersist.stores.texts import printable
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import (
    CHANGED,
    ENDED_BY_STAFF,
    LOGIN,
    LOGOUT,
    PASSWORD_AGAIN,
    PASSWORD_WRONG,
    SESSION_ENDED,
    SESSION_MOVED,
    STORE_CHECKED,
    STORE_TRIED,
)

DIGITS = 12  # of the stored key


def login(stored_key: str, user_id: str) -> None:
    """A user logged in: the session is theirs from now on."""
    session = stored_key[:DIGITS]
    lines.say(LOGIN, f"login: session {session}, user {user_id}", session=session, user=user_id)


def logout(stored_key: str, user_id: str) -> None:
    """A user logged out, and the session is gone."""
    session = stored_key[:DIGITS]
    lines.say(LOGOUT, f"logout: session {session}, user {user_id}", session=session, user=user_id)


def ended(stored_key: str) -> None:
    """A session was deleted without a logout: flushed, or deleted by its key."""
    session = stored_key[:DIGITS]
    lines.say(SESSION_ENDED, f"ended: session {session}", session=session)


def moved(old_key: str, new_key: str) -> None:
    """A session got a new key, as at a login or a change of the password; the old one leads nowhere."""
    session, now = old_key[:DIGITS], new_key[:DIGITS]
    lines.say(SESSION_MOVED, f"new key: session {session} is now {now}", session=session, now=now)


def tried(user_id: object, store: str, *, refused: bool) -> None:
    """A member of staff has a store tried that may be any host: which, as far as what was entered is valid.
    ``refused``: once too often, so nobody was asked."""
    store, what = printable(store), "not tried, too often" if refused else "tried"
    sentence = f"store {what}: user {user_id}, {store}"
    lines.say(STORE_TRIED, sentence, user=user_id, store=store, refused=refused)


def changed(what: str, who: str, store: str) -> None:
    """Somebody decided over the sessions of all users: saved, switched back, logged everybody out, or
    abandoned what is left in a store."""
    by, store = printable(who), printable(store)
    lines.say(CHANGED, f"{what}: by {by}, {store}", what=what, by=by, store=store)


def ended_by_staff(who: str, user_id: object, number: int) -> None:
    """Staff have ended sessions of a user; each of them has a line of its own, too."""
    by, user = printable(who), printable(user_id)
    sentence = f"ended by staff: {number} of user {user}, by {by}"
    lines.say(ENDED_BY_STAFF, sentence, number=number, user=user, by=by)


def checked(user_id: object, store: str, *, refused: bool) -> None:
    """A member of staff has every verb of the store in use tried; ``refused``: once too often, so nobody was asked."""
    store, what = printable(store), "not checked, too often" if refused else "checked"
    sentence = f"store {what}: user {user_id}, {store}"
    lines.say(STORE_CHECKED, sentence, user=user_id, store=store, refused=refused)


def password_again(user_id: object, action: str, *, right: bool, refused: bool) -> None:
    """A user was asked for the password again, and entered one; ``refused``: too many were wrong before."""
    what = "right" if right else "not checked, too many were wrong" if refused else "wrong"
    line = PASSWORD_AGAIN if right else PASSWORD_WRONG
    sentence = f"password again: {what}: user {user_id}, {action}"
    lines.say(line, sentence, result=what, user=user_id, action=action)
