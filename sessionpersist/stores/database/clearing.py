"""How MariaDB and MySQL delete what has expired: by primary key, in the order of the table, a little at a time.

They have no cheaper way. ``DELETE … ORDER BY expires_at LIMIT`` reads the table at a random place for each row, locks
what it passes, and begins each time with all that was deleted before and is not purged yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import monotonic

FOUND = 5_000  # keys that one look in the index finds: 350 KiB of answer
SORTED = 100_000  # keys that are sorted together, in 13 MB: with fewer a large table is read more often
FIRST, FEWEST, MOST = 100, 10, 500  # rows that one statement deletes
BRISK, SLOW = (
    0.02,
    0.06,
)  # seconds: after a statement that took less, or more, the next has more rows, or fewer

Position = tuple[int, str]  # in the index: when a row expired, and its key


def by_key(
    find: Callable[[Position], Sequence[Position]], delete: Callable[[list[str]], int]
) -> Iterator[int]:
    """Yield how many rows each statement has deleted.

    ``find`` returns the positions of up to FOUND expired rows that follow on a position. That goes ahead whatever
    becomes of the rows: in a transaction of the caller those that another process has deleted are still to be seen.
    """
    size, last = FIRST, (-1, "")
    while found := _found(find, last):
        last = found[-1][0], found[-1][1]
        keys = sorted(key for _, key in found)
        while keys:
            begun = monotonic()
            deleted = delete(keys[:size])
            took = monotonic() - begun
            del keys[:size]
            size = next_size(size, took)
            yield deleted


def _found(find: Callable[[Position], Sequence[Position]], after: Position) -> list[Position]:
    """Look until there is nothing more to be found, or there are SORTED positions."""
    found = list(find(after))
    more = len(found)
    while more == FOUND and len(found) < SORTED:
        further = find((found[-1][0], found[-1][1]))
        more = len(further)
        found += further
    return found


def next_size(size: int, took: float) -> int:
    """Return how many rows to delete after so many took so many seconds: no statement may keep others waiting."""
    if took > SLOW:
        return max(FEWEST, size // 2)
    return min(MOST, size * 2) if took < BRISK else size
