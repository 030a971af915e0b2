"""The nodes, and whether they have switched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from sessionpersist.configuration.panels.status import Status
from sessionpersist.configuration.panels.words import ago
from sessionpersist.configuration.store_sentences import said, store_name
from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.handover import times
from sessionpersist.initial import initial_settings
from sessionpersist.models import LIVE, Node, Revision

# Processes of a node count if they were heard from this long before its last sign of life.
TOGETHER = timedelta(minutes=5)
QUIET_AFTER = timedelta(minutes=5)  # a node that was not heard from for longer is shown as quiet


@dataclass(frozen=True)
class NodeState:
    """One node, as its processes last reported themselves, at ``seen_at``, which is ``seconds`` ago."""

    name: str
    processes: int
    stores: Sequence[str]
    seen_at: datetime
    seconds: float
    switched: bool
    behind: bool  # it has answered a request since the switch and still goes by an earlier revision
    elsewhere: bool  # under the name of the store in force it reaches another one

    @property
    def quiet(self) -> bool:
        return self.seconds > QUIET_AFTER.total_seconds()

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

    @property
    def wrong(self) -> bool:
        """Whether staff have to do something about a node."""
        return bool(self.elsewhere or self.behind)

    @property
    def progress(self) -> str:
        """How many have switched, and what the others wait for."""
        done = ngettext(
            "{done} of {total} nodes has switched", "{done} of {total} nodes have switched", self.switched
        ).format(done=self.switched, total=len(self.all))
        others = ngettext(
            "the other one has answered no request since, and switches before it answers the next.",
            "the others have answered no request since, and switch before they answer the next.",
            len(self.waiting),
        )
        return _("{done}; {others}").format(done=done, others=others)


def read_nodes(status: Status) -> Nodes:
    """Return the nodes with the stores that their processes use."""
    live = Node.objects.filter(seen_at__gte=Now() - LIVE)
    rows = list(live.annotate(now=Now()).order_by("name", "-seen_at"))
    numbers = {row.revision for row in rows}
    used = Revision.objects.filter(pk__in=numbers)
    stores = {each.pk: store_name(each.store_settings()) for each in used}
    if unsaved := numbers - stores.keys():
        stores |= dict.fromkeys(unsaved, describe_initial())
    by_name = groupby(rows, key=lambda row: row.name)
    return Nodes([_node_state(name, list(processes), stores, status) for name, processes in by_name])


def describe_initial() -> str:
    """Name the store that a process uses before anybody has saved one, or say what is wrong with it. A site that has
    saved does not depend on INITIAL, and its page must not either."""
    try:
        return store_name(initial_settings())
    except StoreMisconfigured as error:
        return said(error)


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
        seen_at=times.noted(last),
        seconds=max(0.0, (rows[0].now - last).total_seconds()),
        switched=bool(since) and all(row.revision >= status.number for row in since),
        behind=any(row.revision < status.number for row in since),
        elsewhere=any(_is_elsewhere(row, status) for row in since),
    )


def _is_elsewhere(row: Any, status: Status) -> bool:
    """Whether a process has found another store under the name of the one in force."""
    known = row.place and status.place and row.revision == status.number
    return bool(known) and row.place != status.place
