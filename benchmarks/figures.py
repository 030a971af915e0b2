"""The figures of a run as Markdown, for a terminal and for docs/explanation/speed.md, and as a picture for README.

``python -m benchmarks.figures FILE.json`` writes both out of an earlier run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.chart import picture
from benchmarks.goals import AGAINST_BARE, UNLISTED, rivals
from benchmarks.places import BARE, OURS

Row = dict[str, Any]
Report = dict[str, Any]

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, PICTURE = DOCS / "explanation" / "speed.md", DOCS / "pictures" / "speed.svg"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
COLUMNS = {
    "load": "load",
    "save": "save",
    "slide": "page view that slides the expiry",
    "login": "login",
    UNLISTED: "login without `ROSTER`",
    "logout": "logout",
    "create": "create",
}
STORES = {
    "REDIS": "REDIS",
    "POSTGRESQL": "JDBC, PostgreSQL",
    "SQLITE": "JDBC, SQLite file",
    "MONGODB": "MONGODB",
    "IN_MEMORY": "In-Memory",
}


def main(arguments: Sequence[str]) -> None:
    """Write what a run has found. Raises SystemExit where the page has no section for it."""
    write(json.loads(Path(arguments[0]).read_text(encoding="utf-8")))


def write(report: Report) -> None:
    """Replace the section, and the picture; what is around the section stays. Raises SystemExit where there is none."""
    text = PAGE.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name} has no section between “{BEGIN}” and “{END}”.")
    PAGE.write_text(f"{before}{BEGIN}\n{section(report)}\n{END}{after}", encoding="utf-8")
    if rows := report.get("operations"):
        PICTURE.write_text(picture(rows, STORES), encoding="utf-8")


def section(report: Report) -> str:
    """Return all that the page says of a run, as Markdown."""
    parts = [shown(name, report) for name in SHOWN if name not in FACTS and report.get(name)]
    facts = [shown(name, report) for name in FACTS if report.get(name)]
    return "\n\n".join([setting(report), *parts, *(["\n".join(facts)] if facts else [])])


def shown(name: str, report: Report) -> str:
    """Return what is said of one part; a fact is an item of a list."""
    return ("\n" if name in FACTS else "\n\n").join(SHOWN[name](report[name]))


def setting(report: Report) -> str:
    """Date, machine, versions."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    servers = ", ".join(dict.fromkeys(row["server"] for row in report.get("operations", [])))
    return (
        f"Measured on {report['date'][:10]} on {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}, with {servers}; {versions}. {report.get('warning', '')}"
    ).rstrip()


def operations(rows: list[Row]) -> Iterator[str]:
    """The table of ratios and the table of times, for each size of session."""
    for size in sorted({row["bytes"] for row in rows}):
        found = [row for row in rows if row["bytes"] == size]
        yield f"Our time by theirs, medians, sessions of {size} bytes; below 1 ours is shorter; in brackets the goal:"
        yield table(found, lambda row, side: ratio(row["ratios"].get(side)), rivals_and_bare)
        yield "The same in microseconds, ours and theirs; in brackets the round trips to the server:"
        yield table(found, times, rivals)


def table(rows: list[Row], cell: Any, sides: Any) -> str:
    """A line a store and side, a column an operation."""
    lines = [
        "| store, compared with | " + " | ".join(COLUMNS.values()) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for place, label in STORES.items():
        found = {row["operation"]: row for row in rows if row["place"] == place}
        for side in sides(place) if found else ():
            cells = [cell(found[name], side) if name in found else "" for name in COLUMNS]
            lines.append(f"| {label}, {side} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def rivals_and_bare(place: str) -> list[str]:
    """That, and the bare driver where there is a goal against it."""
    return rivals(place) + ([BARE] if place in AGAINST_BARE else [])


def ratio(found: Row | None) -> str:
    """One ratio with its goal."""
    if found is None:
        return ""
    goal = f" ({found['goal']:.2f})" if found["goal"] is not None else ""
    return f"{found['median']:.2f}{goal}"


def times(row: Row, side: str) -> str:
    """Our time and theirs, each with its round trips."""
    both = []
    for name in (OURS, side):
        trips = row.get("trips", {}).get(name)
        both.append(f"{row['sides'][name]['median_us']:.0f}" + (f" ({trips})" if trips is not None else ""))
    return ", ".join(both)


def requests(rows: list[Row]) -> Iterator[str]:
    """Whole requests."""
    yield "Pages of a logged-in user a second, and their 99th percentile; gunicorn, 8 connections:"
    lines = ["| store, compared with | ours | theirs | ours by theirs |", "|---|---|---|---|"]
    for row in rows:
        served = {side: rate(each) for side, each in row["sides"].items()}
        lines += [
            f"| {STORES[row['place']]}, {rival} | {served[OURS]} | {served[rival]} | {ratio(found)} |"
            for rival, found in row["ratios"].items()
        ]
    yield "\n".join(lines)


def rate(served: Row) -> str:
    """Pages a second, and their 99th percentile."""
    return f"{served['per_second']:.0f}, {served['p99_ms']:.0f} ms"


def asgi(rows: list[Row]) -> Iterator[str]:
    """Async pages."""
    yield (
        "Async pages a second, their 99th percentile, the most threads that the server had, and processor time for a "
        "page; uvicorn, one worker, 64 connections, each with a session of its own, which a page reads, or reads and "
        "saves:"
    )
    columns = ("store, compared with", "page", "ours", "theirs", "ours by theirs")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        sides = {
            side: f"{rate(each)}, {each['threads']} threads, {each['cpu_us']} µs"
            for side, each in row["sides"].items()
        }
        lines += [
            f"| {STORES[row['place']]}, {rival} | {row['page']} | {sides[OURS]} | {sides[rival]} | {ratio(found)} |"
            for rival, found in row["ratios"].items()
        ]
    yield "\n".join(lines)


def network(rows: list[Row]) -> Iterator[str]:
    """What a network in front of the store makes of it."""
    yield (
        "With a network between the site and its store, ours by theirs in milliseconds, and pages a second. The more "
        "round trips an operation takes, the more a user feels of it:"
    )
    names = [*COLUMNS, "page"]
    lines = [
        "| store, compared with | round trip | " + " | ".join((*COLUMNS.values(), "pages a second")) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    for delay, place in dict.fromkeys((row["delay_ms"], row["place"]) for row in rows):
        found = {row["operation"]: row for row in rows if (row["delay_ms"], row["place"]) == (delay, place)}
        rival = rivals(place)[0]
        cells = [across(found[name], rival) if name in found else "" for name in names]
        lines.append(f"| {STORES[place]}, {rival} | {delay:g} ms | " + " | ".join(cells) + " |")
    yield "\n".join(lines)


def across(row: Row, rival: str) -> str:
    """Ours, theirs, and the ratio with its goal."""
    sides = [row["sides"][name] for name in (OURS, rival)]
    if row["operation"] == "page":
        return f"{sides[0]['per_second']:.0f} by {sides[1]['per_second']:.0f}: {row['ratios'][rival]['median']:.2f}"
    ours, theirs = (f"{each['median_us'] / 1000:.2f}" for each in sides)
    return f"{ours} by {theirs}: {ratio(row['ratios'].get(rival))}"


def dispatch(rows: list[Row]) -> Iterator[str]:
    """What the run-time dispatch costs."""
    added = ", ".join(f"{row['verb']} {row['added_us']:.1f}" for row in rows)
    yield f"- That the store is found at run time costs, in µs: {added} (goal {rows[0]['goal']:.0f})."


def scale(rows: list[Row]) -> Iterator[str]:
    """What many sessions cost."""
    few, many = rows[0]["sides"]
    size = {row["place"]: row["bytes_per_session"] for row in rows}
    worst = {place: max(row["ratio"]["median"] for row in rows if row["place"] == place) for place in size}
    yield (
        f"- With {int(many):,} sessions instead of {int(few):,} the slowest operation takes longer by a factor of "
        + ", ".join(f"{factor:.2f} ({STORES[place]})" for place, factor in worst.items())
        + f"; the goal is {rows[0]['ratio']['goal']}."
    )
    yield "- A session takes, in bytes: " + ", ".join(f"{STORES[each]} {size[each]}" for each in size) + "."


def draining(rows: list[Row]) -> Iterator[str]:
    """What a drain does."""
    few, many = rows[0], rows[-1]
    yield (
        f"- `drain_sessions` moves {many['per_second']:,} sessions a second from Valkey to PostgreSQL (goal "
        f"{many['goal']:,.0f}). {many['sessions']:,} take it {many['peak_mib']:.0f} MiB of memory, "
        f"{few['sessions']:,} take {few['peak_mib']:.0f} MiB (goal: {few['goal_mib']:.0f} MiB more)."
    )


def clearing(rows: list[Row]) -> Iterator[str]:
    """What ``clearsessions`` does to others."""
    for row in rows:
        before, meanwhile = (
            f"{row[key]['p99_ms']:.0f} and {row[key]['worst_ms']:.0f}" for key in ("calm", "meanwhile")
        )
        yield (
            f"- `clearsessions` over {row['expired']:,} expired sessions in {row['server']}: {row['seconds']:.0f} s, "
            f"the longest statement {row['statement_longest_ms']:.0f} ms (goal {row['goal']:.0f}). Four writers waited "
            f"{meanwhile} ms (99th percentile and worst) meanwhile, {before} ms before."
        )
        if row["plan"]["full_scan"] or row["live"] != row["live_left"]:
            yield f"- It read the whole table, or deleted live sessions: {row['plan']}, {row['live_left']:,} left."


def primary(rows: list[Row]) -> Iterator[str]:
    """What one primary of REDIS can do."""
    for row in rows:
        cost = ", ".join(f"{name} {us} ({1_000_000 / us:,.0f})" for name, us in row["cpu_us"].items())
        yield (
            f"- One primary of REDIS, {row['server']}: {row['bytes']} bytes a session of {row['sessions']:,}, "
            f"{row['memory_usage']} by MEMORY USAGE; CPU time of a request in µs (requests a second of a core): {cost}."
        )


SHOWN: dict[str, Callable[[list[Row]], Iterable[str]]] = {
    "operations": operations,
    "requests": requests,
    "asgi": asgi,
    "network": network,
    "dispatch": dispatch,
    "scale": scale,
    "draining": draining,
    "clearing": clearing,
    "primary": primary,
}
FACTS = ("dispatch", "scale", "draining", "clearing", "primary")

if __name__ == "__main__":
    main(sys.argv[1:])
