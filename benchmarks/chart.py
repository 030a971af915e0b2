"""The picture in README: our time by theirs, a bar an operation, for the light and the dark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.goals import GOAL_SIZE, GOALS, OPERATIONS

TITLE = "Time of an operation by that of Django's engine on the same server: shorter is better"
COLOURS = ("#0f766e", "#0891b2", "#7c3aed", "#c2410c")  # of the operations; on white and on black
LEFT, UNIT, LONGEST, BAR, GAP = 210, 190, 2.0, 11, 16  # px; LONGEST is a ratio, which longer bars are cut to
TOP, WIDTH = 62, LEFT + int(UNIT * LONGEST) + 60
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2937}.quiet{font-size:11px;fill:#57606a}"
    ".back{fill:#fff}.line{stroke:#57606a;stroke-dasharray:4 3}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9da7b3}.back{fill:#0d1117}.line{stroke:#9da7b3}}"
)


def picture(rows: list[dict[str, Any]], labels: Mapping[str, str]) -> str:
    """Return an SVG of the medians of a run. A place or a rival that was not measured has no bars."""
    ratios = {
        (row["place"], side, row["operation"]): row["ratios"][side]["median"]
        for row in rows
        if row["bytes"] == GOAL_SIZE
        for side in row["ratios"]
    }
    compared = [each for each in GOALS if (*each, OPERATIONS[0]) in ratios]
    height = TOP + len(compared) * (len(OPERATIONS) * BAR + GAP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">',
        f"<title>{TITLE}</title>",
        f'<style>{STYLE}</style><rect class="back" width="100%" height="100%"/>',
        *_legend(),
        f'<text x="{LEFT + UNIT}" y="54" text-anchor="middle" class="quiet">as long as Django</text>',
    ]
    for number, (place, rival) in enumerate(compared):
        top = TOP + number * (len(OPERATIONS) * BAR + GAP)
        values = [ratios.get((place, rival, operation), 0.0) for operation in OPERATIONS]
        lines += _group(top, labels[place], rival, values)
    line = (
        f'<line class="line" x1="{LEFT + UNIT}" x2="{LEFT + UNIT}" y1="{TOP - 4}" y2="{height - GAP / 2}"/>'
    )
    return "\n".join([*lines, line, "</svg>", ""])


def _legend() -> Iterator[str]:
    yield f'<text x="12" y="22">{TITLE}</text>'
    for number, (operation, colour) in enumerate(zip(OPERATIONS, COLOURS, strict=True)):
        x = 12 + number * 70
        yield f'<rect x="{x}" y="36" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{x + 15}" y="45" class="quiet">{operation}</text>'


def _group(top: int, label: str, rival: str, values: list[float]) -> Iterator[str]:
    """The bars of one comparison, with its names to the left."""
    yield f'<text x="12" y="{top + 18}">{label}</text>'
    yield f'<text x="12" y="{top + 34}" class="quiet">by {rival}</text>'
    for number, (value, colour) in enumerate(zip(values, COLOURS, strict=True)):
        y, width = top + number * BAR, round(min(value, LONGEST) * UNIT, 1)
        yield f'<rect x="{LEFT}" y="{y}" width="{width}" height="{BAR - 2}" fill="{colour}"/>'
        yield f'<text x="{LEFT + width + 5}" y="{y + 9}" class="quiet">{value:.2f}</text>'
