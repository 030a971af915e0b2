"""What is left in the stores used before, and how it is moved: for the page and for ``drain_sessions``.

A drain brings over what nobody has asked for since the switch, a batch at a time. It may be stopped at any moment, even
killed, and begun again; a batch that was half done is two copies of some sessions, and the handover knows which counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from time import monotonic
from typing import Any, NamedTuple

from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from sessionpersist import conf, exits, forks
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.handover import moving, places, routing, snapshot, times
from sessionpersist.handover.asking import in_time
from sessionpersist.handover.carrying import Place
from sessionpersist.handover.driving import drive
from sessionpersist.handover.routing import CurrentView
from sessionpersist.models import Node, Revision
from sessionpersist.roster import records
from sessionpersist.stores import open_store
from sessionpersist.stores.base import Drainable
from sessionpersist.stores.settings import StoreSettings
from sessionpersist.telemetry import recorder
from sessionpersist.telemetry.recorder import MOVED

BATCH = moving.BATCH
PATIENCE = 5.0  # seconds; a server kills a worker that takes several times as long
COUNT_AT_MOST = places.COUNT_AT_MOST
# Seconds for which nobody needs to ask again whether a handover goes on; see DRAINED_GRACE.
ANSWER_HOLDS = 5.0
HELD_SECONDS = 30.0  # for which a search that a step has left off is gone on with; what it has read grows old


class Search(NamedTuple):
    """Where a step has left off: what is left to look at in a store, under the view that it was read for."""

    batches: Iterator[moving.Batch]
    store: Drainable
    view: int
    until: float  # of the monotonic clock


_searches: dict[int, Search] = {}  # by revision: those of this process that no step is at


class NotNow(Exception):
    """Nothing can be moved at this moment; the text says why. Waiting a moment helps."""


class Drained(Exception):
    """Another process has moved the rest meanwhile, and the handover has ended."""


@dataclass(frozen=True)
class Left:
    """How many sessions are still in a store. ``more``: at least so many, and the counting ended there. ``most`` is the
    most that was ever counted."""

    count: int
    more: bool
    most: int

    @property
    def share(self) -> float:
        """Which part has moved, from 0 to 1."""
        return 1 - self.count / self.most if self.most else 1.0


@dataclass(frozen=True)
class NodeLeft:
    """How many sessions are left in the memory of one node, and how old that figure is. None: the node has not
    reported since the switch, so nobody can tell."""

    name: str
    count: int | None
    seconds: float = 0.0


@dataclass(frozen=True)
class Moved:
    """What one step has done: sessions moved, sessions still there (see Left), and whether that was the last of it."""

    moved: int
    left: int
    ended: bool


class Draining:
    """One place whose sessions are still moving to the current one, and what is left in it."""

    def __init__(self, view: CurrentView, place: Place) -> None:
        self.view, self.place = view, place
        known = view.snapshot.draining
        self.number = place.number
        self.found: Iterator[moving.Batch] | None = None  # where a search has begun already: the rest of it
        self.require: Callable[[], None] = _nothing  # raises where this process may not write (any more)
        self._asked_at = -math.inf  # when it was last asked whether it goes on, on the monotonic clock
        self.settings: StoreSettings = next(each.settings for each in known if each.number == place.number)

    @property
    def since(self) -> datetime:
        """When sessions began to go elsewhere."""
        return times.local(datetime.fromtimestamp(self._ended_at(), UTC))

    @property
    def per_node(self) -> bool:
        """Whether each node has such a store of its own, and this one can only be drained from here."""
        return self.settings.per_node

    def describe(self) -> str:
        """One line for staff."""
        return self.settings.describe() + (f" of {conf.node_name()}" if self.per_node else "")

    def left(self) -> Left:
        """Count what is left, and remember the most that was. Raises StoreUnavailable."""
        count = self.place.store.count(COUNT_AT_MOST)
        revisions = Revision.objects.filter(pk=self.number)
        with in_time(Revision):
            revisions.filter(Q(most_left=None) | Q(most_left__lt=count)).update(most_left=count)
            most = revisions.values_list("most_left", flat=True).first() or count
        return Left(count, count == COUNT_AT_MOST, most)

    def batches(self, size: int = BATCH) -> Iterator[int]:
        """Move what is left; yield after each batch how many sessions it has moved.

        Raises NotNow, StoreUnavailable; what was moved stays moved.
        """
        self.require_memory_of_site()
        self.found = self.found or moving.batched(self.place.store.scan(), size)
        for batch in self.found:
            rule = moving.move(self.view, self.place, batch, records.united)
            try:
                self._require_going_on()
                moved = drive(rule, routing.current_view, before=self._require_lately)
            except Drained:
                return
            if routing.current_view().number != self.view.number:
                for key in batch:
                    routing.current_store().get(key)  # a switch came in between: have it where it belongs now
                raise NotNow(_("The store was switched again meanwhile."))
            recorder.add(MOVED, amount=moved)
            yield moved

    def _require_lately(self) -> None:
        """Called right before each call of a store. A process may stand still at any moment, for as long as it likes
        (Ctrl-Z, a machine that swaps, a virtual one that is moved); meanwhile another may move the rest, and once
        DRAINED_GRACE has passed a logout leaves no mark, so that a write would bring the session back. So an answer
        holds for ANSWER_HOLDS, and then the database is asked again; and the lease, if there is one, must be held.

        What remains is a process, or a packet on its way, that stands still between this check and the write for
        longer than DRAINED_GRACE less ANSWER_HOLDS. Nor does the monotonic clock see a machine that sleeps.
        """
        while monotonic() >= self._asked_at + ANSWER_HOLDS:
            self._require_going_on()
        self.require()

    def _require_going_on(self) -> None:
        """See that what was read may still be brought over: once the handover has ended, a logout leaves no mark.

        Asks the database, as this process may not have heard of it yet. Raises Drained where another drain has moved
        the rest, NotNow where the store was given up, and where another switch is to come, and Error.
        """
        asked_at = monotonic()
        require_calm(routing.current_view())
        if self.view.in_transaction():
            raise NotNow(_("Sessions can't be moved inside a transaction, which may be rolled back."))
        with in_time(Revision):
            how = Revision.objects.filter(pk=self.number).values_list("drained_how", flat=True).first()
        if how == "abandoned":
            raise NotNow(_("{store} has been given up.").format(store=self.describe()))
        if how:
            raise Drained
        self._asked_at = asked_at

    def finish(self) -> int:
        """Count what is left; where that is nothing, the handover from this store is over. Raises StoreUnavailable."""
        self.require_memory_of_site()
        store = self.place.store
        left = store.count(COUNT_AT_MOST) or store.count(COUNT_AT_MOST, rosters=True)
        if left or (left := self._left_of_namesakes()):
            return left
        with in_time(Revision):
            if self.per_node:
                Node.objects.note_drained(conf.node_name(), self.number)
            if not self.per_node or (Node.objects.exists() and not self.nodes_left()):
                Revision.objects.drained(self.number, "drained")
                snapshot.expire()
        return 0

    def _left_of_namesakes(self) -> int:
        """How much is left in the memory of other nodes that go by the name of this one, of those that have reported
        themselves just now: nodes are noted by name, and theirs would pass for drained. Where nobody can tell, 1."""
        if not self.per_node:
            return 0
        mine = open_store(self.settings).place() or ""
        with in_time(Node):
            lately = Node.objects.filter(name=conf.node_name(), seen_at__gte=Now() - places.JUST_NOW)
            found = list(lately.exclude(memory__in=("", mine)).values_list("memory", "left"))
        memories = {memory: 1 if left is None else left for memory, left in found}
        return sum(memories.values())

    def require_memory_of_site(self) -> None:
        """See below: the real memory would be taken for drained."""
        require_memory_of_site(self.settings)

    def nodes_left(self) -> list[str]:
        """The nodes whose memory has not been found empty, of those that may have sessions in it."""
        return [node.name for node in self.nodes() if node.count != 0]

    def nodes(self) -> list[NodeLeft]:
        """The nodes that may have sessions in their memory, by name, with what they last reported of it. One that was
        switched off meanwhile counts as well: it may come back with its memory."""
        seen = Node.objects.filter(seen_at__gte=self._began()).annotate(now=Now())
        rows = groupby(seen.order_by("name", "-seen_at"), key=lambda row: row.name)
        return [self._reported(name, list(processes)) for name, processes in rows]

    def _reported(self, name: str, rows: list[Any]) -> NodeLeft:
        """``rows`` are the processes of a node, the one that was last heard from first: all share its memory."""
        if max(row.drained for row in rows) >= self.number:
            return NodeLeft(name, 0)
        decided_at = self._ended_at() + conf.guard_seconds()  # until then some process may still write there
        for row in rows:
            later = times.instant(row.seen_at).timestamp() > decided_at
            if row.left is not None and row.revision > self.number and later:
                return NodeLeft(name, row.left, (row.now - row.seen_at).total_seconds())
        return NodeLeft(name, None)

    def _ended_at(self) -> float:
        """When another store took over, as Unix time of the database."""
        later = (self.view.snapshot.current, *self.view.snapshot.draining)
        following = min((each for each in later if each.number > self.number), key=lambda each: each.number)
        return following.activates_at

    def _began(self) -> datetime:
        """Since when there may be sessions in it."""
        in_use = Revision.objects.filter(pk=max(self.place.floor, 1)).values_list("activates_at", flat=True)
        return in_use.first() or times.beginning()


def _nothing() -> None:
    """Raise nothing: no lease is needed."""


def require_memory_of_site(settings: StoreSettings) -> None:
    """Raise StoreMisconfigured where these settings are In-Memory, and this process opens another memory than any that
    serves the site: another user, or another folder, has another one, which is empty."""
    if not settings.per_node:
        return
    with in_time(Node):
        used = set(Node.objects.exclude(memory="").values_list("memory", flat=True))
        # Nodes of 0.2.0 report none: nobody can tell before this release has reported from there.
        known = used or Node.objects.of_earlier_release().exists()
    if known and open_store(settings).place() not in used:
        raise StoreMisconfigured(
            _(
                "This is not the memory that the site keeps its sessions in, as far as its nodes have reported; "
                "each does with its next request. Run this on the node itself, as the user that the site runs as, "
                "with the same settings (SECRET_KEY, MEMORY_DIR, DATABASE_URL)."
            )
        )


def going_on() -> list[Draining]:
    """Return the stores that are draining, newest first. Asks the database, not what this process remembers."""
    snapshot.expire()
    places.learn(snapshot.current())
    view = routing.current_view()
    numbers = [place.number for place in view.sources]
    with in_time(Revision):
        unfinished = set(
            Revision.objects.filter(pk__in=numbers, drained_at=None).values_list("pk", flat=True)
        )
    return [Draining(view, place) for place in view.sources if place.number in unfinished]


def move_some(number: int, seconds: float) -> Moved:
    """Move what is left in the store of a revision, for about that long; at least one batch in which there is something
    to move, if that is found within PATIENCE.

    Ended records stay where they are, and there may be more of them than a step can look at. So the next step of this
    process goes on where this one leaves off; one of another process has a search of its own. Raises NotNow,
    StoreUnavailable.
    """
    draining = next((each for each in going_on() if each.number == number), None)
    if draining is None:
        return Moved(0, 0, ended=True)
    require_calm(draining.view)
    moved, begun = 0, monotonic()
    draining.found = rest = _left_off(draining)
    for count in draining.batches():
        moved += count
        if monotonic() - begun > (seconds if moved else max(seconds, PATIENCE)):
            _leave_off(draining)
            if moved:
                break
            raise NotNow(_("Only sessions that were logged out were found so far; the search goes on."))
    left = draining.finish()
    if not left:
        _searches.pop(number, None)
    if left and not moved and rest is not None:
        raise NotNow(
            _("Only sessions that were logged out were found so far; the search goes on.")
        )  # it may be before where this step began: the next one begins there
    return Moved(moved, left, ended=not left)


def _left_off(draining: Draining) -> Iterator[moving.Batch] | None:
    """Return what the last search has left, for one step to go on with; None where that was read too long ago."""
    search, of = _searches.pop(draining.number, None), (draining.place.store, draining.view.number)
    known = search is not None and (search.store, search.view) == of and monotonic() < search.until
    return search.batches if search is not None and known else None


def _leave_off(draining: Draining) -> None:
    assert draining.found is not None
    until = monotonic() + HELD_SECONDS
    _searches[draining.number] = Search(draining.found, draining.place.store, draining.view.number, until)


def require_calm(view: CurrentView) -> None:
    """Raise NotNow where a switch is to come, or processes may still differ about the last one."""
    if pending := view.snapshot.pending:
        store = pending[-1].settings.describe()
        raise NotNow(_("The switch to {store} has not happened yet.").format(store=store))
    if view.undecided() > 0:
        raise NotNow(_("The store is being switched at this moment."))


def abandon(number: int) -> None:
    """Give the store of a revision up: sessions that are still there are logged out, and stay so."""
    Revision.objects.drained(number, "abandoned")
    snapshot.expire()


def reset() -> None:
    """Forget where steps have left off: after a fork, and before the interpreter takes its modules apart."""
    _searches.clear()


exits.at_exit(exits.Layer.KNOWLEDGE, reset)
forks.in_child(forks.Layer.KNOWLEDGE, reset)
