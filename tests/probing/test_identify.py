"""``identify``: the id of the place that settings lead to."""

from __future__ import annotations

import pytest

from sessionpersist.configuration import probing
from sessionpersist.stores.base import Probed
from sessionpersist.stores.memory import MemoryStore
from sessionpersist.stores.settings import MemorySettings, RedisSettings, StoreSettings
from tests.servers.places import free_port

SECRET = "hunter2-and-more"


def test_a_store_that_tells_its_place_is_identified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "place", lambda store: "0" * 32)
    assert probing.identify(MemorySettings()) == "0" * 32


def test_settings_of_no_store_have_no_id() -> None:
    assert probing.identify(StoreSettings()) == ""


def test_a_server_that_is_down_has_no_id() -> None:
    assert probing.identify(RedisSettings(host="127.0.0.1", port=free_port())) == ""


def test_settings_that_cannot_be_are_no_error() -> None:
    assert probing.identify(RedisSettings(host="", password="env:NO_SUCH_VARIABLE")) == ""


def test_an_error_that_nobody_foresaw_is_logged_without_secrets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def place(store: Probed) -> str:
        raise KeyError(SECRET)

    monkeypatch.setattr(MemoryStore, "place", place)
    monkeypatch.setattr(probing, "secrets_of", lambda settings: [SECRET])
    assert probing.identify(MemorySettings()) == ""
    (line,) = caplog.records
    assert "KeyError" in line.getMessage()
    assert "raise KeyError(SECRET)" in line.getMessage()
    assert SECRET not in caplog.text
