"""The latest changes, and what became of the sessions of the store before each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db.models.functions import Now

from sessionpersist import conf
from sessionpersist.configuration.forms.policy import in_words
from sessionpersist.configuration.panels.handover import Moving
from sessionpersist.configuration.store_sentences import store_name
from sessionpersist.handover import times
from sessionpersist.models import PolicyChange, Revision

HISTORY_LENGTH = 20  # of each kind
NOTHING = "\N{EN DASH}"  # where a field is empty


@dataclass(frozen=True)
class Change:
    """One line of the history. ``back_to`` is the revision to switch back to, whose type of store is ``back_to_type``;
    None where another line offers that store or it is the one that is configured now."""

    saved_by: str
    saved_at: datetime
    before: str
    after: str
    # What became of the sessions of the store before: pending, ended (everybody was logged out), drained, abandoned,
    # in use, moving, over. Empty where time-outs or limits were changed, with which no session moves.
    outcome: str = ""
    ended_at: datetime | None = None
    back_to: int | None = None
    back_to_type: str = ""


def read_history(moving: Iterable[Moving] = ()) -> list[Change]:
    """Return the latest changes of the store, and of time-outs and limits, newest first. What was there at installation
    is not a change."""
    changes = [*_changes_of_store(moving), *_changes_of_policy()]
    return sorted(changes, key=lambda change: change.saved_at, reverse=True)


def _changes_of_policy() -> Iterator[Change]:
    for each in PolicyChange.objects.order_by("-pk")[:HISTORY_LENGTH]:
        yield Change(each.saved_by, times.noted(each.saved_at), _as_text(each.before), _as_text(each.after))


def _as_text(fields: dict[str, Any]) -> str:
    return "\n".join(f"{label}: {value or NOTHING}" for label, value in in_words(fields))


def _changes_of_store(moving: Iterable[Moving]) -> list[Change]:
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
        stores_in_words = (store_name(before), store_name(after))
        texts = (revision.saved_by, times.noted(revision.saved_at), *stores_in_words)
        changes.append(Change(*texts, outcome, ended_at and times.noted(ended_at), back_to, before.label))
    return changes


def _outcome(revision: Any, earlier: Revision, *, in_use: bool, moving: bool) -> tuple[str, datetime | None]:
    """What became of the sessions of the revision before, and when."""
    if revision.activates_at is None or revision.activates_at > revision.now:
        return "pending", revision.activates_at
    if revision.ends_earlier:
        return "ended", revision.activates_at
    if earlier.drained_at is not None:
        return earlier.drained_how, earlier.drained_at
    if in_use:
        return "in use", None
    life = max(conf.longest_life_seconds(), earlier.longest_life or 0)
    forgotten_at = revision.activates_at + timedelta(seconds=life)
    return ("moving", None) if moving or forgotten_at > revision.now else ("over", forgotten_at)
