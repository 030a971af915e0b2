"""docs/explanation/security.md claims nothing without a test, and no test that it names has gone."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs" / "explanation" / "security.md").read_text()
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def claims() -> list[str]:
    """The rows of all tables, without their headings."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    return [row for row in rows if not row.startswith("| What they try")]


def test_every_claim_names_a_test() -> None:
    assert len(claims()) > 30
    assert [claim for claim in claims() if not NAMED.search(claim)] == []


def test_every_test_that_is_named_exists() -> None:
    named = set(NAMED.findall(PAGE))
    missing = [(file, name) for file, name in named if f"def {name}(" not in (TESTS / file).read_text()]
    assert not missing
