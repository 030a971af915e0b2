"""Places: where records really lie, whatever that is called. Each has an id of its own, see ``Probed.place()``.

A revision notes the id of the place that it means. Two revisions of one id are one store under two names (``localhost``
and its address, a name and its alias, a replica that was promoted): nothing drains from one to the other. A place that
nobody could ask for its id yet is told apart by its name, until somebody can; and where that takes two names for two
stores, the handover still deletes nothing that it has just written (see ``handover/carrying.py``).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from sessionpersist import conf
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import snapshot
from sessionpersist.handover.asking import in_time
from sessionpersist.handover.snapshot import Known, Snapshot
from sessionpersist.models import Node, Revision
from sessionpersist.stores import open_store
from sessionpersist.stores.base import INITIAL
from sessionpersist.telemetry import lines
from sessionpersist.telemetry.lines import PLACE_UNKNOWN

JUST_NOW = timedelta(seconds=30)  # three reports of a process
COUNT_AT_MOST = 50_000  # sessions of a draining store: to count more would take some stores too long


def learn_before_saving() -> str:
    """Note the places in force, before another is saved; return that of the store of before anybody has saved one,
    which no revision can note yet (``""``: there is a revision, or nobody can tell)."""
    known = snapshot.current()
    learn(known)
    return (
        _asked(known.current)
        if known.current.number == INITIAL and not known.current.settings.per_node
        else ""
    )


def learn(known: Snapshot) -> None:
    """Ask the stores in force where they are, and note it for all processes to see."""
    for each in (known.current, *known.draining):
        if not each.settings.per_node:
            note(each, _asked(each))


def note(revision: Known, place: str) -> None:
    """Note where the store of a revision has been found to be: nobody knew yet, or the id that was known is gone with
    what else was there. In-Memory is another place on each node, which no revision notes; and so may be a name such as
    localhost: what another node finds there still is left alone, and the page shows that they differ."""
    if revision.number <= INITIAL or revision.settings.per_node or place in ("", revision.place):
        return
    with in_time(Revision):
        if _others_find(revision):
            return
        noted = Revision.objects.filter(pk=revision.number, place=revision.place).update(place=place)
    if noted:
        snapshot.expire()


def _others_find(revision: Known) -> bool:
    """Whether another node has found the known place just now."""
    if not revision.place:
        return False
    seen = Node.objects.filter(revision=revision.number, place=revision.place, seen_at__gte=Now() - JUST_NOW)
    return seen.exclude(name=conf.node_name()).exists()


def meant(known: Snapshot) -> dict[str, Any]:
    """Return what this process reports (see ``models.Node``): the place of the store in force, that of this node's
    memory while sessions may be there, and how many are left in it while it is draining. What can't be had is left as
    it was reported."""
    memory = next((each for each in (known.current, *known.draining) if each.settings.per_node), None)
    found: dict[str, Any] = {"place": _asked(known.current), "left": None}
    if memory is None:
        found["memory"] = ""
    elif place := _asked(memory):
        found["memory"] = place
    if memory is not None and memory is not known.current:
        found["left"] = _left(memory)
    return found


def _left(memory: Known) -> int | None:
    """How many sessions are left in this node's memory; None where it can't be asked, of which its log tells."""
    try:
        store = open_store(memory.settings)
        return store.count(COUNT_AT_MOST) or store.count(COUNT_AT_MOST, rosters=True)  # it is not empty
    except StoreUnavailable:
        return None


def _asked(revision: Known) -> str:
    """The id of the place of a revision, which is made if there is none; empty where it can't be asked, of which the
    log of the store tells."""
    try:
        store = open_store(revision.settings)
        place = store.place()
        if place is None:
            store.prepare()
            place = store.place()
    except StoreUnavailable as error:
        sentence = f"Where revision {revision.number} lies could not be asked: {error}"
        lines.say(PLACE_UNKNOWN, sentence, revision=revision.number)
        return ""
    return place or ""
