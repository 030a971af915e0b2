"""The command line: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.machine import busy, machine, versions
from benchmarks.parts import DOCS_PARTS, PARTS, QUICK_PARTS, STORES


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for, print tables, and write what is to be written."""
    options = parser().parse_args(arguments)
    report: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "warning": busy(),  # before this run makes it so
    }
    print(figures.setting(report), flush=True)
    usual = QUICK_PARTS if options.quick else DOCS_PARTS if options.docs else PARTS
    for name in options.parts or usual:
        report[name] = PARTS[name](options)
        print(f"\n{figures.shown(name, report)}", flush=True)
        if options.json:  # after each part: one that fails takes no figures with it
            options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.docs:
        figures.write(report)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser("python -m benchmarks", description="Speed, measured side by side.")
    made.add_argument("parts", nargs="*", type=part, help=f"which of {', '.join(PARTS)}")
    made.add_argument(
        "--quick", action="store_true", help=f"in about a minute: {', '.join(QUICK_PARTS)}, with less of each"
    )
    made.add_argument(
        "--docs",
        action="store_true",
        help=f"{', '.join(DOCS_PARTS)}; writes them into docs/explanation/speed.md",
    )
    made.add_argument("--store", action="append", choices=STORES, help="one store only; may be repeated")
    made.add_argument("--size", action="append", type=int, help="bytes of a session; may be repeated")
    made.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")
    return made


def part(name: str) -> str:
    """Return the name of a part. Raises ArgumentTypeError, which argparse tells the user."""
    if name not in PARTS:
        raise argparse.ArgumentTypeError(f"there is no part {name!r}, but {', '.join(PARTS)}")
    return name


if __name__ == "__main__":
    main()
