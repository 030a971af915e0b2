"""What staff decide about sessions and not about their place: time-outs, "remember me", how many a user may have.

A process reads it with the snapshot, so that a request pays nothing for it (see ``handover/snapshot.py``).

**How a session is judged.** A store keeps when a session expires, and moves that forward with its use. The session
itself says by how much that lies after its last use: its *life*, sealed with it. So whoever reads a session knows when
it was last used, and compares that with the idle time-out of *now*: a shorter one acts on sessions that are there. The
longest a session may last counts from the login (``Record.created_at``).

A use is written down once in a while only, see ``throttle``. All times are in milliseconds, moments in Unix time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

from sessionpersist.session.reasons import Reason

UNLIMITED = -1  # as ``max_sessions``
END_OLDEST = "END_OLDEST"  # at the limit, the least recently used session of the user ends
REFUSE = "REFUSE"  # at the limit, a further login is refused

# The fields of the Login Configuration that make a policy.
FIELDS = ("idle_minutes", "absolute_hours", "remember_days", "max_sessions", "at_limit")
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000  # milliseconds
UNITS = ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (1, "millisecond"))
MOST_SESSIONS = 200  # as ``max_sessions``: the list of a user's sessions is no longer
CENTURY = 36_525 * DAY  # no time is longer: every store and every database can calculate with that

# In the session, beside Django's own.
EXPIRY = "_session_expiry"  # Django's: what set_expiry() was given
REMEMBER = "_session_remember"  # True: the user wants to be remembered
LIFE = "_session_life"  # by how much the session expires after its last use

CLOCKS = HOUR  # a use that lies further ahead was not noted by a clock that is wrong


class End(NamedTuple):
    """When a session is over unless it is used before, and why."""

    at: int
    reason: Reason


@dataclass(frozen=True)
class Policy:
    """None where it is as Django has it. ``since`` is when it was saved: the use of a session that was not watched
    before counts from there at the earliest."""

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
            max_sessions=_limit(fields.get("max_sessions")),
            at_limit=fields.get("at_limit") or END_OLDEST,
            since=int(since.timestamp() * 1000) if isinstance(since, datetime) else 0,
        )

    @property
    def has_times(self) -> bool:
        """Whether sessions end otherwise than Django has it."""
        return (self.idle, self.absolute, self.remember) != (None, None, None)

    @property
    def longest_life(self) -> int:
        """The longest life that it gives to any session; 0 where it gives none."""
        return max(self.idle or 0, self.remember or 0)

    def limits(self, remembered: bool) -> tuple[int | None, int | None]:
        """Return how long a session may go unused, and how long it may last from its login. One that is remembered has
        a single limit for both, in place of the others; where nobody is remembered any more, it has those."""
        if remembered and self.remember is not None:
            return self.remember, self.remember
        return self.idle, self.absolute

    def life_of(self, session: Mapping[str, Any]) -> int | None:
        """Return how long a session may go unused: what ``set_expiry`` said in seconds, or the limit. None where its
        use is not watched, as it ends at a date, or as Django has it."""
        if self.idle is None and self.remember is None:
            return None
        idle, _ = self.limits(is_remembered(session))
        expiry = session.get(EXPIRY)
        if idle is None or isinstance(expiry, str | datetime):
            return None
        return int(min(max(float(expiry) * 1000, 0), CENTURY)) if expiry else idle

    def describe(self) -> str:
        """One line for the log: what differs from Django."""
        times = [("idle", self.idle), ("absolute", self.absolute), ("remember", self.remember)]
        found = [f"{name} {_span(time)}" for name, time in times if time is not None]
        if self.max_sessions != UNLIMITED:
            found.append(f"at most {self.max_sessions} sessions a user, {self.at_limit}")
        return ", ".join(found) or "as Django does"


def _times(number: int | None, unit: int) -> int | None:
    """Return a time in milliseconds, a century at most; None for nothing, and for 0, which no form lets through."""
    return min(number * unit, CENTURY) if number else None


def _limit(number: int | None) -> int:
    """Return a number of sessions; UNLIMITED for 0 and less, which no form lets through and with which nobody could log
    in."""
    return number if number and number > 0 else UNLIMITED


def _span(time: int) -> str:
    """Say how long a time in milliseconds is, in the largest unit that it is whole in. The log is in English."""
    unit, name = next(each for each in UNITS if time % each[0] == 0)
    number = time // unit
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


AS_DJANGO = Policy()


def is_remembered(session: Mapping[str, Any]) -> bool:
    """Return whether its user has asked to be remembered."""
    return session.get(REMEMBER) is True


def throttle(life: int) -> int:
    """Return for how long a use is not written down again: a twentieth of the session's life, from a minute to an hour,
    and half of a life that is no longer than two minutes. So much earlier may a session end."""
    return min(max(life // 20, MINUTE), HOUR, life // 2)


def is_use_due(policy: Policy, session: Mapping[str, Any], expires_at: int, now: int) -> bool:
    """Return whether a use of now is to be written down: the last one is long enough ago, or the session has another
    life than it should have by now, or one that is not watched any more."""
    life = policy.life_of(session)
    if life is None:
        return LIFE in session
    unused_for = now - (expires_at - life)
    return session.get(LIFE) != life or not -CLOCKS <= unused_for < throttle(life)


def last_use(policy: Policy, session: Mapping[str, Any], expires_at: int, now: int, cookie_age: int) -> int:
    """Return when the session that expires at that time was last used, as far as anybody can know."""
    life = session.get(LIFE)
    if isinstance(life, int) and (noted := expires_at - life) <= now + CLOCKS:
        noted = min(noted, now)  # the node that wrote it may be ahead of this one
        # Under the policy before, uses were noted as seldom as that allowed: nobody who is there is thrown out.
        return max(noted, min(noted + throttle(life), policy.since))
    # Nobody noted its use, or a process did that knows of no policy, or of one before.
    return max(expires_at - cookie_age, policy.since)


def end_of(
    policy: Policy, session: Mapping[str, Any], begun: int, expires_at: int, now: int, cookie_age: int
) -> End:
    """Return when a session is over unless it is used before.

    ``begun`` is its login, and ``expires_at`` what its store says. ``cookie_age`` is how long Django's sessions last,
    which is the limit of what was watched under a policy that has been taken back.
    """
    idle, absolute = policy.limits(is_remembered(session))
    if idle is None and LIFE in session:
        idle = cookie_age
    at, reason = expires_at, Reason.EXPIRED
    if absolute is not None and begun + absolute <= at:
        at, reason = begun + absolute, Reason.ABSOLUTE
    if idle is not None and not session.get(EXPIRY):
        unused_until = last_use(policy, session, expires_at, now, cookie_age) + idle
        if unused_until <= at:
            at, reason = unused_until, Reason.IDLE
    return End(at, reason)
