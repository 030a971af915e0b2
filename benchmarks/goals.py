"""What is aimed at. A ratio is our time by theirs, medians, on the same server in the same run: less is better."""

from __future__ import annotations

OPERATIONS = ("load", "save", "login", "logout")
UNLISTED = "login, no list"  # the same without the list of a user's sessions, which the rivals lack
# By place and rival: load, save, login and logout, ours by theirs; and pages a second, of which more is better. The
# first rival of a place is its own.
GOALS = {
    ("REDIS", "django-redis"): (0.95, 0.55, 0.50, 1.00, 1.00),
    ("POSTGRESQL", "db engine"): (0.33, 0.27, 0.22, 0.26, 1.20),
    ("SQLITE", "db engine"): (0.20, 0.26, 0.20, 0.18, 1.15),
    ("MONGODB", "db engine (MongoDB)"): (0.50, 0.60, 0.33, 0.40, 1.25),
    ("IN_MEMORY", "LocMem"): (1.8, 2.2, 1.0, 2.0, 1.00),
    ("IN_MEMORY", "file engine"): (0.30, 0.20, 0.20, 0.30, 1.10),
}
# Async pages a second, ours by theirs.
ASYNC_GOALS = {
    ("REDIS", "django-redis"): 1.5,
    ("POSTGRESQL", "db engine"): 1.2,
    ("MONGODB", "db engine (MongoDB)"): 1.5,
    ("IN_MEMORY", "LocMem"): 1.5,
    ("IN_MEMORY", "file engine"): 1.5,
}
AGAINST_BARE = {"REDIS": 1.35, "POSTGRESQL": 1.6, "MONGODB": 1.6}  # load and save
GOAL_SIZE = 300  # bytes of JSON for which the goals hold, but for one
LARGE = 4096
LARGE_VIEW = 1.0  # a page view with a session of that size, on REDIS
DISPATCH_US = 2.0  # microseconds that snapshot and routing cost a verb
MILLION_BY_TEN_THOUSAND = 1.3
DRAIN_PER_SECOND = 5_000.0  # sessions, from Valkey to PostgreSQL
DRAIN_SPREAD = 10.0  # MiB that ten times the sessions may take more: "in constant memory"
LOCK_MS = 200.0  # the longest that a statement of clearsessions may hold locks

# Seconds for one round trip between the site and its store: in one zone of a cloud, and between two zones.
DELAYS = (0.0005, 0.002)
LOGIN_ACROSS = {"REDIS": 0.55, "POSTGRESQL": 0.35}  # at the first of them


def rivals(place: str) -> list[str]:
    """The rivals of a place that there are goals for."""
    return [rival for where, rival in GOALS if where == place]


def goal_across(place: str, operation: str, rival: str, delay: float) -> float | None:
    """Return the goal for a ratio of operations on a store that is ``delay`` seconds away, or None."""
    if operation not in ("login", UNLISTED) or delay != DELAYS[0] or rival != rivals(place)[0]:
        return None
    return LOGIN_ACROSS.get(place)


def goal(place: str, operation: str, rival: str, size: int = GOAL_SIZE) -> float | None:
    """Return the goal for a ratio, or None where there is none."""
    if (place, operation, rival, size) == ("REDIS", "slide", "django-redis", LARGE):
        return LARGE_VIEW
    if size != GOAL_SIZE:
        return None
    if rival == "bare driver" and operation in ("load", "save"):
        return AGAINST_BARE.get(place)
    operation = "login" if operation == UNLISTED else operation
    if (place, rival) in GOALS and operation in OPERATIONS:
        return GOALS[place, rival][OPERATIONS.index(operation)]
    return None


def goal_of_pages(place: str, rival: str) -> float:
    """Return the goal for pages a second, ours by theirs."""
    return GOALS[place, rival][-1]


def goal_of_async_pages(place: str, rival: str) -> float | None:
    """Return the same for async pages; None for those without sessions, which nobody can be faster than."""
    return ASYNC_GOALS.get((place, rival))
