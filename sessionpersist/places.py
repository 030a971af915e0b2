"""Places: where records really lie, whatever that is called. Each has an id of its own, see ``Store.place()``.

A revision notes the id of the place that it means. Two revisions of one id are one store under two names (``localhost``
and its address, a name and its alias, a replica that was promoted): nothing drains from one to the other. A place that
nobody could ask for its id yet is told apart by its name, until somebody can; and where that takes two names for two
stores, the handover still deletes nothing that it has just written (see ``stores/handover.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from sessionpersist import snapshot
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.models import Revision
from sessionpersist.snapshot import Known, Snapshot
from sessionpersist.stores import open_store
from sessionpersist.stores.settings import MemorySettings

COUNT_AT_MOST = 50_000  # sessions of a draining store: to count more would take some stores too long

logger = logging.getLogger("sessionpersist")


def before_saving() -> str:
    """Note the places in force, before another is saved; return that of the store of before anybody has saved one,
    which no revision can note yet (``""``: there is a revision, or nobody can tell)."""
    known = snapshot.current()
    learn(unknown(known))
    nothing_saved = known.current.number == 0 and not _is_memory(known.current)
    return _asked(known.current) if nothing_saved else ""


def unknown(known: Snapshot) -> list[Known]:
    """Return the revisions in force whose places nobody has noted. In-Memory is another place on each node."""
    return [
        each
        for each in (known.current, *known.draining)
        if each.number > 0 and not each.place and not _is_memory(each)
    ]


def learn(revisions: Iterable[Known]) -> None:
    """Note the places of these revisions, as far as their stores can be asked, for all processes to see.

    A store of before places had ids is given one.
    """
    learned = False
    for each in revisions:
        if place := _asked(each):
            learned |= bool(Revision.objects.filter(pk=each.number, place="").update(place=place))
    if learned:
        snapshot.expire()


def meant(known: Snapshot) -> dict[str, Any]:
    """Return what this process reports (see ``models.Node``): the place of the store in force, that of this node's
    memory while sessions may be there, and how many are left in it while it is draining."""
    memory = next((each for each in (known.current, *known.draining) if _is_memory(each)), None)
    return {
        "place": _asked(known.current),
        "memory": _asked(memory) if memory else "",
        "left": _left(memory) if memory and memory is not known.current else None,
    }


def _left(memory: Known) -> int | None:
    """How many sessions are left in this node's memory; None where it can't be asked, of which its log tells."""
    try:
        return open_store(memory.settings).count(COUNT_AT_MOST)
    except StoreUnavailable:
        return None


def _is_memory(revision: Known) -> bool:
    return isinstance(revision.settings, MemorySettings)


def _asked(revision: Known) -> str:
    """The id of the place of a revision; empty where it can't be asked, of which the log of the store tells."""
    try:
        store = open_store(revision.settings)
        place = store.place()
        if place is None:
            store.prepare()
            place = store.place()
    except StoreUnavailable as error:
        logger.info("Where revision %d lies could not be asked: %s", revision.number, error)
        return ""
    return place or ""
