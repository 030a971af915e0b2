"""Each line of the log has an id, and keys that a machine reads as they were written."""

from __future__ import annotations

import ast
import logging
import re
import time
from pathlib import Path

import pytest

from sessionpersist.handover.announcing import Switch, announce
from sessionpersist.handover.snapshot import Known
from sessionpersist.stores.settings import MemorySettings, RedisSettings
from sessionpersist.telemetry import lines, node
from sessionpersist.telemetry.lines import AUDIT, STORE_LOST, STORE_TRIED, Line, events, say
from tests.docs.pages import REFERENCE, rows
from tests.load import stores as places
from tests.load.clients import Browser
from tests.load.site import Node, Site
from tests.servers import Valkey, require, shared
from tests.stores.parallel import in_processes
from tests.telemetry.reading import parsed

APP = Path(lines.__file__).resolve().parents[1]
NASTY = 'a "quoted" store\nevent=forged store=x\\'


def test_a_machine_reads_what_was_written(caplog: pytest.LogCaptureFixture) -> None:
    say(STORE_LOST, f"{NASTY} is lost.", store=NASTY, error="OSError")
    [record] = caplog.records
    assert parsed(record.getMessage()) == {
        "event": "store_lost",
        "store": NASTY,
        "error": "OSError",
        "message": f"{NASTY} is lost.",
    }
    assert "\n" not in record.getMessage()
    assert (record.levelno, record.name) == (logging.ERROR, "sessionpersist")
    assert (vars(record)["event"], vars(record)["fields"]) == (
        "store_lost",
        {"store": NASTY, "error": "OSError"},
    )
    assert Path(record.pathname) == Path(__file__), "where the line was written"


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        (5, "5"),
        ("node-1", "node-1"),
        ("127.0.0.1:6379", "127.0.0.1:6379"),
        ("[::1]:6379", "[::1]:6379"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ("Zoë", '"Zoë"'),
        ('"', r'"\""'),
    ],
)
def test_what_is_not_plain_is_quoted(value: object, quoted: str) -> None:
    assert lines.quoted(value) == quoted


def test_a_line_that_nobody_wants_costs_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "quoted", lambda value: pytest.fail("it was written"))
    caplog.set_level(logging.WARNING, AUDIT)
    say(STORE_TRIED, "A store was tried.", user=1, store="REDIS", refused=False)


def test_ids_are_unique() -> None:
    ids = [each.id for each in events()]
    assert len(ids) == len(set(ids))


def test_no_line_is_written_but_with_an_id_and_with_its_keys() -> None:
    known = {name: each for name, each in vars(lines).items() if isinstance(each, Line)}
    used = set()
    for path in APP.rglob("*.py"):
        for call in (each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Call)):
            name = ast.unparse(call.func)
            if (
                name.rpartition(".")[0] in ("logger", "suspicious", "logging.getLogger")
                and path.name != "lines.py"
            ):
                pytest.fail(f"{path}:{call.lineno} writes a line without an id")
            if name == "lines.say" and isinstance(call.args[0], ast.Name) and call.args[0].id in known:
                event = known[call.args[0].id]
                keys = [each.arg for each in call.keywords if each.arg != "exc_info"]
                assert tuple(keys) == event.fields, f"{path}:{call.lineno}"
                used.add(event.id)
    # Those are chosen by what has happened, and written by a function that adds what they share.
    chosen = {"store_lost", "store_refused", "store_crowded", "password_again", "password_wrong"}
    assert used | chosen == {each.id for each in events()}


def test_each_is_in_the_reference() -> None:
    table = rows(REFERENCE / "log-lines.md")[: len(events())]
    assert [(row[0].strip("`"), row[1], re.findall(r"`(\w+)`", row[2])) for row in table] == [
        (each.id, logging.getLevelName(each.level), list(each.fields)) for each in events()
    ]


def switch(number: int) -> Switch:
    before = Known(number - 1, MemorySettings(), 1.0)
    return Switch(before, Known(number, RedisSettings(host="redis.example.org"), time.time()))


@pytest.mark.usefixtures("switches_at_once")
class TestASwitch:
    def test_is_one_line_of_a_node_whichever_process_writes_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second = switch(7), switch(8)
        said = in_processes([lambda: str(node.is_first(f"revision 7, {first.after.activates_at}"))] * 6)
        assert sorted(said) == ["False"] * 5 + ["True"]
        announce(first)
        assert caplog.records == []
        announce(second)
        announce(second)
        [line] = caplog.messages
        found = parsed(line)
        assert (found["event"], found["revision"], found["node"]) == ("store_switched", "8", "here")
        assert found["store"] == "REDIS at redis.example.org:6379, database 0"

    def test_is_one_of_each_node(
        self, caplog: pytest.LogCaptureFixture, settings: pytest.FixtureRequest
    ) -> None:
        both = switch(9)
        announce(both)
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "NODE_NAME": "there"}  # type: ignore[attr-defined]
        announce(both)
        assert [parsed(each)["node"] for each in caplog.messages] == ["here", "there"]


def test_a_real_node_with_several_workers_says_it_once(tmp_path: Path) -> None:
    require(Valkey)
    site = Site(tmp_path, REFRESH_SECONDS=0.2, ACTIVATION_SECONDS=0)
    site.migrate()
    with Node(site, "node-1", workers=3) as running:
        ask_each(running)
        site.configure(**places.fields(shared(Valkey)), redis_database=9)
        time.sleep(1)
        ask_each(running)
        log = running.log.read_text()
    assert log.count("event=store_switched") == 1


def ask_each(running: Node) -> None:
    """Have each worker serve a request."""
    browser, pids = Browser([running.url]), set[int]()
    while len(pids) < running.workers:
        pids.add(browser.get("/count/").body["pid"])
