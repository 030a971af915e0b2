"""The style sheets of the admin's pages do without any that a theme may not have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks

FOLDER = ROOT / "sessionpersist" / "static" / "sessionpersist" / "configuration"
SHEETS = sorted(FOLDER.glob("*.css"))
OURS = set(re.findall(r"^ *(--sp-[a-z-]+):", (FOLDER / "page.css").read_text(), re.MULTILINE))
DJANGOS = r"\.(?:button|default|module|submit-row|help|visually-hidden|object-tools|inline-group)\b"


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda each: each.name)
def test_each_variable_is_our_own_or_has_a_fallback(sheet: Path) -> None:
    assert SHEETS
    for name, after in re.findall(r"var\((--[a-z0-9-]+)(.)", sheet.read_text()):
        assert after == "," or name in OURS, name


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda each: each.name)
def test_no_class_of_the_admin_is_needed(sheet: Path) -> None:
    assert not re.findall(DJANGOS, sheet.read_text())


def test_what_the_guide_says_of_variables_is_so() -> None:
    css = [block.text for block in blocks("css")]
    assert css
    assert set(re.findall(r"--sp-[a-z-]+", " ".join(css))) <= OURS
