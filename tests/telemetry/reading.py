"""Reads the lines of the log as a machine does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

PART = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)(?: |$)')


def parsed(line: str) -> dict[str, str]:
    """Return what a line holds by its keys. Raises AssertionError where it is none of ours."""
    assert PART.sub("", line) == "", line
    return {key: json.loads(value) if value.startswith('"') else value for key, value in PART.findall(line)}


def sentences(lines: Iterable[str]) -> list[str]:
    """Return what each of our lines says to a person; lines of others as they are."""
    return [parsed(each)["message"] if each.startswith("event=") else each for each in lines]
