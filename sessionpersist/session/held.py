"""What an object of the engine knows of the record of its session."""

from __future__ import annotations

from typing import NamedTuple


class Held(NamedTuple):
    """The stored session as this object last read or wrote it: the base of a merge."""

    version: int
    plain: bytes
    created_at: int
    end: int  # sealed inside; to prolong the session beyond it, it must be saved
    expires_at: int
    user: object = None  # what stands under USER_ID in it
    recorded: str = ""  # how its record names that user

    @property
    def user_id(self) -> str:
        """The id of its user; "" for nobody's."""
        return "" if self.user is None else str(self.user)
