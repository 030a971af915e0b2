"""What the page shows beside the form: what is in force, the handover, the nodes, the history.

All of it is read from the database, not from what this process remembers: staff who have just saved want to see it.
Only ``count=True`` asks the draining stores, and counts no further than is quick.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from math import ceil
from typing import Any

from django.db.models.functions import Now
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from sessionpersist import conf
from sessionpersist.configuration.leftovers import read_adoption
from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.handover import draining, times
from sessionpersist.handover.draining import Draining, Left, NodeLeft
from sessionpersist.initial import initial_settings
from sessionpersist.models import LIVE, Node, Revision
from sessionpersist.stores.settings import StoreSettings

HISTORY_LENGTH = 20
TOGETHER = timedelta(
    minutes=5
)  # processes of a node count if they were heard from this long before its last sign
QUIET = timedelta(minutes=5)  # a node that was not heard from for longer is shown as quiet


@dataclass(frozen=True)
class Status:
    """What is in force: the store, since when, by whose choice; and the store that takes over soon."""

    settings: StoreSettings
    since: datetime | None = None
    chosen_by: str = ""
    number: int = 0
    pending: str = ""
    pending_at: datetime | None = None
    pending_seconds: int = 0
    place: str = ""  # see Store.place(); empty for In-Memory, which is another one on each node


def read_status() -> Status:
    """Return what is in force and what is to come."""
    in_force = Revision.objects.in_force()
    if not in_force:
        return Status(initial_settings())
    now, newest = in_force[0].database_now, in_force[-1]
    active = [revision for revision in in_force if revision.activates_at <= now]
    status = _status_since(active[-1]) if active else Status(initial_settings())
    if newest in active:
        return status
    seconds = max(1, ceil((newest.activates_at - now).total_seconds()))
    store = newest.store_settings().describe()
    at = times.noted(newest.activates_at)
    return replace(status, pending=store, pending_at=at, pending_seconds=seconds)


def _status_since(revision: Any) -> Status:
    since = times.noted(revision.activates_at)
    store = revision.store_settings()
    return Status(store, since, revision.saved_by, revision.pk, place=revision.place)


def read_panels(*, count: bool) -> dict[str, Any]:
    """Return all of them, for a template."""
    status, handover = read_status(), read_handover(count=count)
    history = read_history(handover.moving)
    panels = {"status": status, "handover": handover, "nodes": read_nodes(status), "history": history}
    return {**panels, "adoption": read_adoption(count=count)}


# The handover.


@dataclass(frozen=True)
class Moving:
    """One store whose sessions are still moving. ``left`` is None where nobody has counted, or could: ``problem``.

    In-Memory is a store of each node: then ``nodes`` has what is left on each, and ``left`` is the total.
    """

    number: int
    store: str
    since: datetime
    per_node: bool
    left: Left | None = None
    most: int = 0
    problem: str = ""
    nodes: Sequence[NodeLeft] = ()

    @property
    def percent(self) -> int:
        """How much has moved; not 100 before all has."""
        return min(99, int(self.left.share * 100)) if self.left and self.left.count else 100

    @property
    def bar(self) -> tuple[int, int]:
        """How far the bar is, and how long it is; full where nothing is left, even if nothing ever was there."""
        longest = self.most or 1
        left = self.left.count if self.left else longest
        return longest - left, longest

    @property
    def left_in_words(self) -> str:
        """How many sessions are left, such as “12,345” or “at least 50,000”."""
        if self.left is None:
            return ""
        count = grouped(self.left.count)
        return _("at least {count}").format(count=count) if self.left.more else count

    @property
    def at_stake(self) -> str:
        """Who is logged out if the store is given up, as far as anybody can tell."""
        if self.left is None or (not self.left.count and self.unknown):
            return _("Every user whose session has not moved is logged out.")
        text = ngettext(
            "{left} session has not moved; its user is logged out.",
            "{left} sessions have not moved; their users are logged out.",
            self.left.count,
        )
        return text.format(left=self.left_in_words)

    @property
    def how_known(self) -> str:
        """What stands behind that number: whose it is, how old, and what is missing in it."""
        return " ".join(self._reservations())

    def _reservations(self) -> Iterator[str]:
        if self.problem:
            yield _("Nobody can tell how many those are, as the store does not answer.")
            if self.most:
                yield _("The most that was counted there: {most}.").format(most=grouped(self.most))
        if self.per_node and self.oldest:
            text = _("That is on all nodes together, by figures of which the oldest was reported {age}.")
            yield text.format(age=self.oldest)
        elif self.per_node:
            yield _("That is on all nodes together.")
        if self.per_node and self.unknown:
            text = _("Not in it is what these nodes hold, which have not reported since the switch: {names}.")
            yield text.format(names=", ".join(self.unknown))

    @property
    def most_in_words(self) -> str:
        return grouped(self.most)

    @property
    def unknown(self) -> Sequence[str]:
        """The nodes that have not reported what is left on them."""
        return [node.name for node in self.nodes if node.count is None]

    @property
    def oldest(self) -> str:
        """How old the oldest figure of a node is that counts; empty where all are new."""
        seconds = max((node.seconds for node in self.nodes if node.count), default=0.0)
        return ago(seconds) if seconds >= 1 else ""

    @property
    def empty_here(self) -> bool:
        """Whether it is elsewhere only that something is left: this node can move nothing."""
        here = next((node for node in self.nodes if node.name == conf.node_name()), None)
        return here is not None and here.count == 0 and any(node.count != 0 for node in self.nodes)

    @property
    def by_node(self) -> Sequence[tuple[str, str, str]]:
        """For each node its name, how many are left there in words, and how old that figure is in words."""
        return [
            (
                node.name,
                "" if node.count is None else grouped(node.count),
                ago(node.seconds) if node.seconds else "",
            )
            for node in self.nodes
        ]


@dataclass(frozen=True)
class Over:
    """The handover that ended last."""

    store: str
    at: datetime
    how: str


@dataclass(frozen=True)
class Handover:
    """The stores that are draining, newest first; and how the last one ended where none is."""

    moving: Sequence[Moving] = ()
    over: Over | None = None
    problem: str = ""


def read_handover(*, count: bool) -> Handover:
    """Return what is still moving. With ``count`` the draining stores are asked how many sessions they hold."""
    try:
        found = draining.going_on()
    except StoreUnavailable as error:
        return Handover(problem=str(error))
    if not found:
        return Handover(over=_last_over())
    return Handover([read_moving(each, count=count) for each in found])


def read_moving(each: Draining, *, count: bool) -> Moving:
    """Return what is known of one draining store; for the page, and for who gives it up at the command line."""
    name = each.settings.describe()
    if each.per_node:
        name = _("{store} of every node").format(store=name)
    moving = Moving(each.number, name, each.since, each.per_node, nodes=each.nodes() if each.per_node else ())
    if not count:
        return moving
    try:
        return counted(moving, _left_here(each))
    except StoreUnavailable as error:
        return replace(moving, problem=str(error), most=_most_left(each.number))


def _left_here(each: Draining) -> int | None:
    """Count what is left in a store, or in that of this node; None where this process has another memory than the site,
    as another user has, so that only what the node has reported counts."""
    try:
        each.require_memory_of_site()
    except StoreMisconfigured:
        return None
    return each.left().count


def counted(moving: Moving, here: int | None) -> Moving:
    """The same store where somebody has just counted what is left in it: in that of this node, if each has its own."""
    count = here or 0
    more = count >= draining.COUNT_AT_MOST
    if moving.per_node:
        nodes = {node.name: node for node in moving.nodes}
        if here is not None:
            nodes[conf.node_name()] = NodeLeft(conf.node_name(), here)
        moving = replace(moving, nodes=[nodes[name] for name in sorted(nodes)])
        counts = [node.count for node in moving.nodes]
        more = any(each is None or each >= draining.COUNT_AT_MOST for each in counts)
        count = sum(each or 0 for each in counts)
    most = max(_most_left(moving.number), count)
    if moving.per_node:  # what each node holds is less
        Revision.objects.filter(pk=moving.number, most_left__lt=most).update(most_left=most)
    return replace(moving, left=Left(count, more, most), most=most)


def _most_left(number: int) -> int:
    return Revision.objects.filter(pk=number).values_list("most_left", flat=True).first() or 0


def _last_over() -> Over | None:
    last = Revision.objects.exclude(drained_at=None).order_by("-drained_at", "-pk").first()
    if last is None or last.drained_at is None:
        return None
    return Over(last.store_settings().describe(), times.noted(last.drained_at), last.drained_how)


# The nodes.


@dataclass(frozen=True)
class NodeState:
    """One node, as its processes last reported themselves; ``seconds`` is how long ago that was."""

    name: str
    processes: int
    stores: Sequence[str]
    seconds: float
    switched: bool
    behind: bool  # it has answered a request since the switch and still goes by an earlier revision
    elsewhere: bool  # under the name of the store in force it reaches another one

    @property
    def quiet(self) -> bool:
        return self.seconds > QUIET.total_seconds()

    @property
    def ago(self) -> str:
        """The last sign of life, in words."""
        return ago(self.seconds)


@dataclass(frozen=True)
class Nodes:
    """The nodes that were heard from in the last hour."""

    all: Sequence[NodeState] = ()

    @property
    def switched(self) -> int:
        return sum(node.switched for node in self.all)

    @property
    def elsewhere(self) -> Sequence[NodeState]:
        return [node for node in self.all if node.elsewhere]

    @property
    def behind(self) -> Sequence[NodeState]:
        return [node for node in self.all if node.behind]

    @property
    def waiting(self) -> Sequence[NodeState]:
        return [node for node in self.all if not node.switched and not node.behind]


def read_nodes(status: Status) -> Nodes:
    """Return the nodes with the stores that their processes use."""
    live = Node.objects.filter(seen_at__gte=Now() - LIVE)
    rows = list(live.annotate(now=Now()).order_by("name", "-seen_at"))
    numbers = {row.revision for row in rows}
    stores = {each.pk: each.store_settings().describe() for each in Revision.objects.filter(pk__in=numbers)}
    if unsaved := numbers - stores.keys():
        stores |= dict.fromkeys(unsaved, before_saving())
    by_name = groupby(rows, key=lambda row: row.name)
    return Nodes([_node_state(name, list(processes), stores, status) for name, processes in by_name])


def before_saving() -> str:
    """Name the store that a process uses before anybody has saved one, or say what is wrong with it. A site that has
    saved does not depend on INITIAL, and its page must not either."""
    try:
        return initial_settings().describe()
    except StoreMisconfigured as error:
        return str(error)


def _node_state(name: str, rows: list[Any], stores: dict[int, str], status: Status) -> NodeState:
    """``rows`` are its processes, the one that was last heard from first."""
    last = rows[0].seen_at
    together = [row for row in rows if last - row.seen_at <= TOGETHER]
    since = [row for row in together if status.since is None or times.noted(row.seen_at) >= status.since]
    used = {row.revision: stores[row.revision] for row in since or together}
    return NodeState(
        name,
        processes=len(together),
        stores=list(dict.fromkeys(used.values())),
        seconds=max(0.0, (rows[0].now - last).total_seconds()),
        switched=bool(since) and all(row.revision >= status.number for row in since),
        behind=any(row.revision < status.number for row in since),
        elsewhere=any(_is_elsewhere(row, status) for row in since),
    )


def _is_elsewhere(row: Any, status: Status) -> bool:
    """Whether a process has found another store under the name of the one in force."""
    known = row.place and status.place and row.revision == status.number
    return bool(known) and row.place != status.place


def grouped(number: int) -> str:
    """Write a number as people read it: 20,000."""
    return number_format(number, force_grouping=True)


def ago(seconds: float) -> str:
    """Say how long ago something was."""
    if seconds < 60:
        return _("{seconds} s ago").format(seconds=int(seconds))
    return _("{minutes} min ago").format(minutes=int(seconds // 60))


# The history.


@dataclass(frozen=True)
class Change:
    """One line of the history. ``back_to`` is the revision to switch back to; None where another line offers that store
    or it is the one that is configured now."""

    saved_by: str
    saved_at: datetime
    before: str
    after: str
    outcome: str  # what became of the sessions of the store before: pending, drained, abandoned, in use, moving, over
    ended_at: datetime | None = None
    back_to: int | None = None


def read_history(moving: Iterable[Moving] = ()) -> list[Change]:
    """Return the latest changes, newest first. What was there at installation is not a change."""
    revisions = list(Revision.objects.order_by("-pk").annotate(now=Now())[: HISTORY_LENGTH + 1])
    stores = [revision.store_settings() for revision in revisions]
    numbers = {each.number for each in moving}
    unfinished = {store.target for store, each in zip(stores, revisions, strict=True) if each.pk in numbers}
    offered = {store.target for store in stores[:1]}
    changes = []
    for (revision, earlier), (after, before) in zip(pairwise(revisions), pairwise(stores), strict=True):
        in_use, still = before.target == stores[0].target, before.target in unfinished
        outcome, ended_at = _outcome(revision, earlier, in_use=in_use, moving=still)
        back_to = None if before.target in offered else earlier.pk
        offered.add(before.target)
        texts = (revision.saved_by, times.noted(revision.saved_at), before.describe(), after.describe())
        changes.append(Change(*texts, outcome, ended_at and times.noted(ended_at), back_to))
    return changes


def _outcome(revision: Any, earlier: Revision, *, in_use: bool, moving: bool) -> tuple[str, datetime | None]:
    """What became of the sessions of the revision before, and when."""
    if revision.activates_at is None or revision.activates_at > revision.now:
        return "pending", revision.activates_at
    if earlier.drained_at is not None:
        return earlier.drained_how, earlier.drained_at
    if in_use:
        return "in use", None
    forgotten_at = revision.activates_at + timedelta(seconds=conf.longest_life_seconds())
    return ("moving", None) if moving or forgotten_at > revision.now else ("over", forgotten_at)
