"""What is aimed at. A ratio is our time by theirs, medians, on the same server in the same run: less is better."""

from __future__ import annotations

OPERATIONS = ("load", "save", "login", "logout")
# By place: the rival, and the goals for load, save, login and logout.
AGAINST_RIVAL = {
    "REDIS": ("django-redis", (0.95, 0.55, 0.50, 1.00)),
    "POSTGRESQL": ("db engine", (0.33, 0.27, 0.22, 0.26)),
    "SQLITE": ("db engine", (0.20, 0.26, 0.20, 0.18)),
    "MONGODB": ("db engine (MongoDB)", (0.50, 0.60, 0.33, 0.40)),
    "IN_MEMORY": ("LocMem", (1.8, 2.2, 1.0, 2.0)),
}
AGAINST_BARE = {"REDIS": 1.35, "POSTGRESQL": 1.6, "MONGODB": 1.6}  # load and save
GOAL_SIZE = 300  # bytes of JSON for which the goals hold
DISPATCH_US = 2.0  # microseconds that snapshot and routing cost a verb
MILLION_BY_TEN_THOUSAND = 1.3
DRAIN_PER_SECOND = 5_000.0  # sessions, from Valkey to PostgreSQL
DRAIN_SPREAD = 10.0  # MiB that ten times the sessions may take more: "in constant memory"
LOCK_MS = 200.0  # the longest that a statement of clearsessions may hold locks
# Round trips: a page view of a logged-in user, and the rest by its name.
TRIPS = {"load": 1, "save": 1, "slide": 2, "login": 4, "logout": 2, "create": 1}

# Seconds for one round trip between the site and its store: in one zone of a cloud, and between two zones.
DELAYS = (0.0005, 0.002)
LOGIN_ACROSS = {"REDIS": 0.55, "POSTGRESQL": 0.35}  # at the first of them


def goal_across(place: str, operation: str, rival: str, delay: float) -> float | None:
    """Return the goal for a ratio of operations on a store that is ``delay`` seconds away, or None."""
    if operation != "login" or delay != DELAYS[0] or rival != AGAINST_RIVAL[place][0]:
        return None
    return LOGIN_ACROSS.get(place)


def goal(place: str, operation: str, rival: str, size: int = GOAL_SIZE) -> float | None:
    """Return the goal for a ratio, or None where there is none."""
    if size != GOAL_SIZE:
        return None
    name, goals = AGAINST_RIVAL[place]
    if rival == name and operation in OPERATIONS:
        return goals[OPERATIONS.index(operation)]
    if rival == "bare driver" and operation in ("load", "save"):
        return AGAINST_BARE.get(place)
    return None
