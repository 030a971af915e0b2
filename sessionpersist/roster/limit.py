"""Entering a session into its user's roster, and the limit on how many a user may have.

The order makes the limit exact, whatever else goes on and whoever is killed: the sessions that are too many are ended
first; then the roster is set to what is left and the new one, if nobody has changed it meanwhile; then the new session
is saved with its user. So all that lives is in the roster, and the roster never holds more than the limit. Whoever was
ended can't be saved any more, not even for the first time: an ended record stands in the way.

That record is in the store that was in force then. So a session is listed and saved for the first time under one
revision; where a switch comes between the two it is listed once more, and nobody may have ended it before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sessionpersist.exceptions import SessionLimitReached
from sessionpersist.handover.driving import Rule, call
from sessionpersist.roster.records import (
    CHECKED_FROM,
    FORGOTTEN,
    Along,
    Entry,
    Owner,
    Roster,
    Standing,
    Store,
    all_standing,
    changed,
    is_same,
)
from sessionpersist.session.policy import REFUSE, UNLIMITED, Policy
from sessionpersist.session.reasons import Reason
from sessionpersist.stores.base import Outcome, Record, Saving, now_ms

# Sessions of a user, such as a script that logs in with each run. A login reads and writes all of them: 12 ms of work.
MOST_LISTED = 2_000
MOST_KEYS = 8  # of a session, whose keys change faster than anybody looks at them


class Limit(NamedTuple):
    """How many sessions a user may have, and what becomes of one more."""

    most: int
    refuses: bool

    @classmethod
    def of(cls, policy: Policy) -> Limit | None:
        """Return the limit of a policy; None without one."""
        return (
            None if policy.max_sessions == UNLIMITED else cls(policy.max_sessions, policy.at_limit == REFUSE)
        )


def entered(
    store: Store,
    owner: Owner,
    mine: Entry,
    until: int,
    policy: Policy,
    over: dict[str, Entry],
    *,
    blind: bool = False,
    gone: Collection[str] = (),
    session: Saving | None = None,
) -> Rule[Outcome | None]:
    """Enter a session before it is saved with its user, who may have had none of this before.

    Whom the limit ended is put into ``over``, by their ids. ``blind``: without reading the roster.
    ``gone`` are stored keys that this thread has removed in a transaction, which others do not see yet. ``session``
    is that session as it is to be saved over an earlier version. Return what became of it; None where it is yet to be
    saved. Raises SessionLimitReached (nothing is changed then), StoreUnavailable.
    """

    limit = Limit.of(policy)
    # Where a switch comes, both may be saved to where nobody looks, the list is read again, and the login refused: its
    # session must not be saved by then.
    along = Along(over, None if limit is not None and limit.refuses else session)

    def change(roster: Roster) -> Rule[tuple[Roster, None]]:
        aside = [each for each in roster.entries if not set(gone).isdisjoint(each.keys)]
        others = [each for each in roster.entries if not is_same(each, mine) and each not in aside]
        known = next((each for each in roster.entries if is_same(each, mine)), None)
        entry = mine if known is None else mine._replace(id=known.id, begun=known.begun)
        if limit is not None and len(others) >= limit.most:
            rest = yield from room_made(store, owner, policy, others, limit, along)
            return roster._replace(entries=(*aside, *rest, entry), check_at=CHECKED_FROM), None
        if limit is None and len(others) + 1 >= roster.check_at:
            checked = listed((yield from all_standing(store, owner, policy, others)), entry)
            entries, ended_at = (*aside, *checked.entries), roster.all_ended_at
            return checked._replace(entries=entries, all_ended_at=ended_at), None
        return roster._replace(entries=(*aside, *others, entry)), None

    yield from changed(store, owner, until, change, blind=blind, along=along)
    return along.outcome


def room_made(
    store: Store, owner: Owner, policy: Policy, others: list[Entry], limit: Limit, along: Along
) -> Rule[list[Entry]]:
    """Have the least recently used sessions ended that leave no room for one more; return the others that live."""
    found = sorted((yield from all_standing(store, owner, policy, others)), key=by_use)
    counted = [each for each in found if each.over is None]
    too_many = max(0, len(counted) - limit.most + 1)
    if too_many and limit.refuses:
        raise SessionLimitReached
    for each in found:
        if each.over is not None:  # for good, as it is not listed any more
            along.add(each, each.over)
    for each in counted[:too_many]:
        along.add(each, Reason.SIGNED_IN_ELSEWHERE)
    return [each.entry for each in counted[too_many:]]


def listed(found: list[Standing], mine: Entry) -> Roster:
    """Return a roster without the dead, which is checked again when it has doubled, or is a tenth longer than it may
    be. With more than it may hold, the least recently used are left out: they live, and are not listed any more. Pages
    show fewer."""
    kept = [each.entry for each in sorted(found, key=by_use)][-(MOST_LISTED - 1) :]
    check_at = max(CHECKED_FROM, min(2 * len(kept), MOST_LISTED + MOST_LISTED // 10))
    return Roster((*kept, mine), len(found) > len(kept), check_at)


def by_use(each: Standing) -> tuple[int, int]:
    return each.last_use, each.entry.begun


def renamed(
    store: Store, owner: Owner, old: str, new: Entry, until: int, *, blind: bool = False
) -> Rule[bool]:
    """Enter the new key of a session, under which it is about to be saved, beside its old one: it stays one login.

    ``new`` is what to list where it was not listed, as it is of before. Return False where it has ended, so that it
    must not be saved.
    """
    key = new.keys[0]
    beside: dict[str, Record | None] = {old: None}

    def change(roster: Roster) -> Rule[tuple[Roster, tuple[str, ...]]]:
        """Return under which keys to look for it, newest first; under none where it was seen alive."""
        found = next((each for each in roster.entries if old in each.keys or key in each.keys), None)
        alive = owner.owns(beside[old])
        if found is None:
            entry = new._replace(keys=(key, old))
            return roster._replace(entries=(*roster.entries, entry)), () if alive else entry.keys
        keys = (key, *(each for each in found.keys if each != key))
        if len(keys) > MOST_KEYS:
            keys = (*keys[:2], *(yield from still_live(store, owner, keys[2:])))
        moved = new._replace(id=found.id, begun=found.begun, keys=keys)
        if not new.device and not new.place:
            moved = moved._replace(device=found.device, place=found.place)
        entries = tuple(moved if each is found else each for each in roster.entries)
        return roster._replace(entries=entries), () if alive else keys

    possible = yield from changed(store, owner, until, change, blind=blind, beside=beside)
    # That it was listed says nothing: a roster lists the dead, too. Whoever ends it from here on ends its new key, too.
    if not possible or (yield from is_live(store, owner, possible)):
        return True
    # Else it would count as one that is about to be saved.
    yield from call(store.end, key, now_ms() + FORGOTTEN)
    return False


def is_live(store: Store, owner: Owner, keys: Sequence[str]) -> Rule[bool]:
    """Whether a session lives under any of its keys, the newest first. The oldest is read first, as a session is saved
    under the next before it leaves one."""
    records = yield from call(store.get_many, keys[::-1])
    return any(owner.owns(records.get(key)) for key in keys)


def still_live(store: Store, owner: Owner, keys: Collection[str]) -> Rule[list[str]]:
    """Return those of the keys that a session has left behind under which it still lives, as somebody was killed while
    it moved on. It can't come back under any other."""
    records = yield from call(store.get_many, keys)
    live = [key for key in keys if owner.owns(records.get(key))]
    for key in keys:
        record = records.get(key)
        if key not in live and not (record is not None and record.ended):
            yield from call(store.end, key, now_ms() + FORGOTTEN)
    return live


def relisted(store: Store, owner: Owner, key: str, until: int, listed_as: Entry) -> Rule[None]:
    """Have the roster say of a session, by a key of it, what another entry does of its life."""

    def change(roster: Roster) -> Rule[tuple[Roster, None]]:
        yield from ()
        return roster._replace(
            entries=tuple(
                each._replace(
                    life=listed_as.life, remembered=listed_as.remembered, own_expiry=listed_as.own_expiry
                )
                if key in each.keys
                else each
                for each in roster.entries
            )
        ), None

    yield from changed(store, owner, until, change)
