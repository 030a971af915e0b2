"""How a drain brings over what nobody has asked for since the switch: a batch at a time, by the rules of a carry.

It may be stopped at any moment, even killed, and begun again; a batch that was half done is two copies of some
sessions, and the handover knows which counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sessionpersist.handover.carrying import Place, View
from sessionpersist.handover.driving import Rule, call
from sessionpersist.stores.base import Outcome, Record, is_roster, restamped

BATCH = 100  # sessions that are moved together
BATCH_BYTES = 1024 * 1024  # of payload; a larger session moves alone

Batch = dict[str, Record]
# By key, what is in the current place, what is in the source, and the revision: one record that lists what both do.
Unite = Callable[[str, Record, Record, int], Record]


def batched(records: Iterator[tuple[str, Record | None]], size: int = BATCH) -> Iterator[Batch]:
    """Gather records into batches, by number and by bytes."""
    batch: Batch = {}
    total = 0
    for key, record in records:
        if record is None:
            continue  # a foreign record: nothing to move
        if batch and (len(batch) >= size or total + len(record.payload) > BATCH_BYTES):
            yield batch
            batch, total = {}, 0
        batch[key] = record
        total += len(record.payload)
    if batch:
        yield batch


def move(view: View, source: Place, batch: Batch, unite: Unite) -> Rule[int]:
    """Bring a batch of a source over; return how many live sessions were carried. Rosters come along, and are not
    counted; where there is one already, as each node's memory has its own, ``unite`` makes one of both."""
    yield from _drop_forgotten(view, source, batch)
    plain = yield from _plain(view, source, batch)
    moved = {
        key: record._replace(version=restamped(record.version, view.number)) for key, record in plain.items()
    }
    created: set[str] = set()
    if moved:
        created = yield from call(view.current.store.create_many, moved)
    if created:
        versions = {key: plain[key].version for key in created}
        for key in (yield from call(source.store.delete_many, versions)):
            yield from view.clear_source(key, source, plain[key], moved[key])
    carried = set(created)
    for key, record in batch.items():
        if key not in created and (yield from _move(view, source, key, record, unite)):
            carried.add(key)
    return sum(not is_roster(key) for key in carried)


def _drop_forgotten(view: View, source: Place, batch: Batch) -> Rule[None]:
    """Delete what was written before everybody was last logged out, and take it out of the batch."""
    forgotten = {key: record.version for key, record in batch.items() if view.forgets(record.version)}
    if forgotten:
        yield from call(source.store.delete_many, forgotten)
    for key in forgotten:
        del batch[key]


def _plain(view: View, source: Place, batch: Batch) -> Rule[Batch]:
    """Return the sessions that no other draining place knows: for these a carry is a create in the current place and a
    delete in this one, unless somebody interferes."""
    found = {
        key: record
        for key, record in batch.items()
        if not record.ended and not source.is_leftover(record) and view.is_of_source(record)
    }
    for other in view.sources:
        if other is not source and found:
            for key in (yield from call(other.store.get_many, found.keys())):
                del found[key]
    return found


def _move(view: View, source: Place, key: str, record: Record, unite: Unite) -> Rule[bool]:
    """Bring one record over in the way that a request would; True where it was a live session."""
    if record.ended:
        # It must go on standing in the way of what an older source may still hold, or the current place from the last
        # time that it was current. One with a reason is to be read by its user.
        if record.reason or source is not view.sources[-1] or view.current.floor < view.number:
            yield from view.current.end(key, record.expires_at, record.reason)
        return False
    if not view.is_of_source(record):
        return False
    # A leftover, too, is asked for: under another name of this place it may be a session.
    leftover = source.is_leftover(record)
    held = yield from view.get(key)
    if held is None and not leftover:
        return False
    if held is not None and not held.ended and view.is_of_source(held):
        return False  # not carried: the current store has no room for it
    if (
        is_roster(key)
        and held is not None
        and not held.ended
        and not leftover
        and held.payload != record.payload
    ):
        united = unite(key, held, record, view.number)
        if (yield from view.current.replace(key, united, held.version)) is not Outcome.SAVED:
            return False  # others write there: the next search finds it again
    yield from source.delete(key, record.version)
    return held is not None and not held.ended and not leftover
