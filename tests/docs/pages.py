"""The documentation as text: its pages, the blocks of code in them, and the tables of the reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
REFERENCE = DOCS / "reference"

FENCE = re.compile(
    r'^(?P<indent> *)```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^(?P=indent)```$',
    re.MULTILINE | re.DOTALL,
)
CODE = re.compile(r"`([^`]+)`")


class Block(NamedTuple):
    """One block of code: where it is, and what it holds."""

    page: Path
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str, title: str = "") -> list[Block]:
    """Return the blocks in these languages, in order; with ``title``, those whose title ends with it."""
    return [
        block
        for page in PAGES
        for block in blocks_of(page)
        if block.language in languages and block.title.endswith(title)
    ]


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield all blocks of a page."""
    text = page.read_text()
    for match in FENCE.finditer(text):
        lines = match["text"].splitlines()
        body = "\n".join(line.removeprefix(match["indent"]) for line in lines) + "\n"
        yield Block(
            page, text.count("\n", 0, match.start()) + 1, match["language"], match["title"] or "", body
        )


def rows(page: Path, heading: str = "") -> list[list[str]]:
    """Return the cells of the tables under a heading (of any level; the whole page without one), without the rows of
    titles."""
    text = page.read_text()
    if heading:
        text = re.split(rf"^#+ {re.escape(heading)}$", text, flags=re.MULTILINE)[1]
        text = re.split(r"^#", text, maxsplit=1, flags=re.MULTILINE)[0]
    tables = re.findall(r"^\|.*\n\|[-|]+\n((?:\|.*\n?)+)", text, re.MULTILINE)
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for table in tables
        for line in table.splitlines()
    ]


def named(cells: list[list[str]]) -> list[str]:
    """Return what the first cells name in code."""
    return [name for first, *_ in cells for name in CODE.findall(first)]
