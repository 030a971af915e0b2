"""How far the handover is that goes on by itself: read from the site's database, for the page and for metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sessionpersist.models import Lease, Revision
from sessionpersist.upkeep.mover import rate_from


@dataclass(frozen=True)
class Moving:
    """A process that is moving sessions now, and how many a second it has moved lately."""

    node: str
    process: int
    rate: float


@dataclass(frozen=True)
class Progress:
    """What becomes of one draining store without anybody asking. ``limit``: as many sessions a second are moved at
    most, by each of the ``movers``; 0: none. ``paused``: staff have said so."""

    number: int
    limit: float
    paused: bool
    movers: Sequence[Moving]

    @property
    def rate(self) -> float:
        """How many sessions a second are moved lately."""
        return sum(each.rate for each in self.movers)


def read(numbers: Sequence[int]) -> dict[int, Progress]:
    """Return it for the stores of these revisions. Raises Error."""
    at_work = list(Lease.objects.in_force().filter(moves__in=numbers).order_by("node"))
    chosen = Revision.objects.filter(pk__in=numbers).values_list("pk", "drain_rate")
    return {
        number: Progress(
            number,
            rate_from(rate),
            rate == 0,
            [Moving(each.node, each.process, each.rate) for each in at_work if each.moves == number],
        )
        for number, rate in chosen
    }
