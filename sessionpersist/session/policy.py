"""What staff decide about sessions and not about their place: time-outs, "remember me", how many a user may have.

A process reads it with the snapshot, so that a request pays nothing for it (see ``handover/snapshot.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

UNLIMITED = -1  # as ``max_sessions``
END_OLDEST = "END_OLDEST"  # at the limit, the least recently used session of the user ends
REFUSE = "REFUSE"  # at the limit, a further login is refused

# The fields of the Login Configuration that make a policy.
FIELDS = ("idle_minutes", "absolute_hours", "remember_days", "max_sessions", "at_limit")
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000  # milliseconds
CENTURY = 36_525 * DAY  # no time is longer: every store and every database can calculate with that


@dataclass(frozen=True)
class Policy:
    """Times are in milliseconds; None where it is as Django has it. ``since`` is when it was saved (Unix time): the
    use of a session that was not watched before counts from there at the earliest."""

    idle: int | None = None
    absolute: int | None = None
    remember: int | None = None
    max_sessions: int = UNLIMITED
    at_limit: str = END_OLDEST
    since: int = 0

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Return the policy that fields of the Login Configuration make; those that are missing have their defaults."""
        since = fields.get("policy_since")
        return cls(
            idle=_times(fields.get("idle_minutes"), MINUTE),
            absolute=_times(fields.get("absolute_hours"), HOUR),
            remember=_times(fields.get("remember_days"), DAY),
            max_sessions=fields.get("max_sessions", UNLIMITED),
            at_limit=fields.get("at_limit") or END_OLDEST,
            since=int(since.timestamp() * 1000) if isinstance(since, datetime) else 0,
        )


def _times(number: int | None, unit: int) -> int | None:
    """Return a time in milliseconds, a century at most; None for nothing, and for 0, which no form lets through."""
    return min(number * unit, CENTURY) if number else None


AS_DJANGO = Policy()
