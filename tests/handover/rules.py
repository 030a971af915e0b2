"""The rules of the handover, each with what is left of the code when it is taken out: the exploration must notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import rules as handover
from sessionpersist.handover.routing import RoutedStore
from sessionpersist.handover.rules import HandoverStore, Role
from sessionpersist.stores.base import Record, revision_of
from tests.handover.world import LIFE, Plan, Process, Rules, View


class OtherRouting(Rules):
    """With another RoutedStore."""

    Routed: type[RoutedStore]

    def routed(self, view: Callable[[], Any], sleep: Callable[[float], None]) -> RoutedStore:
        return self.Routed(view, sleep)


class WithoutHold(Rules):
    """Sessions are carried while processes still differ about the current store."""

    plan = Plan(("OLD", "NEW"), (("get", 0), ("save", 0), ("save", 1)))

    def hold(self, process: Process) -> Callable[[], bool]:
        return lambda: False


class WithoutReread(Rules):
    """Who finds the session nowhere takes that for an answer."""

    class Store(HandoverStore):
        def _locate_moved(self, key: str) -> handover.Found | None:
            return None


class WithoutEnded(Rules):
    """A logout deletes wherever the session may be, and leaves no mark."""

    class Store(HandoverStore):
        def delete(self, key: str, version: int | None = None) -> bool:
            deleted = [role.store.delete(key, version) for role in (*self.sources, self.current)]
            return any(deleted)


class WithoutEras(Rules):
    """Of two copies the one in the newer store is taken, whatever it is."""

    class Store(HandoverStore):
        def _is_settled(self, role: Role, record: Record) -> bool:
            return role is self.current


class WithoutFloor(Rules):
    """What was forgotten in a store that was emptied is taken for a session."""

    def store(
        self, current: Role, sources: Sequence[Role], hold: Callable[[], bool], renamed: bool
    ) -> HandoverStore:
        roles = [Role(role.store, role.number, 0) for role in (current, *sources)]
        return HandoverStore(roles[0], roles[1:], hold, LIFE)


class WithoutWait(OtherRouting):
    """Misses and logouts near a switch do not wait for it to be over."""

    class Routed(RoutedStore):
        def _still_holds(self, view: Any, *, missed: bool) -> bool:
            return self._is_in_force(view)


class WithoutAgain(OtherRouting):
    """An operation whose view has passed when it ends is not done again."""

    class Routed(RoutedStore):
        def _is_in_force(self, view: Any) -> bool:
            return True

        def _still_holds(self, view: Any, *, missed: bool) -> bool:
            if view.undecided():
                self._sleep(1.0)
            return True


class WithoutStale(Rules):
    """A process that could not read its configuration trusts what it knew."""

    class Trusting(View):
        stale = False

    def view(self, process: Process, store: HandoverStore) -> View:
        return self.Trusting(process, store)


class WithoutOutage(Rules):
    """A source that can't be asked is taken for one that has no such session."""

    class Forgiving(Role):
        def get(self, key: str) -> Record | None:
            try:
                return super().get(key)
            except StoreUnavailable:
                return None

    def store(
        self, current: Role, sources: Sequence[Role], hold: Callable[[], bool], renamed: bool
    ) -> HandoverStore:
        forgiving = [self.Forgiving(role.store, role.number, role.floor) for role in sources]
        return HandoverStore(current, forgiving, hold, LIFE)


class WithoutGrace(Rules):
    """A drained store is forgotten at once, while somebody may still be carrying a session from it."""

    grace = False


class WithoutSecondLine(Rules):
    """What was just written is deleted where it was read, though that is the same place."""

    plan = Plan(("OLD", "OLD'"), (("get", 0), ("get", 1), ("drain", 0)))

    class Store(HandoverStore):
        def _is_of_source(self, record: Record) -> bool:
            return revision_of(record.version) <= self.current.number


class WithoutMark(Rules):
    """Who knows that two names are one place logs out without a mark, while others still move sessions there."""

    plan = Plan(("OLD", "OLD'"), (("get", 0), ("logout", 1)))

    def store(
        self, current: Role, sources: Sequence[Role], hold: Callable[[], bool], renamed: bool
    ) -> HandoverStore:
        return HandoverStore(current, sources, hold, LIFE)


RULES: dict[str, type[Rules]] = {
    "hold": WithoutHold,
    "reread": WithoutReread,
    "ended": WithoutEnded,
    "eras": WithoutEras,
    "floor": WithoutFloor,
    "wait": WithoutWait,
    "again": WithoutAgain,
    "stale": WithoutStale,
    "outage": WithoutOutage,
    "grace": WithoutGrace,
    "second line": WithoutSecondLine,
    "mark": WithoutMark,
}
