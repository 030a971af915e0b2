"""The rules of the handover, each with what is left of the code when it is taken out: the exploration must notice."""

from __future__ import annotations

from collections.abc import Sequence

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import carrying
from sessionpersist.handover.carrying import Found, Place
from sessionpersist.handover.driving import LOOK, Rule, Wait, call
from sessionpersist.stores.base import Outcome, Record, Rotation, restamped, revision_of
from tests.handover import world
from tests.handover.world import Plan, Process, Rules, View

CUT_OFF = Plan(("OLD", "NEW"), (("drain", 0), ("guest", 0), ("get", 1), ("arrive", 1)), cut_off=True)
# A drain sleeps through the second switch, and then makes a copy where the session was before. Found by chance.
TOUCHED_IN_A_CHAIN = Plan(("OLD", "NEW", "THIRD"), (("touch", 0), ("drain", 2), ("get", 1)), processes=3)


class WithoutReread(Rules):
    """Who finds the session nowhere takes that for an answer."""

    class View(world.View):
        def locate_moved(self, key: str) -> Rule[Found | None]:
            return None
            yield LOOK


class WithoutEnded(Rules):
    """A logout deletes wherever the session may be, and leaves no mark."""

    class View(world.View):
        def delete(self, key: str, version: int | None = None) -> Rule[bool]:
            deleted = False
            for place in (*self.sources, self.current):
                deleted |= yield from place.delete(key, version)
            return deleted


class WithoutEras(Rules):
    """Of two copies the one in the newer place is taken, whatever it is."""

    class View(world.View):
        def is_settled(self, found: Found) -> bool:
            return found.place is self.current


class WithoutFloor(Rules):
    """What was forgotten in a place that was emptied is taken for a session."""

    class Place(carrying.Place):
        def is_leftover(self, record: Record) -> bool:
            return False


class WithoutWait(Rules):
    """What happens near a switch does not wait for it to be over."""

    soon = Plan(("OLD", "NEW"), (("guest", 0), ("guest", 1)))

    class View(world.View):
        def undecided(self) -> float:
            return 0.0


class WithoutWaitBefore(Rules):
    """An operation begins near a switch, too."""

    plan = Plan(("OLD", "NEW"), (("save", 2), ("get", 1), ("save", 0)), processes=3)
    soon = Plan(("OLD", "NEW", "THIRD"), (("touch", 0), ("touch", 1), ("get", 0)))

    def _begin(self, *, logout: bool = False) -> Rule[carrying.View]:
        view: carrying.View = yield LOOK
        return view


class WithoutWaitAfter(Rules):
    """An operation that ends near a switch counts."""

    def _counts(self, view: carrying.View, found: bool, *, missed: bool) -> Rule[bool]:
        after: carrying.View = yield LOOK
        return after.number == view.number


class WithoutAgain(Rules):
    """An operation whose view has passed when it ends counts."""

    def _counts(self, view: carrying.View, found: bool, *, missed: bool) -> Rule[bool]:
        if seconds := view.undecided():
            yield Wait(seconds)
        return True


class WithoutFollowing(Rules):
    """A new session is left where it was created, though the view has passed."""

    soon = Plan(("OLD", "NEW"), (("arrive", 0), ("drain", 0), ("login", 0), ("touch", 1)))

    def follow(self, view: carrying.View, key: str, record: Record) -> Rule[bool]:
        return True
        yield LOOK


class WithoutLastLook(Rules):
    """A logout of one version that was done under a view that has passed is taken for done."""

    soon = Plan(
        ("OLD", "NEW", "THIRD", "OLD"),
        (("drain", 0), ("drain", 1), ("login", 1), ("arrive", 1)),
        cut_off=True,
    )

    def _is_gone(self, key: str) -> Rule[bool]:
        return True
        yield LOOK


class WithoutStale(Rules):
    """A process that could not read its configuration trusts what it knew."""

    soon = CUT_OFF

    class View(world.View):
        stale = False


class WithoutOutage(Rules):
    """A source that can't be asked is taken for one that has no such session."""

    soon = Plan(("OLD", "NEW"), (("get", 0), ("get", 1)), faults=1)

    class Forgiving(Place):
        def get(self, key: str) -> Rule[Record | None]:
            try:
                return (yield from super().get(key))
            except StoreUnavailable:
                return None

    def view(
        self, process: Process, current: Place, sources: Sequence[Place], *, renamed: bool, floor: int
    ) -> View:
        forgiving = [self.Forgiving(place.store, place.number, place.floor) for place in sources]
        return View(process, current, forgiving, renamed=renamed, floor=floor)


class WithoutGrace(Rules):
    """A drained store is forgotten at once, while somebody may still be carrying a session from it."""

    grace = False


class WithoutSecondLine(Rules):
    """What was just written is deleted where it was read, though that is the same place."""

    plan = Plan(("OLD", "OLD'"), (("get", 0), ("get", 1), ("drain", 0)))

    class View(world.View):
        def is_of_source(self, record: Record) -> bool:
            return revision_of(record.version) <= self.number


class WithoutMark(Rules):
    """Who knows that two names are one place logs out without a mark, while others still move sessions there."""

    plan = Plan(("OLD", "OLD'"), (("get", 0), ("logout", 1)))

    def view(
        self, process: Process, current: Place, sources: Sequence[Place], *, renamed: bool, floor: int
    ) -> View:
        return View(process, current, sources, renamed=False, floor=floor)


class WithoutSameWrite(Rules):
    """A copy that comes along from a source is written over what was carried, though it is the same."""

    plan = TOUCHED_IN_A_CHAIN

    class View(world.View):
        def is_same_write(self, one: Record, other: Record) -> bool:
            return False


class WithoutWaitInSteadyState(Rules):
    """Where nothing drains, a verb does not heed a switch that is near."""

    class View(world.View):
        def is_steady(self) -> bool:
            return not (self.unsettled or self.process.cut_off)


class WithoutLookAfter(Rules):
    """What a verb in steady state has done counts, whatever is in force as it ends."""

    class Routed(world.Routed):
        def _is_still(self, view: carrying.View) -> bool:
            return True


class WithoutKept(Rules):
    """A process that could not read its configuration is in steady state."""

    soon = CUT_OFF

    class View(world.View):
        def is_steady(self) -> bool:
            return not (self.unsettled or self.process.in_guard)


EVERYBODY = ("OLD", "OLD!")


class WithoutForgetting(Rules):
    """What was written before everybody was logged out is saved over."""

    plan = Plan(EVERYBODY, (("save", 0), ("get", 1)))

    class View(world.View):
        def replace(self, key: str, record: Record, expected: int) -> Rule[Outcome]:
            return self.current.replace(key, record, expected)


class WithoutDropping(Rules):
    """What was draining as everybody was logged out goes on draining."""

    drops = False


class WithoutRequiring(Rules):
    """A session gets a new key, though everybody was logged out since it was read."""

    plan = Plan(EVERYBODY, (("login", 0), ("get", 1)))
    forgets = False


class WithoutCatchingUp(Rules):
    """A process that is behind saves over what was made under the next revision."""

    plan = Plan(EVERYBODY, (("settle", 0), ("arrive", 1)))

    def _is_behind(self, view: carrying.View, version: int) -> Rule[bool]:
        return False
        yield LOOK


class WithoutStopping(Rules):
    """A session that was created as everybody was logged out is brought along."""

    plan = Plan(EVERYBODY, (("login", 0), ("get", 1)))

    def follow(self, view: carrying.View, key: str, record: Record) -> Rule[bool]:
        old, view = view, (yield LOOK)
        if view.number != old.number:
            moved = record._replace(version=restamped(record.version, view.number))
            yield from view.current.create(key, moved)
        return True


class WithoutCare(Rules):
    """A session is moved to a new key in the current store alone, whatever drains."""

    def rotate(
        self,
        old_key: str,
        version: int | None,
        new_key: str,
        record: Record,
        under: carrying.View | None = None,
        deleted: bool = False,
    ) -> Rule[Rotation]:
        view: carrying.View = yield LOOK
        return (yield from call(view.current.store.rotate, old_key, version, new_key, record))


class WithoutFollowingWhatMoved(Rules):
    """A session that was moved to a new key is left where that was, though the view has passed."""

    soon = Plan(("OLD", "NEW"), (("login", 0), ("logout", 1), ("drain", 1)))

    def rotate(
        self,
        old_key: str,
        version: int | None,
        new_key: str,
        record: Record,
        under: carrying.View | None = None,
        deleted: bool = False,
    ) -> Rule[Rotation]:
        if under is None:
            return (yield from super().rotate(old_key, version, new_key, record))
        gone = yield from self.delete(old_key, version, before=deleted)
        return Rotation.DONE if gone else Rotation.LEFT


class WithoutDeletingAgain(Rules):
    """What was deleted as a session moved to a new key, under a view that has passed, is taken for gone."""

    def rotate(
        self,
        old_key: str,
        version: int | None,
        new_key: str,
        record: Record,
        under: carrying.View | None = None,
        deleted: bool = False,
    ) -> Rule[Rotation]:
        if under is None:
            return (yield from super().rotate(old_key, version, new_key, record))
        if not (yield from self.follow(under, new_key, record)):
            return Rotation.TAKEN
        return Rotation.DONE if deleted else Rotation.LEFT


RULES: dict[str, type[Rules]] = {
    "reread": WithoutReread,
    "ended": WithoutEnded,
    "eras": WithoutEras,
    "floor": WithoutFloor,
    "wait": WithoutWait,
    "wait before": WithoutWaitBefore,
    "wait after": WithoutWaitAfter,
    "again": WithoutAgain,
    "following": WithoutFollowing,
    "last look": WithoutLastLook,
    "stale": WithoutStale,
    "outage": WithoutOutage,
    "grace": WithoutGrace,
    "second line": WithoutSecondLine,
    "mark": WithoutMark,
    "same write": WithoutSameWrite,
    "steady near a switch": WithoutWaitInSteadyState,
    "no look after": WithoutLookAfter,
    "kept": WithoutKept,
    "forgetting": WithoutForgetting,
    "dropping": WithoutDropping,
    "requiring": WithoutRequiring,
    "catching up": WithoutCatchingUp,
    "stopping": WithoutStopping,
    "care": WithoutCare,
    "following what moved": WithoutFollowingWhatMoved,
    "deleting again": WithoutDeletingAgain,
}
