"""The three-way merge of two sessions that grew out of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_ABSENT = object()
PLAIN = (str, int, float, type(None), set, frozenset)

Dumps = Callable[[dict[str, Any]], bytes]


def three_way(
    base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any], dumps: Dumps
) -> dict[str, Any]:
    """Return ``theirs`` with every top-level key that ``ours`` changed, added or deleted since ``base``.

    Where both changed the same key, ours wins: it is the later save. ``dumps`` is what the serializer of the project
    makes of a session.
    """
    merged = dict(theirs)
    for key in base.keys() | ours.keys():
        value = ours.get(key, _ABSENT)
        if same(value, base.get(key, _ABSENT), dumps):
            continue
        if value is _ABSENT:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def same(one: Any, other: Any, dumps: Dumps) -> bool:
    """Return whether two values are equal for a serializer too, at any depth: in Python True == 1 == 1.0.

    Objects of a project's, which a serializer of its own may take, need not know what == means.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key], dumps) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*pair, dumps) for pair in zip(one, other, strict=True))
    if isinstance(one, PLAIN):
        return bool(one == other or (one != one and other != other))  # NaN is as it was, too
    return one is other or dumps({"": one}) == dumps({"": other})
