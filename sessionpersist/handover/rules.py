"""When an answer counts: one rule around all others.

*An operation counts only if it began and ended under one view, away from a switch. Otherwise it waits until the guard
time is over, and is done again.*

A **view** is the revision that a process holds to be current as it begins an operation. Near an activation the views of
processes differ by the error of their clocks, and a process that was descheduled may wake with a view long gone. An
operation is near a switch within ``GUARD_SECONDS`` of it; by the end of that all processes agree.

Where the rule would cost more than it gives:

- Where nothing drains, nothing is carried either. So what is found, saved or touched there counts near a switch too,
  if the view is still in force. Misses and logouts wait.
- In steady state a hit needs no second look (see ``RoutedStore.get``). A logout that has been acknowledged by the time
  a read begins is seen by it; one that has not overlaps the read, which may come first.
- A new session has a random key that nobody else knows yet. It is created at once; if the view has passed by then, it
  is brought to where sessions are now.
- A save that did not count is a conflict the second time, with what it has saved itself, or as its stamp is of a view
  that has passed. The caller reads, merges, and saves again.
- A logout of one version that counted under no view finds nothing the second time. So somebody looks what is left.
- A miss or a logout on a configuration that could not be read is StoreUnavailable: this process can't know of a switch.

So while anything drains, a page waits for up to half a second after a switch, and for up to a second around one where
another handover is still going on. Reading a session where it is, near a switch, would save that. Tried, it loses
sessions: an operation that was overtaken may have carried one to a place that was found empty meanwhile, and relies on
being done again to bring it on.

What the rule is around is in ``carrying.py``; what drives both, in ``driving.py``.
"""

from __future__ import annotations

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover.carrying import View
from sessionpersist.handover.driving import LOOK, Rule, Wait
from sessionpersist.stores.base import Outcome, Record, Rotation, restamped, revision_of

MISSED = "The login configuration could not be read for too long to be sure of the store."


class Rules:
    """The verbs of the store in force, whichever that is."""

    def get(self, key: str) -> Rule[Record | None]:
        while True:
            view = yield from self._begin()
            record = yield from view.get(key)
            alive = record is not None and not record.ended
            if (yield from self._counts(view, alive, missed=record is None)):
                return record

    def create(self, key: str, record: Record, base: int | None = None) -> Rule[bool]:
        """``base`` is the version of the session that this one is made out of."""
        view: View = yield LOOK
        while base is not None and (yield from self._is_behind(view, base)):
            view = yield LOOK
        if revision_of(record.version) != view.number or not (yield from view.current.create(key, record)):
            return False
        return (yield from self.follow(view, key, record))

    def follow(self, view: View, key: str, record: Record) -> Rule[bool]:
        """Have a new session in the place that is in force: where it was created nobody may look any more. False where
        everybody was logged out since: it was created for nothing."""
        while True:
            old, view = view, (yield LOOK)
            if view.number == old.number:
                return True
            if view.forgets(record.version):
                return False
            if (yield from self.get(key)) is None:
                moved = record._replace(version=restamped(record.version, view.number))
                yield from view.current.create(key, moved)
                yield from old.current.delete(key, record.version)

    def replace(self, key: str, record: Record, expected: int) -> Rule[Outcome]:
        while True:
            view = yield from self._begin()
            if revision_of(record.version) != view.number:
                return Outcome.CONFLICT
            if (yield from self._is_behind(view, expected)):
                continue
            outcome = yield from view.replace(key, record, expected)
            saved, missed = outcome is Outcome.SAVED, outcome is Outcome.MISSING
            if outcome is Outcome.CONFLICT or (yield from self._counts(view, saved, missed=missed)):
                return outcome

    def touch(self, key: str, expires_at: int) -> Rule[bool]:
        while True:
            view = yield from self._begin()
            touched = yield from view.touch(key, expires_at)
            if (yield from self._counts(view, touched, missed=not touched)):
                return touched

    def delete(self, key: str, version: int | None = None, before: bool = False) -> Rule[bool]:
        """``before``: it was deleted already, under a view that did not count."""
        while True:
            view = yield from self._begin(logout=True)
            deleted = yield from view.delete(key, version)
            if (yield from self._counts(view, False, missed=True)):
                return deleted or (before and (version is None or (yield from self._is_gone(key))))
            before |= deleted

    def end(self, key: str, expires_at: int, reason: int = 0) -> Rule[None]:
        """End a session for a reason. What was done under a view that did not count is an ended record more, which
        stands in nobody's way."""
        while True:
            view = yield from self._begin(logout=True)
            yield from view.end(key, view.holding(expires_at), reason)
            if (yield from self._counts(view, False, missed=True)):
                return

    def rotate(
        self,
        old_key: str,
        version: int | None,
        new_key: str,
        record: Record,
        under: View | None = None,
        deleted: bool = False,
    ) -> Rule[Rotation]:
        """Move a session to a new key with care: one that is created where it counts, then the other is logged out.

        ``under`` is a view that did not count, under which it has been created already, and the other one ``deleted``
        or not.
        """
        if under is None:
            created = yield from self.create(new_key, record, version)
        else:
            created = yield from self.follow(under, new_key, record)
        if not created:
            return Rotation.TAKEN
        gone = yield from self.delete(old_key, version, before=deleted)
        return Rotation.DONE if gone else Rotation.LEFT

    def _is_gone(self, key: str) -> Rule[bool]:
        """Whether nothing is left of what was deleted under a view that has passed. While it was, somebody may have
        moved it, and others have saved to it since; or be moving it now, who must be kept from that."""
        record = yield from self.get(key)
        if record is not None and not record.ended:
            return False
        yield from self.delete(key)
        return True

    def _begin(self, *, logout: bool = False) -> Rule[View]:
        """Return the view to work under, once no switch is near that matters."""
        while True:
            view: View = yield LOOK
            seconds = view.undecided() if view.unsettled or logout else 0.0
            if not seconds:
                return view
            yield Wait(seconds)

    def _is_behind(self, view: View, version: int) -> Rule[bool]:
        """Return whether others have made a switch that is near, as what is to be written over tells, after waiting for
        it: a write with the older stamp would be forgotten where that switch has logged everybody out.

        Raises StoreUnavailable where this process hears of no switch.
        """
        if revision_of(version) <= view.number:
            return False
        if view.stale:
            raise StoreUnavailable(MISSED)
        seconds = view.undecided()
        if seconds:
            yield Wait(seconds)
        return bool(seconds)

    def _counts(self, view: View, found: bool, *, missed: bool) -> Rule[bool]:
        """Return whether an answer counts that was given under this view, after waiting for a switch that is near.

        ``found``: the session was there. ``missed``: it was nowhere, or is to be nowhere; then this raises
        StoreUnavailable where the process can't know.
        """
        if (view.unsettled or not found) and (seconds := view.undecided()):
            yield Wait(seconds)
            return False
        after: View = yield LOOK
        if after.number != view.number:
            return False
        if missed and after.stale:
            raise StoreUnavailable(MISSED)
        return True
