"""Sessions of before: those that were saved when nobody listed them, brought into the rosters of their users.

A record says whose it is, so that takes no session key. It may be stopped at any moment and begun again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice

from django.conf import settings

from sessionpersist.handover import routing
from sessionpersist.handover.carrying import Place
from sessionpersist.handover.driving import Rule
from sessionpersist.roster.entering import run
from sessionpersist.roster.records import Entry, Owner, Roster, changed, new_entry
from sessionpersist.stores.base import Record, is_roster

TOGETHER = 1000  # records that are looked at together: a user may have several among them

Found = tuple[Owner, str, Record]


def enter_existing() -> Iterator[int]:
    """List the sessions in the store in force, and in those that drain, which no roster lists; yield after each part of
    them how many were entered. Nobody is refused or ended for that. Raises StoreUnavailable."""
    view = routing.current_view()
    for place in (view.current, *view.sources):
        found = _owned(place)
        while part := list(islice(found, TOGETHER)):
            part.sort(key=lambda each: each[0].hashes)
            yield sum(
                _entered(owner, [(key, record) for _, key, record in same])
                for owner, same in groupby(part, key=lambda each: each[0])
            )


def _owned(place: Place) -> Iterator[Found]:
    """Yield the live sessions of a store that have a user."""
    for key, record in place.store.scan():
        if record is None or record.ended or is_roster(key) or place.is_leftover(record):
            continue
        owner = Owner.of_record(record)
        if owner is not None and not routing.current_view().forgets(record.version):
            yield owner, key, record


def _entered(owner: Owner, sessions: list[tuple[str, Record]]) -> int:
    """Add sessions to the roster of their user, as far as it does not list them; return how many."""

    def change(roster: Roster) -> Rule[tuple[Roster, int]]:
        yield from ()
        known = {key for entry in roster.entries for key in entry.keys}
        new = [_entry(key, record) for key, record in sessions if key not in known]
        return roster._replace(entries=(*roster.entries, *new)), len(new)

    until = max(record.expires_at for _, record in sessions)
    return run(changed(routing.current_store(), owner, until, change))


def _entry(key: str, record: Record) -> Entry:
    """Return the entry of a session of which nobody knows more than that it is there. It may have an expiry of its own,
    so it is not taken for idle before it is saved."""
    entry = new_entry(key, int(settings.SESSION_COOKIE_AGE * 1000))
    return entry._replace(begun=record.created_at, at=record.created_at, own_expiry=True)
