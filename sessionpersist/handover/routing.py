"""From what this process knows of the configuration to the store that serves this moment.

In steady state all of this costs a request a few comparisons. Near a switch, and while anything drains, the rules of
``rules.py`` are driven here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

from sessionpersist import forks
from sessionpersist.awaiting import awaited, in_loop, sleep
from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.handover import snapshot
from sessionpersist.handover.carrying import Place, View
from sessionpersist.handover.driving import Rule, drive
from sessionpersist.handover.rules import Rules
from sessionpersist.handover.snapshot import Known, Snapshot
from sessionpersist.handover.unopened import UnopenedStore
from sessionpersist.session.policy import Policy
from sessionpersist.session.reasons import Reason
from sessionpersist.stores import open_store, telling
from sessionpersist.stores.base import (
    INITIAL,
    Drainable,
    Outcome,
    Record,
    Rotation,
    Saving,
    ended_record,
    now_ms,
    revision_of,
    saved,
)
from sessionpersist.stores.settings import StoreSettings
from sessionpersist.stores.transactions import is_committed, may_see_the_past
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import STORE_UNOPENED

P = ParamSpec("P")
T = TypeVar("T")


class RoutedStore:
    """The store in force when a verb is called, whichever that is: the verbs of a store.

    In steady state (nothing drains, no switch is near) a verb is the store's own, with a look before and a look after.
    Otherwise it follows the rules (``rules.py``). A session that was logged out while its store did not answer is an
    ended one, whatever lies there.
    """

    def __init__(
        self,
        view: Callable[[], View],
        sleep: Callable[[float], None] = sleep,
        rules: Rules | None = None,
    ) -> None:
        self._view, self._sleep, self._rules = view, sleep, rules or Rules()

    def get(self, key: str) -> Record | None:
        view = self._view()
        if view.ended and key in view.ended:
            return ended_record(now_ms() + view.longest_life)
        if view.steady_from < monotonic() < view.steady_until:
            record = view.current.store.get(key)
            if record is None:
                if self._is_still(view):
                    return None
            elif record.version >= view.oldest:
                return record
        return self._drive(self._rules.get(key))

    def create(self, key: str, record: Record, base: int | None = None) -> bool:
        """``base`` is the version of the session that this one is made out of, where it is. See ``View.forgets``."""
        view = self._view()
        if view.ended and key in view.ended:
            return False
        if (
            view.steady_from < monotonic() < view.steady_until
            and view.number == revision_of(record.version)
            and view.current.store.create(key, record)
        ):
            return self._is_still(view) or self._drive(self._rules.follow(view, key, record))
        return self._drive(self._rules.create(key, record, base))

    def replace(self, key: str, record: Record, expected: int) -> Outcome:
        view = self._view()
        if view.ended and key in view.ended:
            return Outcome.MISSING
        if view.steady_from < monotonic() < view.steady_until and not view.forgets(expected):
            if view.number != revision_of(record.version):
                return Outcome.CONFLICT
            outcome = view.current.store.replace(key, record, expected)
            return outcome if self._is_still(view) else Outcome.CONFLICT
        return self._drive(self._rules.replace(key, record, expected))

    def touch(self, key: str, expires_at: int) -> bool:
        view = self._view()
        if view.ended and key in view.ended:
            return False
        if view.steady_from < monotonic() < view.steady_until:
            touched = view.current.store.touch(key, expires_at)
            if self._is_still(view):
                return touched
        return self._drive(self._rules.touch(key, expires_at))

    def delete(self, key: str, version: int | None = None) -> bool:
        view, deleted = self._view(), False
        if view.steady_from < monotonic() < view.steady_until:
            deleted = view.current.store.delete(key, version)
            if self._is_still(view):
                return deleted
        return self._drive(self._rules.delete(key, version, before=deleted))

    def end(self, key: str, expires_at: int, reason: int = 0) -> None:
        """Leave an ended record that says why in place of a session, whether there is one or not: until ``expires_at``
        at least, and for as long as the session could live where a handover is going on."""
        view = self._view()
        if view.steady_from < monotonic() < view.steady_until:
            view.current.store.end(key, expires_at, 0 if view.mixed else reason)
            if self._is_still(view):
                return
        self._drive(self._rules.end(key, expires_at, reason))

    def rotate(self, old_key: str, version: int | None, new_key: str, record: Record) -> Rotation:
        """Move a session to a new key. ``TAKEN`` also tells that the record has the stamp of another revision than the
        one in force, as with ``create``."""
        view, done = self._view(), Rotation.TAKEN
        if view.ended and new_key in view.ended:
            return done
        if view.steady_from < monotonic() < view.steady_until and view.number == revision_of(record.version):
            done = view.current.store.rotate(old_key, version, new_key, record)
            if done is not Rotation.TAKEN and self._is_still(view):
                return done
        under, deleted = None if done is Rotation.TAKEN else view, done is Rotation.DONE
        return self._drive(self._rules.rotate(old_key, version, new_key, record, under, deleted))

    def end_and_replace(
        self, ended: Mapping[str, int], until: int, key: str, record: Record, expected: int
    ) -> Outcome:
        """End sessions, each for its reason, and then replace a record."""
        view = self._view()
        if (
            view.steady_from < monotonic() < view.steady_until
            and view.number == revision_of(record.version)
            and not view.ended
            and not view.mixed
            and not view.forgets(expected)
        ):
            outcome = view.current.store.end_and_replace(ended, until, key, record, expected)
            if self._is_still(view):
                return outcome
        for each, reason in ended.items():
            self.end(each, until, reason)
        return self.replace(key, record, expected)

    def save_both(self, first: Saving, second: Saving) -> tuple[Outcome, Outcome | None]:
        """Save a record, and in steady state another one with it. What a switch comes between is a conflict."""
        view = self._view()
        if (
            view.steady_from < monotonic() < view.steady_until
            and view.number == revision_of(first.record.version) == revision_of(second.record.version)
            and not view.ended
            and not (first.expected and view.forgets(first.expected))
            and not (second.expected and view.forgets(second.expected))
        ):
            outcome, then = view.current.store.save_both(first, second)
            if not self._is_still(view):
                return Outcome.CONFLICT, None
            if then is not None:
                return outcome, then if _is_final(second, then) else saved(self, second)
            if _is_final(first, outcome):
                return outcome, None
        return saved(self, first), None

    def get_many(self, keys: Collection[str]) -> dict[str, Record]:
        """Return the records of several keys, ended ones too, but for those of before everybody was logged out: in one
        round trip in steady state."""
        view = self._view()
        if view.steady_from < monotonic() < view.steady_until:
            found = view.current.store.get_many(keys)
            if self._is_still(view):
                return {
                    key: each
                    for key, each in found.items()
                    if (each.ended or each.version >= view.oldest) and key not in view.ended
                }
        records = ((key, self.get(key)) for key in keys)
        return {key: each for key, each in records if each is not None and each.reason != Reason.EVERYBODY}

    def clear_expired(self) -> int:
        return self._view().current.store.clear_expired()

    def revision(self) -> int:
        """Return the number of the revision in force, with which a new version is stamped."""
        return self._view().number

    def in_transaction(self) -> bool:
        """Return whether what this thread writes may be rolled back."""
        return self._view().in_transaction()

    def locks_others_out(self) -> bool:
        """Return whether others would have to wait for a record that this thread writes, until its transaction ends."""
        return self._view().locks_others_out()

    def may_see_the_past(self) -> bool:
        """Return whether this thread is in a transaction that may not see what others have written since it began."""
        return self._view().may_see_the_past()

    def _is_still(self, view: View) -> bool:
        """Whether a view in steady state is still the one in force, and in steady state."""
        after = self._view()
        return after.number == view.number and after.steady_from < monotonic() < after.steady_until

    def _drive(self, rule: Rule[T]) -> T:
        return drive(rule, self._view, self._sleep)


def _is_final(saving: Saving, outcome: Outcome) -> bool:
    """Whether a store has the last word: what takes the key of a new record may be of before everybody was logged out,
    and is written over then."""
    return saving.expected is not None or outcome is Outcome.SAVED


class CurrentView(View):
    """The view of this process, made once a snapshot."""

    def __init__(self, known: Snapshot) -> None:
        together = by_place([known.current, *known.draining])
        current, *sources = (place_of(same, known) for same in together)
        super().__init__(
            current,
            sources,
            longest_life=int(known.longest_life * 1000),
            renamed=len({each.settings.target for each in together[0]}) > 1,
            floor=known.floor,
        )
        self.snapshot, self.mixed, self.ended = known, known.mixed, known.ended
        self.blocks = any(place.store.blocks for place in (current, *sources))
        self._alias = known.current.settings.transaction_alias
        self._calm_from, self._calm_until = known.calm()
        if not self.unsettled and not known.kept:
            self.steady_from, self.steady_until = self._calm_from, min(self._calm_until, known.fresh_until)

    @property
    def stale(self) -> bool:
        return self.snapshot.stale

    def undecided(self) -> float:
        return 0.0 if self._calm_from < monotonic() < self._calm_until else self.snapshot.undecided()

    def in_transaction(self) -> bool:
        return self._alias is not None and not is_committed(self._alias)

    def locks_others_out(self) -> bool:
        """SQLite locks the whole database: there another connection would wait for this one. So would it for a test."""
        return self.may_see_the_past() and connections[str(self._alias)].vendor != "sqlite"

    def may_see_the_past(self) -> bool:
        return self._alias is not None and may_see_the_past(self._alias)


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


def place_of(same: Sequence[Known], known: Snapshot) -> Place:
    """Return one place by its revisions, newest first; its floor is the oldest, as it has not been drained since."""
    newest, oldest = same[0], same[-1]
    return Place(opened(newest, known), newest.stamp, INITIAL if oldest.initial else oldest.stamp)


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
        sentence = f"{description} can't be opened: {error}"
        lines.say(STORE_UNOPENED, sentence, store=description, error=type(error).__name__)
        telling.lost(UnopenedStore, description, error)


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


async def on_loop(operation: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run a whole operation on the stores in force for a coroutine: on its loop, or, where one of the stores holds up
    the thread that asks it, once in another."""
    view = _view
    if view is None:
        with suppress(StoreUnavailable, StoreMisconfigured):  # the operation meets it again, and notes it
            view = await awaited(current_view)
    if view is not None and view.blocks:
        return await sync_to_async(operation)(*arguments, **named)
    return await awaited(operation, *arguments, **named)


def holds_up_the_loop() -> bool:
    """Return whether this runs for a coroutine, and a store in force holds up the thread that asks it."""
    return _view is not None and _view.blocks and in_loop()


def current_policy() -> Policy:
    """Return what staff have decided about sessions. A comparison, like current_view(), which it raises like."""
    return snapshot.current().policy


def current_settings() -> StoreSettings:
    """Return the settings of the store in force; their ``describe()`` is for staff and has no secret in it."""
    return snapshot.current().current.settings


def reset() -> None:
    """Forget the view and what was told, as after a fork or in a test."""
    global _view
    _view = None
    _unopened.clear()


forks.in_child(forks.Layer.KNOWLEDGE, reset)
