"""The light of the page: asked again with each look, at hardly any cost to the store."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from sessionpersist.configuration import probing, pulse
from sessionpersist.configuration.throttling import TESTS
from sessionpersist.handover import snapshot
from sessionpersist.stores.breaker import FAULTS
from sessionpersist.stores.settings import MemorySettings, RedisSettings
from tests.admin.support import PAGE, STATUS, create_staff, login_of, start_over
from tests.admin.test_attempts import TOO_OFTEN
from tests.admin.test_page import JSON, text_of
from tests.admin.test_panels import choose
from tests.servers import Valkey, shared
from tests.sizes import quick_and_long
from tests.telemetry.reading import sentences

pytestmark = pytest.mark.django_db

READS = {"get", "getrange", "mget"}
HARMLESS = {"ping", "info", "config|get", "hello", "auth", "select", "client|setinfo", "client|no-evict"}


@pytest.fixture(autouse=True)
def at_once(db: None, settings: Settings, tmp_path: Path) -> Iterator[None]:
    own = {"MEMORY_DIR": str(tmp_path), "KEY_PREFIX": tmp_path.name}
    settings.SESSIONPERSIST = {"ACTIVATION_SECONDS": 0, "GUARD_SECONDS": 0, **own}
    start_over()
    snapshot.reset()
    yield
    snapshot.reset()


def calls() -> dict[str, int]:
    """How often the shared Valkey was told each command."""
    with shared(Valkey).connect() as client:
        stats = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}


def new_calls(before: dict[str, int]) -> dict[str, int]:
    found = {name: number - before.get(name, 0) for name, number in calls().items()}
    return {name: number for name, number in found.items() if number}


def reads(made: dict[str, int]) -> int:
    return sum(number for name, number in made.items() if name in READS)


def test_many_looks_write_nothing_and_ask_the_store_once_a_second(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(**login_of(Valkey))
    browser.get(STATUS)  # moves the session of the staff, and asks for the warnings
    monkeypatch.setattr(pulse, "LIFE_SECONDS", 30.0)
    before = calls()
    for _ in range(20):
        assert "✓ Answers" in text_of(browser.get(STATUS))
    made = new_calls(before)
    assert set(made) <= READS | HARMLESS
    assert reads(made) <= 20 + 1, "20 for the session, and one look at most"


def test_each_look_is_a_new_read_once_the_last_is_old(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(**login_of(Valkey))
    browser.get(STATUS)
    monkeypatch.setattr(pulse, "LIFE_SECONDS", 0.0)
    before = calls()
    for _ in range(5):
        browser.get(STATUS)
    made = new_calls(before)
    assert reads(made) == 2 * 5
    assert set(made) <= READS | HARMLESS


def test_a_store_that_has_died_is_red_with_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "LIFE_SECONDS", 0.0)
    with Valkey() as server:
        settings = RedisSettings(server.host, server.port, password=server.password)
        assert pulse.take(settings).read.ok
    down = pulse.take(settings)
    assert not down.read.ok
    assert "refused" in down.read.message
    assert server.password not in repr(down.read)


def test_a_store_that_stays_dead_goes_on_saying_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "LIFE_SECONDS", 0.0)
    with Valkey() as server:
        settings = RedisSettings(server.host, server.port, password=server.password)
    looks = [pulse.take(settings).read.message for _ in range(FAULTS + 1)]
    assert "being given a moment" in looks[-1]
    assert "refused" in looks[-1]
    assert server.password not in looks[-1]


def test_what_is_shown_says_how_old_it_is(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "LIFE_SECONDS", 60.0)
    first = pulse.take(MemorySettings())
    monkeypatch.setattr(pulse, "monotonic", lambda: time.monotonic() + 42)
    page = browser.get(STATUS).content.decode()
    assert re.search(r'data-age="42\.\d"', page)
    assert f"asked at {first.at:%H:%M:%S}" in page


def test_another_store_is_asked_at_once() -> None:
    assert pulse.take(MemorySettings()).read.ok
    nobody = RedisSettings("127.0.0.1", 1)
    assert not pulse.take(nobody).read.ok


class TestCheckNow:
    def test_every_verb_is_tried(self, browser: Client) -> None:
        found = browser.post(STATUS, headers=JSON).json()
        assert "✓</span> Answers" in found["status"]
        assert "The store works." in found["report"]
        assert "Tried: In-Memory" in found["report"]
        assert re.search(r"Check at \d\d:\d\d:\d\d", found["report"])
        for step in ("Write", "Compare and set", "Delete"):
            assert f"{step}<span" in found["report"]

    def test_without_the_script_the_page_comes_with_what_came_of_it(self, browser: Client) -> None:
        text = text_of(browser.post(STATUS))
        assert "The store works." in text
        assert "✓ Answers" in text
        assert "Session persistence" in text

    def test_only_a_post_writes(self, browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probing, "probe", lambda *args: pytest.fail("the verbs were tried"))
        for address in (PAGE, f"{PAGE}?check=now", STATUS, f"{STATUS}?check=now"):
            assert browser.get(address).status_code == 200

    def test_a_process_tries_them_at_most_once_a_second(
        self, browser: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pulse, "LIFE_SECONDS", 60.0)
        assert (
            browser.post(STATUS, headers=JSON).json()["report"]
            == browser.post(STATUS, headers=JSON).json()["report"]
        )

    def test_who_may_only_look_may_check_and_others_may_not(self) -> None:
        client = Client()
        client.force_login(create_staff("eve", "view_loginconfiguration"))
        assert client.post(STATUS, headers=JSON).status_code == 200
        client.force_login(create_staff("mallory"))
        assert client.post(STATUS, headers=JSON).status_code == 403
        assert client.get(STATUS).status_code == 403

    def test_the_eleventh_in_a_minute_writes_nothing_and_each_is_a_line(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        eve, client = create_staff("eve", "view_loginconfiguration"), Client()
        client.force_login(eve)
        with caplog.at_level(logging.INFO, "sessionpersist.audit"):
            for _ in range(TESTS.times):
                assert client.post(STATUS, headers=JSON).status_code == 200
            monkeypatch.setattr(pulse, "check", lambda *args: pytest.fail("the verbs were tried"))
            answer, page = client.post(STATUS, headers=JSON), client.post(STATUS)
        assert (answer.status_code, page.status_code) == (429, 429)
        found = answer.json()
        assert "Answers" in found["status"]
        assert TOO_OFTEN in found["report"]
        assert TOO_OFTEN in page.content.decode()
        assert client.get(STATUS).status_code == 200, "looking is free"
        lines = [line for line in sentences(caplog.messages) if line.startswith("store ")]
        done, refused = "store checked", "store not checked, too often"
        assert lines == [f"{what}: user {eve.pk}, In-Memory" for what in [done] * TESTS.times + [refused] * 2]

    def test_another_site_can_not_have_it_done(self, browser: Client) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = browser.cookies
        assert strict.post(STATUS).status_code == 403


@pytest.mark.parametrize("each_second", quick_and_long(6, 29))
def test_who_may_only_look_can_not_make_the_store_work_by_asking(
    each_second: int, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on the day when 145 looks in 5 s were 1740 writes. The clock stands still but for 5 steps of a second."""
    choose(**login_of(Valkey))
    monkeypatch.setattr(pulse, "LIFE_SECONDS", 1.0)
    client = Client()
    client.force_login(create_staff("eve", "view_loginconfiguration"))
    client.get(STATUS)  # asks for the warnings
    now = time.monotonic()
    monkeypatch.setattr(pulse, "monotonic", lambda: now)
    before = calls()
    for look in range(5 * each_second):
        now += 1.0 if look % each_second == 0 else 0.0
        assert client.get(STATUS).status_code == 200
    made = new_calls(before)
    assert set(made) <= READS | HARMLESS
    assert reads(made) <= 5 * each_second + 5, "one for each session, and one a second"
