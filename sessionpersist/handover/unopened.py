"""A draining store that can't be opened: its driver, its database or the variable of its password is gone on this node.

It is like one that is down: who is not in the current store can't be known, and the others are served as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.base import Drainable, Outcome, Record


class UnopenedStore(Drainable):
    blocks = False

    def __init__(self, reason: StoreMisconfigured) -> None:
        self.reason = reason

    def get(self, key: str) -> Record | None:
        self._refuse()

    def create(self, key: str, record: Record) -> bool:
        self._refuse()

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        self._refuse()

    def touch(self, key: str, expires_at: int) -> bool:
        self._refuse()

    def delete(self, key: str, version: int | None = None) -> bool:
        self._refuse()

    def end(self, key: str, expires_at: int, reason: int = 0) -> None:
        self._refuse()

    def clearing(self) -> Iterator[int]:
        self._refuse()

    def scan(self) -> Iterator[tuple[str, Record | None]]:
        self._refuse()

    def count(self, at_most: int | None = None, *, rosters: bool = False) -> int:
        self._refuse()

    def close(self) -> None:
        """Nothing was opened."""

    def _refuse(self) -> NoReturn:
        raise StoreMisconfigured(str(self.reason), self.reason.field) from self.reason
