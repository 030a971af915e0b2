"""The three-way merge of two sessions that grew out of one."""

from __future__ import annotations

from typing import Any

_ABSENT = object()


def three_way(base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Return ``theirs`` with every top-level key that ``ours`` changed, added or deleted since ``base``.

    Where both changed the same key, ours wins: it is the later save.
    """
    merged = dict(theirs)
    for key in base.keys() | ours.keys():
        value = ours.get(key, _ABSENT)
        if same(value, base.get(key, _ABSENT)):
            continue
        if value is _ABSENT:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal for a serializer too, at any depth: in Python True == 1 == 1.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
