"""What is left at the engine that the site used before, ``ADOPT_FROM``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sessionpersist.configuration.leftovers import REMOVABLE, leftovers
from sessionpersist.configuration.panels.words import left_in_words
from sessionpersist.configuration.store_sentences import said
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover.draining import Left

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise

COUNT_LASTS = 5.0  # seconds that the page goes by the last count: it asks again and again


@dataclass(frozen=True)
class Adoption:
    """What is left there. ``left`` is None where nobody has counted, or could: ``problem``."""

    engine: str
    listable: bool
    until: str
    left: Left | None = None
    problem: str = ""
    removable: StrPromise = REMOVABLE

    @property
    def over(self) -> bool:
        """Whether none is left, for sure."""
        return self.left is not None and not self.left.count

    @property
    def left_in_words(self) -> str:
        """How many sessions are left, such as “12,345” or “at least 50,000”."""
        return "" if self.left is None else left_in_words(self.left)


def read_adoption(*, count: bool) -> Adoption | None:
    """Return what the page shows; with ``count`` the engine is asked how many sessions it has."""
    old = leftovers()
    if old is None:
        return None
    found = Adoption(old.describe(), old.listable, old.until())
    if not count or not old.listable:
        return found
    try:
        return replace(found, left=old.left(within=COUNT_LASTS))
    except StoreUnavailable as error:
        return replace(found, problem=said(error))
