"""The figures as text for a person at a terminal."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
Report = dict[str, Any]


def heading(report: Report) -> str:
    """Date, machine and versions."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return (
        f"{report['date']}, {report['mode']}\n"
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}\n"
        f"{versions}\n{report['warning']}"
    ).rstrip()


def operations(rows: list[Row]) -> str:
    """Medians, 99th percentiles, ratios with their quartiles, goals."""
    lines = [
        "",
        "Operations of a whole engine object: microseconds; a ratio is ours by theirs, median [quartiles]",
    ]
    before = None
    for row in rows:
        if (row["place"], row["bytes"]) != before:
            before = row["place"], row["bytes"]
            lines += ["", f"{row['place']} ({row['server']}), {row['bytes']} bytes", f"  {row['note']}"]
            lines.append(f"  {'':<9}{'side':<22}{'median':>9}{'p99':>9}{'trips':>7}   {'ratio':<22}goal")
        lines += _operation(row)
    return "\n".join(lines)


def network(rows: list[Row]) -> str:
    """The operations and whole pages on a store that a network is in front of."""
    lines = ["", "Across a network: milliseconds of an operation, pages a second; a ratio is ours by theirs"]
    for where in dict.fromkeys((row["delay_ms"], row["place"]) for row in rows):
        delay, place = where
        lines += ["", f"{place}, {delay:g} ms for a round trip"]
        for row in rows:
            if (row["delay_ms"], row["place"]) == where:
                lines += _across(row)
    return "\n".join(lines)


def dispatch(rows: list[Row]) -> str:
    """What it costs that the store is looked up at run time."""
    lines = [
        "",
        "Dispatch (snapshot, routing, breaker) around a store that answers at once: microseconds a verb",
    ]
    lines += [
        f"  {row['verb']:<9}{row['added_us']:>7.2f}   goal {row['goal']:.1f} "
        + verdict(row["added_us"], row["goal"])
        for row in rows
    ]
    return "\n".join(lines)


def requests(rows: list[Row]) -> str:
    """Whole requests of the site under gunicorn."""
    lines = ["", f"Pages of a logged-in user under gunicorn, load by {rows[0]['generator']} on 8 connections"]
    lines.append(f"  {'':<12}{'side':<22}{'a second':>10}{'p99 ms':>9}   ours by theirs, more is better")
    for row in rows:
        for side, served in row["sides"].items():
            first = side == next(iter(row["sides"]))
            name, ratio = (row["place"], "") if first else ("", _ratio(row["ratio"]))
            line = f"  {name:<12}{side:<22}{served['per_second']:>10.1f}{served['p99_ms']:>9.1f}   {ratio}"
            lines.append(line.rstrip())
    return "\n".join(lines)


def scale(rows: list[Row]) -> str:
    """The operations with few and with many sessions, and how much room one takes."""
    lines = [
        "",
        "Few and many sessions in the store: medians in microseconds; a ratio is that of many by few",
    ]
    place = None
    for row in rows:
        if row["place"] != place:
            place = row["place"]
            few, many = (f"{int(count):,}" for count in row["sides"])
            lines += ["", f"{place} ({row['server']}), {row['bytes_per_session']} bytes a session"]
            lines.append(f"  {'':<9}{few:>11}{many:>11}   ratio")
        medians = "".join(f"{times['median_us']:>11.1f}" for times in row["sides"].values())
        lines.append(f"  {row['operation']:<9}{medians}   {_ratio(row['ratio'])}")
    return "\n".join(lines)


def clearing(rows: list[Row]) -> str:
    """``clearsessions`` beside writers."""
    lines = ["", "clearsessions while 4 processes save live sessions: milliseconds"]
    for row in rows:
        longest, goal = row["statement_longest_ms"], row["goal"]
        lines += [
            "",
            f"{row['server']}: {row['expired']:,} expired in {row['seconds']} s, {row['statements']:,} statements",
            f"  a statement, and with it its locks: median {row['statement_median_ms']}, longest {longest}"
            f"   goal {goal:.0f} {verdict(longest, goal)}",
            *(
                f"  {name:<22}{_waits(row[key])}"
                for name, key in (("saves before", "calm"), ("saves meanwhile", "meanwhile"))
            ),
            f"  live sessions before and after: {row['live']:,} and {row['live_left']:,}",
            f"  full scan: {'YES' if row['plan']['full_scan'] else 'no'}",
            *(f"    {line}" for line in row["plan"]["lines"]),
        ]
    return "\n".join(lines)


def _waits(waits: Row) -> str:
    return (
        f"median {waits['median_ms']}, p99 {waits['p99_ms']}, worst {waits['worst_ms']} ({waits['saves']:,})"
    )


def draining(rows: list[Row]) -> str:
    """``drain_sessions`` of few and of many sessions."""
    lines = ["", "drain_sessions from Valkey to PostgreSQL"]
    for row in rows:
        reached = verdict(row["per_second"], row["goal"], more_is_better=True)
        goal = (
            f" (goal {row['goal']:,.0f} {reached})" if row is rows[-1] else ""
        )  # few take little longer than to begin
        lines.append(
            f"  {row['sessions']:>9,} sessions in {row['seconds']} s: {row['per_second']:,} a second{goal},"
            f" at most {row['peak_mib']} MiB of memory"
        )
    growth, most = rows[-1]["peak_mib"] - rows[0]["peak_mib"], rows[0]["goal_mib"]
    lines.append(f"  growth {growth:.1f} MiB, goal {most:.0f} {verdict(growth, most)}")
    return "\n".join(lines)


def primary(rows: list[Row]) -> str:
    """What one primary of REDIS can do."""
    lines = [
        "",
        "One primary of REDIS: memory of a session, and CPU time of a request in µs (requests a second of a core)",
    ]
    for row in rows:
        times = ", ".join(f"{name} {us} ({1_000_000 / us:,.0f})" for name, us in row["cpu_us"].items())
        size = f"{row['bytes']} bytes a session of {row['sessions']:,}, {row['memory_usage']} by MEMORY USAGE"
        lines.append(f"  {row['server']}: {size}; {times}")
    return "\n".join(lines)


def verdict(figure: float, goal: float, *, more_is_better: bool = False) -> str:
    """Say whether a figure reaches its goal."""
    return "reached" if (figure >= goal if more_is_better else figure <= goal) else "MISSED"


def _across(row: Row) -> list[str]:
    """One operation, or the pages."""
    lines = []
    for number, (side, served) in enumerate(row["sides"].items()):
        page = row["operation"] == "page"
        figure = f"{served['per_second']:.1f} /s" if page else f"{served['median_us'] / 1000:.2f} ms"
        found = row["ratio"] if page and number else row.get("ratios", {}).get(side)
        name = "" if number else row["operation"]
        lines.append(f"  {name:<9}{side:<22}{figure:>12}   {_ratio(found)}".rstrip())
    return lines


def _operation(row: Row) -> list[str]:
    lines = []
    for number, (side, times) in enumerate(row["sides"].items()):
        name = row["operation"] if number == 0 else ""
        trips = row.get("trips", {}).get(side, "")
        line = f"  {name:<9}{side:<22}{times['median_us']:>9.1f}{times['p99_us']:>9.1f}{trips:>7}"
        lines.append(f"{line}   {_ratio(row['ratios'].get(side))}".rstrip())
    return lines


def _ratio(ratio: dict[str, Any] | None) -> str:
    if ratio is None:
        return ""
    text = f"{ratio['median']:.2f} [{ratio['q1']:.2f}, {ratio['q3']:.2f}]"
    if ratio["goal"] is None:
        return text
    return f"{text:<22}{ratio['goal']:.2f} {verdict(ratio['median'], ratio['goal'])}"
