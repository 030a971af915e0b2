"""What the benchmarks rest on: right sizes, fair turns, right sums, and a page that keeps the rest of its text."""

from __future__ import annotations

import json
import re
import socket
import threading
from functools import partial
from pathlib import Path
from time import monotonic
from xml.etree import ElementTree

import pytest
from redis.crc import key_slot

from benchmarks import figures as page
from benchmarks.__main__ import main
from benchmarks.chart import LEFT, LONGEST, UNIT, picture
from benchmarks.contents import SIZES, content, length
from benchmarks.goals import goal, goal_across
from benchmarks.primary import PREFIX, names
from benchmarks.relay import Relay
from benchmarks.timing import Case, Effort, in_turns, ratio, summary


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("logged_in", [True, False])
def test_content_has_exactly_the_size(size: int, logged_in: bool) -> None:
    assert length(content(size, logged_in=logged_in)) == size


def test_each_side_has_its_turn_in_every_round() -> None:
    turns: list[str] = []
    cases = {name: Case(partial(str, name), turns.append) for name in ("ours", "theirs")}
    samples = in_turns(cases, Effort(rounds=3, repeats=2, warm_up=1))
    rounds = [turns[start : start + 4] for start in range(0, len(turns), 4)]
    assert [sorted(each) for each in rounds] == [["ours", "ours", "theirs", "theirs"]] * 4
    assert {name: [len(each) for each in times] for name, times in samples.items()} == {
        "ours": [2, 2, 2],
        "theirs": [2, 2, 2],
    }


def test_ratio_is_that_of_each_round_so_a_slow_one_is_slow_for_both() -> None:
    ours, theirs = [[100], [9000], [110]], [[200], [18000], [200]]
    assert ratio(ours, theirs) == {"median": 0.5, "q1": 0.5, "q3": 0.55}
    assert summary(ours) == {"median_us": 0.11, "p99_us": 9.0, "samples": 3}


def test_names_are_as_long_as_those_of_the_store_also_where_they_are_in_few_slots() -> None:
    alone, together = names(100), names(100, slots=3)
    assert {len(name) for name in (*alone, *together)} == {len(PREFIX) + 64}
    assert len({key_slot(name.encode()) for name in together}) == 3
    assert len(set(alone)) == len(set(together)) == 100


def test_goals_are_for_the_small_session_and_the_named_rival() -> None:
    assert goal("REDIS", "save", "django-redis") == 0.55
    assert goal("REDIS", "save", "django-redis", 4096) is None
    assert goal("REDIS", "save", "Django's Redis") is None
    assert goal("REDIS", "slide", "django-redis", 4096) == 1.0
    assert goal("IN_MEMORY", "login", "file engine") == 0.2
    assert goal("REDIS", "login, no list", "django-redis") == goal("REDIS", "login", "django-redis") == 0.5
    assert goal("POSTGRESQL", "load", "bare driver") == 1.6


def test_goals_across_a_network_are_for_the_login_in_one_zone() -> None:
    assert goal_across("REDIS", "login", "django-redis", 0.0005) == 0.55
    assert goal_across("REDIS", "login", "django-redis", 0.002) is None
    assert goal_across("REDIS", "load", "django-redis", 0.0005) is None
    assert goal_across("REDIS", "login", "bare driver", 0.0005) is None


@pytest.mark.long
@pytest.mark.xdist_group("load")
def test_pages_and_a_network_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    main(["network", "--quick", "--store", "REDIS"])
    shown = capsys.readouterr().out
    assert "| REDIS, django-redis | 0.5 ms |" in shown
    assert "| REDIS, django-redis | 2 ms |" in shown
    assert len(re.findall(r"\| \d+ by \d+: \d\.\d\d \|\n", shown)) == 2


def test_relay_counts_what_waits_for_an_answer_and_not_the_monitor() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        with (
            Relay("127.0.0.1", server.getsockname()[1]) as relay,
            socket.create_connection(("127.0.0.1", relay.port)) as client,
        ):
            counted = [ask(client, relay, *parts) for parts in QUESTIONS]
    assert counted == [1, 2, 3, 3]


QUESTIONS = [[b"one\n"], [b"said ", b"in two breaths\n"], [b"long" * 100_000 + b"\n"], [b"hello\n"]]


def ask(client: socket.socket, relay: Relay, *parts: bytes) -> int:
    """Say something, wait for the answer, and return the round trips so far."""
    for part in parts:
        client.sendall(part)
    assert client.recv(10) == b"ok\n"
    return relay.trips


def test_relay_makes_each_round_trip_longer_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        with (
            Relay("127.0.0.1", server.getsockname()[1], delay=0.2) as relay,
            socket.create_connection(("127.0.0.1", relay.port)) as client,
        ):
            begun = monotonic()
            assert ask(client, relay, b"said ", b"in two breaths\n") == 1
            assert 0.2 <= monotonic() - begun < 0.4


def answer(server: socket.socket) -> None:
    """Answer each line of one client."""
    with server.accept()[0] as client, client.makefile("rb") as lines:
        for _ in lines:
            client.sendall(b"ok\n")


def test_page_gets_the_figures_and_keeps_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document, figures = tmp_path / "speed.md", tmp_path / "figures.json"
    document.write_text(f"Before\n{page.BEGIN}\nold\n{page.END}\nAfter\n")
    figures.write_text(json.dumps(REPORT))
    monkeypatch.setattr(page, "PAGE", document)
    monkeypatch.setattr(page, "PICTURE", tmp_path / "speed.svg")
    page.main([str(figures)])
    text = document.read_text()
    assert text.startswith(f"Before\n{page.BEGIN}\nMeasured on 2026-01-02")
    assert text.endswith(f"{page.END}\nAfter\n")
    assert "old" not in text
    assert "| REDIS, django-redis | 0.50 (0.95) |" in text
    assert "| REDIS, django-redis | 100 (1), 200 (1) |" in text
    assert "| REDIS, django-redis | 0.5 ms | 0.80 by 0.90: 0.89 |" in text
    assert "| 635 by 533: 1.19 |" in text
    assert (
        "| REDIS, django-redis | read | 900, 80 ms, 20 threads, 1001 µs | 600, 120 ms, 64 threads, 1502 µs |"
        in text
    )
    assert "| 1.50 (1.50) |" in text


def test_picture_has_a_bar_for_each_goal_and_cuts_a_long_one() -> None:
    operations = (("load", 0.5), ("save", 1.0), ("login", 3.0), ("logout", 0.25))
    rows = [
        {"place": "REDIS", "bytes": 300, "operation": name, "ratios": {"django-redis": {"median": ratio}}}
        for name, ratio in operations
    ]
    root = ElementTree.fromstring(picture(rows, page.STORES))  # noqa: S314 - we have made it
    space = "{http://www.w3.org/2000/svg}"
    bars = [float(each.get("width", 0)) for each in root.iter(f"{space}rect") if each.get("x") == str(LEFT)]
    assert bars == [0.5 * UNIT, UNIT, LONGEST * UNIT, 0.25 * UNIT]
    texts = [each.text for each in root.iter(f"{space}text")]
    assert {"0.50", "1.00", "3.00", "0.25", "REDIS", "by django-redis"} <= set(texts)
    assert "JDBC, PostgreSQL" not in texts


def test_the_page_of_the_documentation_has_the_section() -> None:
    text = page.PAGE.read_text()
    assert text.index(page.BEGIN) < text.index("\nMeasured on ") < text.index(page.END)


def test_page_without_the_section_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document, figures = tmp_path / "speed.md", tmp_path / "figures.json"
    document.write_text("Before\n")
    figures.write_text(json.dumps(REPORT))
    monkeypatch.setattr(page, "PAGE", document)
    with pytest.raises(SystemExit, match="no section"):
        page.main([str(figures)])


REPORT = {
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"system": "Linux", "processor": "Some", "cores": 2, "memory_gib": 8},
    "versions": {"Python": "3"},
    "operations": [
        {
            "place": "REDIS",
            "server": "Valkey",
            "operation": "load",
            "bytes": 300,
            "sides": {"sessionpersist": {"median_us": 100.0}, "django-redis": {"median_us": 200.0}},
            "ratios": {"django-redis": {"median": 0.5, "goal": 0.95}},
            "trips": {"sessionpersist": 1, "django-redis": 1},
        }
    ],
    "asgi": [
        {
            "place": "REDIS",
            "page": "read",
            "sides": {
                "sessionpersist": {"per_second": 900.0, "p99_ms": 80.0, "threads": 20, "cpu_us": 1001},
                "django-redis": {"per_second": 600.0, "p99_ms": 120.0, "threads": 64, "cpu_us": 1502},
            },
            "ratios": {"django-redis": {"median": 1.5, "goal": 1.5}},
        },
    ],
    "network": [
        {
            "place": "REDIS",
            "delay_ms": 0.5,
            "operation": "load",
            "sides": {"sessionpersist": {"median_us": 800.0}, "django-redis": {"median_us": 900.0}},
            "ratios": {"django-redis": {"median": 0.89, "goal": None}},
        },
        {
            "place": "REDIS",
            "delay_ms": 0.5,
            "operation": "page",
            "sides": {"sessionpersist": {"per_second": 635.0}, "django-redis": {"per_second": 533.0}},
            "ratios": {"django-redis": {"median": 1.19, "goal": 1.0}},
        },
    ],
}
