"""How fast the sessions of a draining store move by themselves, and when that is over, in words."""

from __future__ import annotations

from math import ceil

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from sessionpersist.configuration.panels.words import HOUR, MINUTE, grouped
from sessionpersist.handover.draining import Left
from sessionpersist.upkeep.mover import FASTEST
from sessionpersist.upkeep.progress import Progress


class Pace:
    """What the page says of one draining store. ``left``: None where nobody has counted."""

    def __init__(self, progress: Progress, left: Left | None) -> None:
        self.progress, self.left = progress, left

    @property
    def by_itself(self) -> bool:
        """Whether anything moves without somebody asking, now or after a pause."""
        return self.progress.limit > 0 or self.paused

    @property
    def paused(self) -> bool:
        return self.progress.paused

    @property
    def may_go_faster(self) -> bool:
        return 0 < self.progress.limit < FASTEST

    @property
    def rate_in_words(self) -> str:
        """Such as “480 a second”; empty where nothing has moved yet."""
        return _a_second(self.progress.rate) if self.progress.rate >= 1 else ""

    @property
    def time_left(self) -> str:
        """Such as “about 4 min left”; empty where nobody can tell."""
        if self.left is None or not self.left.count or self.progress.rate < 1:
            return ""
        seconds = self.left.count / self.progress.rate
        text = _("at least {time} left") if self.left.more else _("about {time} left")
        return text.format(time=_span(seconds))

    @property
    def brief(self) -> str:
        """For the strip on top, after the number of sessions."""
        if self.paused:
            return _("paused")
        return ", ".join(filter(None, (self.rate_in_words, self.time_left)))

    @property
    def what_happens(self) -> str:
        """In a sentence or two, for the panel."""
        if not self.by_itself:
            return _("DRAIN_RATE is 0 here: sessions move as their users come back, or by hand.")
        if self.paused:
            return _("Paused: sessions move only as their users come back, or by hand.")
        if not self.progress.movers:
            text = _("The site moves the rest by itself, at most {rate}. It begins within seconds.")
            return text.format(rate=_a_second(self.progress.limit))
        return " ".join(filter(None, (self._speed, self._who)))

    @property
    def _speed(self) -> str:
        if not self.rate_in_words:
            return _("The site moves the rest by itself, at most {rate}.").format(
                rate=_a_second(self.progress.limit)
            )
        text = (
            _("The site moves the rest by itself: {rate}, {time}.")
            if self.time_left
            else _("The site moves the rest by itself: {rate}.")
        )
        return text.format(rate=self.rate_in_words, time=self.time_left)

    @property
    def _who(self) -> str:
        movers = self.progress.movers
        text = _("process {process} on {node}")
        names = ", ".join(text.format(process=each.process, node=each.node) for each in movers)
        who = ngettext("It is done by {names}.", "It is done by {names}, each for its node.", len(movers))
        return who.format(names=names)


def _a_second(rate: float) -> str:
    return _("{count} a second").format(count=grouped(ceil(rate)))


def _span(seconds: float) -> str:
    if seconds < 1.5 * MINUTE:
        return _("{seconds} s").format(seconds=ceil(seconds))
    if seconds < 1.5 * HOUR:
        return _("{minutes} min").format(minutes=ceil(seconds / MINUTE))
    return _("{hours} h").format(hours=ceil(seconds / HOUR))
