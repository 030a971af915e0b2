"""From what this process knows of the configuration to the store that serves this moment.

A **view** is the revision that a process holds to be current as it begins an operation. Near an activation the views of
processes differ by the error of their clocks, and a process that was descheduled may wake with a view long gone. So

- a miss, a logout, and the save of a session that has not moved yet, that fall near an activation, wait until all
  processes agree (``GUARD_SECONDS``);
- an operation whose view is no longer in force when it ends is done again under the new one;
- a miss on a snapshot that could not be refreshed is StoreUnavailable.

A hit costs none of this, and in steady state all of it together costs a few comparisons.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Protocol

from django.db import DEFAULT_DB_ALIAS

from sessionpersist import conf, forks
from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.handover import snapshot
from sessionpersist.handover.rules import HandoverStore, Role
from sessionpersist.handover.snapshot import Known, Snapshot
from sessionpersist.handover.unopened import UnopenedStore
from sessionpersist.signals import store_lost
from sessionpersist.stores import open_store
from sessionpersist.stores.base import Drainable, Outcome, Record, Store, restamped, revision_of
from sessionpersist.stores.settings import DatabaseSettings, StoreSettings
from sessionpersist.stores.transactions import is_committed, may_see_the_past, outside

logger = logging.getLogger("sessionpersist")


class View(Protocol):
    """What RoutedStore needs to know of a moment."""

    @property
    def number(self) -> int:
        """The revision in force."""

    @property
    def store(self) -> HandoverStore:
        """The store in force, with the draining ones behind it."""

    @property
    def stale(self) -> bool:
        """Whether the configuration could not be read for so long that another revision may be in force."""

    @property
    def mixed(self) -> bool:
        """Whether nodes of 0.2.0 serve the site, too."""

    def undecided(self) -> float:
        """Seconds until all processes agree on the revision; 0 away from an activation."""


class RoutedStore(Store):
    """The store that is in force when a verb is called, whichever that is: the same contract."""

    def __init__(self, view: Callable[[], View], sleep: Callable[[float], None] = time.sleep) -> None:
        self._view, self._sleep = view, sleep

    def get(self, key: str) -> Record | None:
        while True:
            view = self._view()
            closing = self._is_closing(view)
            record = view.store.get(key)
            if record is not None and not record.ended and self._is_trusted(view):
                return record
            # What was not carried because of the next switch is, once that is over.
            if self._still_holds(view, missed=record is None) and not closing:
                return record

    def create(self, key: str, record: Record) -> bool:
        view = self._view()
        if revision_of(record.version) != view.number or not view.store.create(key, record):
            return False
        while not self._is_in_force(view):
            # It may lie in a store that nobody looks into any more: have it in the one that is in force.
            old, view = view, self._view()
            if self.get(key) is None:
                moved = record._replace(version=restamped(record.version, view.number))
                view.store.create(key, moved)
                old.store.current.store.delete(key, record.version)
        return True

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        view = self._view()
        if revision_of(record.version) != view.number:
            return Outcome.CONFLICT
        outcome = view.store.replace(key, record, expected)
        if outcome is Outcome.CONFLICT:
            if self._is_closing(view):
                self._still_holds(view, missed=False)  # what is not carried yet can't be saved before that
            return outcome
        if outcome is Outcome.SAVED and self._is_in_force(view) and not self._is_closing(view):
            return outcome
        # A save under a view that has passed may lie behind the session: the caller reads, merges, and saves again.
        return outcome if self._still_holds(view, missed=outcome is Outcome.MISSING) else Outcome.CONFLICT

    def touch(self, key: str, expires_at: int) -> bool:
        while True:
            view = self._view()
            closing = self._is_closing(view)
            touched = view.store.touch(key, expires_at)
            if touched and not closing and self._is_in_force(view) and not self._is_closing(view):
                return True
            # What was touched where it was not carried yet may just have been read there, to be carried as it was.
            if self._still_holds(view, missed=not touched) and not touched:
                return False

    def delete(self, key: str, version: int | None = None) -> bool:
        before = False  # under a view that has passed
        while True:
            view = self._view()
            if not self._still_holds(view, missed=False):
                continue
            deleted = view.store.delete(key, version)
            # Who can't know of a switch can't vouch for a logout either: the session may just be moving elsewhere.
            if self._still_holds(view, missed=True):
                return deleted or (before and (version is None or self._is_gone(key)))
            before |= deleted

    def _is_gone(self, key: str) -> bool:
        """Whether nothing is left of what was deleted under a view that has passed. While it was, somebody may have
        moved it, and others have saved to it since; or be moving it now, who must be kept from that."""
        record = self.get(key)
        return (record is None or record.ended) and (self.delete(key) or True)

    def end(self, key: str, expires_at: int) -> None:
        self._view().store.end(key, expires_at)

    def clear_expired(self) -> int:
        return self._view().store.clear_expired()

    def close(self) -> None:
        self._view().store.close()

    def revision(self) -> int:
        """Return the number of the revision in force, with which a new version is stamped."""
        return self._view().number

    def mixed(self) -> bool:
        """Return whether sessions must be sealed as nodes of 0.2.0 can open them, which serve beside this one."""
        return self._view().mixed

    def _is_in_force(self, view: View) -> bool:
        return self._view().number == view.number

    def _is_trusted(self, view: View) -> bool:
        """Whether a hit needs no second look: it can't have been carried under a view that has passed."""
        return not view.store.sources or (self._is_in_force(view) and not self._is_closing(view))

    def _is_closing(self, view: View) -> bool:
        """While another handover is still going on, a carry that reaches into the next switch is not to be trusted."""
        return bool(view.store.sources) and view.undecided() > 0

    def _still_holds(self, view: View, *, missed: bool) -> bool:
        """Wait until all processes agree, and return whether the view is the one in force.

        Raises StoreUnavailable for a miss (or a logout) of a process that can't know.
        """
        if (seconds := view.undecided()) > 0:
            self._sleep(seconds)
        after = self._view()
        if after.number != view.number:
            return False
        if missed and after.stale:
            raise StoreUnavailable(
                "The login configuration could not be read for too long to be sure of the store."
            )
        return True


class CurrentView:
    """The view of this process, made once a snapshot."""

    def __init__(self, known: Snapshot) -> None:
        self.snapshot = known
        self.number = max(known.current.number, 0)
        self.mixed = known.mixed
        self.store = compose(known)
        self._calm_from, self._calm_until = known.calm()

    @property
    def stale(self) -> bool:
        return self.snapshot.stale

    def undecided(self) -> float:
        return 0.0 if self._calm_from < monotonic() < self._calm_until else self.snapshot.undecided()


def compose(known: Snapshot) -> HandoverStore:
    """Build the store of a snapshot: the current one, with the draining ones behind it."""
    places = by_place([known.current, *known.draining])
    roles = [role_of(same, known) for same in places]
    target = known.current.settings
    alias = (target.database or DEFAULT_DB_ALIAS) if isinstance(target, DatabaseSettings) else None
    return HandoverStore(
        roles[0],
        roles[1:],
        hold=lambda: known.undecided() > 0,
        longest_life=int(conf.longest_life_seconds() * 1000),
        in_transaction=lambda: alias is not None and not is_committed(alias),
        look_outside=lambda get: outside(get) if alias is not None and may_see_the_past(alias) else None,
        renamed=len({each.settings.target for each in places[0]}) > 1,
    )


def by_place(revisions: Iterable[Known]) -> list[list[Known]]:
    """Gather the revisions, newest first, by their places: a place has one role at a time, whatever it is called."""
    places: list[list[Known]] = []
    for each in revisions:
        same = next((place for place in places if any(each.is_same_place(other) for other in place)), None)
        if same is None:
            places.append([each])
        else:
            same.append(each)
    return places


def role_of(same: Sequence[Known], known: Snapshot) -> Role:
    """Return the role of one place, by its revisions, newest first; its floor is the oldest, as it has not been drained
    since."""
    newest, oldest = same[0], same[-1]
    floor = 0 if oldest.initial else oldest.number
    return Role(opened(newest, known), max(newest.number, 0), max(floor, 0))


def opened(revision: Known, known: Snapshot) -> Drainable:
    """Return the store of a revision. One that is draining and can't be opened fails when it is asked, not before: the
    sessions that have moved are served."""
    try:
        return open_store(revision.settings)
    except StoreMisconfigured as error:
        if revision is known.current:
            raise
        _tell_unopened(revision.settings.describe(), error)
        return UnopenedStore(error)


_unopened: set[str] = set()  # stores of which the log has been told


def _tell_unopened(description: str, error: StoreMisconfigured) -> None:
    """Tell once that a draining store can't be opened: it is asked for with each new view."""
    if description not in _unopened:
        _unopened.add(description)
        logger.error("%s can't be opened: %s", description, error)
        store_lost.send_robust(UnopenedStore, description=description, error=error)


_view: CurrentView | None = None


def current_view() -> CurrentView:
    """Return this process's view. In steady state this costs a comparison or two and asks nobody.

    Raises StoreUnavailable (the configuration was never read) or StoreMisconfigured.
    """
    global _view
    known, view = snapshot.current(), _view
    if view is None or view.snapshot is not known:
        view = _view = CurrentView(known)
    return view


_routed = RoutedStore(current_view)


def current_store() -> RoutedStore:
    """Return the store in force, now and whenever it is called."""
    return _routed


def current_settings() -> StoreSettings:
    """Return the settings of the store in force; their ``describe()`` is for staff and has no secret in it."""
    return snapshot.current().current.settings


def reset() -> None:
    """Forget the view and what was told, as after a fork or in a test."""
    global _view
    _view = None
    _unopened.clear()


forks.in_child(forks.Layer.KNOWLEDGE, reset)
