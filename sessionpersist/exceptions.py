"""What can go wrong with a store. None of these texts ever holds a password, a session key or session data."""

from __future__ import annotations


class StoreUnavailable(Exception):
    """The store could not be asked or did not answer: nothing is known about the session.

    ``field`` names the setting that is the likely cause, or is None where no setting is to blame: any field of the
    store's settings, without the prefix (``"host"``, ``"password"``). The driver's own error is kept as ``__cause__``.
    ``connection_lost`` is True where a connection that had worked broke (the server was restarted) and has been thrown
    away: one more try will open a new one. ``answered`` is True where the server itself refused this one request (it is
    full, a command is not allowed): that is no outage, and other requests may succeed.
    """

    def __init__(
        self, message: str, field: str | None = None, *, connection_lost: bool = False, answered: bool = False
    ) -> None:
        super().__init__(message)
        self.field = field
        self.connection_lost = connection_lost
        self.answered = answered


class StoreMisconfigured(StoreUnavailable):
    """The settings can't work as they are: waiting will not help, changing them will."""


class SessionTooLarge(ValueError):
    """The session does not fit into a store; what is stored stays as it was."""


class SessionLimitReached(Exception):
    """A login is refused: the user has as many sessions as the policy allows, and was told to end one of them first.

    ``user_id`` is the id of the user as the session had it, and ``backend`` the path of what authenticated it ("" where
    that is unknown): the page that offers to end another session keeps them until then. No text shows either.
    """

    def __init__(self, user_id: str = "", backend: str = "") -> None:
        super().__init__("This user has as many sessions as are allowed.")
        self.user_id, self.backend = user_id, backend


class ForeignRecord(ValueError):
    """What lies under a key is not a record of this app: there is no session, and the store is not to blame."""
