"""What the site is installed from: exact releases with hashes, in step with the ranges that people edit."""

import re
from collections.abc import Iterator
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from project.audit import pinned

ROOT = Path(__file__).resolve().parents[2]
RANGES, LOCK = ((ROOT / name).read_text() for name in ("requirements.txt", "requirements.lock"))
PINS = {canonicalize_name(name): version for name, version in pinned(LOCK)}


def ranges() -> list[Requirement]:
    return [Requirement(line) for line in RANGES.splitlines() if line and not line.startswith("#")]


def needed(requirements: list[Requirement]) -> Iterator[str]:
    """The names of all that these need here, in turn. All of it is installed: the tests run on it."""
    seen = set()
    while requirements:
        each = requirements.pop()
        if str(each) in seen:
            continue
        seen.add(str(each))
        yield canonicalize_name(each.name)
        if not each.specifier.contains(version(each.name)):
            continue  # one of the oldest drivers, which tests run on, too: it needs what the site does not
        for further in map(Requirement, requires(each.name) or []):
            extras = each.extras or {""}
            if not further.marker or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                requirements.append(further)


def test_each_range_has_a_pin_within_it() -> None:
    outside = [
        str(each) for each in ranges() if not each.specifier.contains(PINS[canonicalize_name(each.name)])
    ]
    assert not outside, "run `make lock`"


def test_all_that_the_site_needs_is_pinned() -> None:
    assert set(needed(ranges())) <= set(PINS), "run `make lock`"


def test_every_pin_has_hashes() -> None:
    entries = re.findall(r"^\S+==.*(?:\n    .*)*", LOCK, re.MULTILINE)
    assert len(entries) == len(PINS)
    assert [each for each in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", each)] == []


def test_the_lock_names_no_registry() -> None:
    assert re.findall(r"//\S+|--(?:extra-)?index-url.*|--find-links.*", LOCK) == []
