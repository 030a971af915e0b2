"""Many sessions at once: through the verb of a store that a drain uses."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.contents import content
from benchmarks.goals import GOAL_SIZE

BATCH = 500  # records
READABLE = 1000  # sessions of those in the store that can be opened, evenly spread; the others are noise of that length
HOUR = 3_600_000  # milliseconds


def session_key(number: int) -> str:
    """The key of the session of that number."""
    return f"{number:032d}"


def readable_keys(count: int) -> list[str]:
    """The keys of the sessions that can be opened, of ``count`` in the store."""
    return [session_key(number) for number in range(0, count, max(1, count // READABLE))]


def fill(store: Any, count: int, *, expired: bool = False, first: int = 0, revision: int = 0) -> None:
    """Put sessions into a store. Expired ones have been so for an hour, and can't be opened."""
    store.prepare()
    readable = set() if expired else set(readable_keys(count))
    done = 0
    for batch in _batches(range(first, first + count), readable, expired, revision):
        created = len(store.create_many(batch))
        assert expired or created == len(batch)
        done += len(batch)
        if done % 100_000 == 0:
            print(f"    {done:,} of {count:,} sessions are there", file=sys.stderr, flush=True)


def _batches(numbers: range, readable: set[str], expired: bool, revision: int) -> Iterator[dict[str, Any]]:
    from sessionpersist.engine import SessionStore
    from sessionpersist.session import sealing
    from sessionpersist.stores.base import Record, new_version, now_ms

    plain = SessionStore().serializer().dumps(content(GOAL_SIZE))
    length = len(sealing.Sealer("").seal(plain))
    life = -HOUR if expired else 24 * HOUR

    def record(key: str) -> Record:
        payload = sealing.Sealer(key).seal(plain) if key in readable else os.urandom(length)
        return Record(payload, new_version(revision), now_ms(), now_ms() + life, "12345")

    for start in range(0, len(numbers), BATCH):
        keys = [session_key(number) for number in numbers[start : start + BATCH]]
        yield {sealing.stored_key(key): record(key) for key in keys}
