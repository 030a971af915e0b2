"""The stores whose sessions are still moving. Only ``count=True`` asks them, and counts no further than is quick."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from sessionpersist import conf
from sessionpersist.configuration.panels.pace import Pace
from sessionpersist.configuration.panels.words import ago, grouped, left_in_words
from sessionpersist.configuration.store_sentences import said, store_name
from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.handover import draining, times
from sessionpersist.handover.draining import Draining, Left, NodeLeft
from sessionpersist.models import Revision
from sessionpersist.upkeep.progress import Progress
from sessionpersist.upkeep.progress import read as read_progress


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
    progress: Progress | None = None

    @property
    def pace(self) -> Pace | None:
        """How fast it goes by itself."""
        return None if self.progress is None else Pace(self.progress, self.left)

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
        return "" if self.left is None else left_in_words(self.left)

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
            yield _("The store does not answer, so the number is not known.")
            if self.most:
                yield _("The most that was counted there: {most}.").format(most=grouped(self.most))
        if self.per_node and self.oldest:
            text = _("This is the total of all nodes; the oldest figure was reported {age}.")
            yield text.format(age=self.oldest)
        elif self.per_node:
            yield _("This is the total of all nodes.")
        if self.per_node and self.unknown:
            text = _("These nodes have not reported since the switch and are not included: {names}.")
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

    @property
    def left_in_words(self) -> str:
        """How many sessions are left in all of them; empty where one was not counted."""
        counts = [each.left for each in self.moving if each.left]
        if not counts or len(counts) < len(self.moving):
            return ""
        total = sum(each.count for each in counts)
        return left_in_words(Left(total, any(each.more for each in counts), total))

    @property
    def pace(self) -> str:
        """How fast they move by themselves, in a few words; empty where nothing is known, or several stores drain."""
        paces = [each.pace for each in self.moving if each.pace is not None]
        return paces[0].brief if len(paces) == 1 else ""

    @property
    def unreachable(self) -> bool:
        """Whether an old store that still holds sessions does not answer."""
        return any(each.problem for each in self.moving)


def read_handover(*, count: bool) -> Handover:
    """Return what is still moving. With ``count`` the draining stores are asked how many sessions they hold."""
    try:
        found = draining.going_on()
    except StoreUnavailable as error:
        return Handover(problem=said(error))
    if not found:
        return Handover(over=_last_over())
    return Handover([read_moving(each, count=count) for each in found])


def read_moving(each: Draining, *, count: bool) -> Moving:
    """Return what is known of one draining store; for the page, and for who gives it up at the command line."""
    name = store_name(each.settings)
    if each.per_node:
        name = _("{store} of every node").format(store=name)
    nodes = each.nodes() if each.per_node else ()
    progress = read_progress([each.number]).get(each.number)
    moving = Moving(each.number, name, each.since, each.per_node, nodes=nodes, progress=progress)
    if not count:
        return moving
    try:
        return counted(moving, _left_here(each))
    except StoreUnavailable as error:
        return replace(moving, problem=said(error), most=_most_left(each.number))


def find_moving(number: int, left: int | None = None) -> Moving | None:
    """Return the store of a revision if it is draining, with its sessions counted; ``left`` is their number where
    somebody has just counted them."""
    found = read_handover(count=left is None).moving
    moving = next((each for each in found if each.number == number), None)
    return moving if moving is None or left is None else counted(moving, left)


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
    return Over(store_name(last.store_settings()), times.noted(last.drained_at), last.drained_how)
