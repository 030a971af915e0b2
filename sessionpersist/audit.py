"""The log ``sessionpersist.audit``: logins, logouts and what staff did, one line an event, at the level INFO.

A session is named by the first 12 digits of its stored key, which lead to its record and never to its cookie. A line is
written once the store has done it. A session that expires ends without a line: nobody is there to see it.
"""

from __future__ import annotations

import logging

from sessionpersist.stores.texts import printable

DIGITS = 12  # of the stored key

logger = logging.getLogger("sessionpersist.audit")


def login(stored_key: str, user_id: str) -> None:
    """A user logged in: the session is theirs from now on."""
    logger.info("login: session %s, user %s", stored_key[:DIGITS], user_id)


def logout(stored_key: str, user_id: str) -> None:
    """A user logged out, and the session is gone."""
    logger.info("logout: session %s, user %s", stored_key[:DIGITS], user_id)


def ended(stored_key: str) -> None:
    """A session was deleted without a logout: flushed, or deleted by its key."""
    logger.info("ended: session %s", stored_key[:DIGITS])


def moved(old_key: str, new_key: str) -> None:
    """A session got a new key, as at a login or a change of the password; the old one leads nowhere."""
    logger.info("new key: session %s is now %s", old_key[:DIGITS], new_key[:DIGITS])


def tried(user_id: object, store: str, *, refused: bool) -> None:
    """A member of staff has a store tried that may be any host: which, as far as what was entered is valid.
    ``refused``: once too often, so nobody was asked."""
    logger.info(
        "store %s: user %s, %s", "not tried, too often" if refused else "tried", user_id, printable(store)
    )


def changed(what: str, who: str, store: str) -> None:
    """Somebody decided over the sessions of all users: saved, switched back, logged everybody out, or
    abandoned what is left in a store."""
    logger.info("%s: by %s, %s", what, printable(who), printable(store))


def ended_by_staff(who: str, user_id: object, number: int) -> None:
    """Staff have ended sessions of a user; each of them has a line of its own, too."""
    logger.info("ended by staff: %d of user %s, by %s", number, printable(user_id), printable(who))


def checked(user_id: object, store: str, *, refused: bool) -> None:
    """A member of staff has every verb of the store in use tried; ``refused``: once too often, so nobody was asked."""
    what = "not checked, too often" if refused else "checked"
    logger.info("store %s: user %s, %s", what, user_id, printable(store))


def password_again(user_id: object, action: str, *, right: bool, refused: bool) -> None:
    """A user was asked for the password again, and entered one; ``refused``: too many were wrong before."""
    what = "right" if right else "not checked, too many were wrong" if refused else "wrong"
    logger.log(
        logging.INFO if right else logging.WARNING, "password again: %s: user %s, %s", what, user_id, action
    )
