"""What is left at the engine used before is counted and moved, whether its users come back or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.file import SessionStore as FileSession
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings
from redis.connection import AbstractConnection

from sessionpersist.configuration import leftovers
from sessionpersist.configuration.leftovers import Leftovers
from sessionpersist.configuration.panels.adoption import read_adoption
from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import routing
from sessionpersist.handover.draining import Left, Moved
from sessionpersist.initial import client_of
from sessionpersist.session import adoption
from sessionpersist.session.sealing import Sealer
from sessionpersist.stores.base import now_ms
from tests.servers import Valkey, require, shared
from tests.servers.places import free_port

BACKENDS = "django.contrib.sessions.backends"
DJANGO_REDIS, DJANGO = "django_redis.cache.RedisCache", "django.core.cache.backends.redis.RedisCache"
ENGINES = {
    "db": (f"{BACKENDS}.db", None),
    "cached_db": (f"{BACKENDS}.cached_db", None),
    "file": (f"{BACKENDS}.file", None),
    "django-redis": (f"{BACKENDS}.cache", DJANGO_REDIS),
    "Django's cache on Redis": (f"{BACKENDS}.cache", DJANGO),
}
DAY = 86_400

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_is_counted_yet() -> None:
    leftovers.reset()


def adopt(settings: Settings, engine: str, **cache: Any) -> None:
    settings.SESSIONPERSIST = {
        **settings.SESSIONPERSIST,
        "ADOPT_FROM": engine,
        "INITIAL": {"persistence_type": "IN_MEMORY"},
    }
    if cache:
        settings.CACHES = {"default": cache}


@pytest.fixture(params=ENGINES)
def engine(
    request: pytest.FixtureRequest, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[type[SessionBase]]:
    """The session class of an engine that the site adopts from."""
    path, cache = ENGINES[request.param]
    if cache:
        require(Valkey)
        odd = "[sessions]*?"  # what means something to SCAN
        adopt(settings, path, BACKEND=cache, LOCATION=shared(Valkey).url, KEY_PREFIX=tmp_path.name + odd)
    else:
        adopt(settings, path)
    (tmp_path / "files").mkdir()
    monkeypatch.setattr(FileSession, "_storage_path", str(tmp_path / "files"), raising=False)
    yield import_module(path).SessionStore
    if cache:
        caches["default"].clear()


def log_in(engine: type[SessionBase], number: int, **data: Any) -> list[str]:
    """Make sessions with the old engine; return their keys."""
    keys = []
    for each in range(number):
        session = engine()
        session.update({"visits": each, **data})
        session.save()
        keys.append(str(session.session_key))
    return keys


def found() -> Leftovers:
    left = leftovers.leftovers()
    assert left is not None
    return left


def ends_in(session_key: str) -> float:
    """In how many seconds a session ends that has moved."""
    record = routing.current_store().get(Sealer(session_key).stored_key)
    assert record is not None
    return (record.expires_at - now_ms()) / 1000


def test_without_an_engine_to_adopt_from_there_is_nothing() -> None:
    assert leftovers.leftovers() is None


def test_sessions_are_counted_and_all_move(engine: type[SessionBase]) -> None:
    keys = log_in(engine, 25)
    assert found().left() == Left(25, more=False, most=25)
    moving = found()
    assert sum(moving.batches(10)) == 25
    assert (moving.left().count, moving.stuck) == (0, 0)
    assert [SessionStore(key).get("visits") for key in keys] == list(range(25))
    assert not any(engine().exists(key) for key in keys)


def test_a_step_ends_when_its_time_is_over_and_the_next_goes_on(engine: type[SessionBase]) -> None:
    log_in(engine, 25)
    assert found().move_some(0) == Moved(10, 15, ended=False)
    assert found().move_some(60) == Moved(15, 0, ended=True)


def test_moving_prolongs_no_session(
    engine: type[SessionBase], monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    [key] = log_in(engine, 1)
    settings.SESSION_COOKIE_AGE = 30 * DAY  # since the login two weeks ago it has been changed
    adopt(settings, settings.SESSIONPERSIST["ADOPT_FROM"])
    if engine is FileSession:
        settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "LONGEST_LIFE_SECONDS": 14 * DAY}
    assert sum(found().batches()) == 1
    assert 13 * DAY < ends_in(key) <= 14 * DAY


def test_a_session_with_an_expiry_of_its_own_keeps_it(engine: type[SessionBase]) -> None:
    [key] = log_in(engine, 1, _session_expiry=3600)
    assert sum(found().batches()) == 1
    assert 3500 < ends_in(key) <= 3600


def test_a_session_that_was_used_meanwhile_keeps_what_was_saved(engine: type[SessionBase]) -> None:
    [key] = log_in(engine, 1)
    moving = found()
    listed = list(moving._listed())
    session = SessionStore(key)
    session["visits"] = 7
    session.save()
    assert not moving._move(*listed[0]) or SessionStore(key)["visits"] == 7
    assert SessionStore(key)["visits"] == 7
    assert moving.stuck == 0


def test_a_session_that_was_logged_out_meanwhile_stays_so(engine: type[SessionBase]) -> None:
    [key] = log_in(engine, 1)
    moving = found()
    listed = list(moving._listed())
    SessionStore(key).flush()
    assert not moving._move(*listed[0])
    assert SessionStore(key).get("visits") is None
    assert moving.stuck == 0


def test_a_copy_that_could_not_be_removed_is_removed_now(
    engine: type[SessionBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    [key] = log_in(engine, 1)
    with monkeypatch.context() as patched:
        patched.setattr(adoption, "remove", lambda session_key: None)
        assert SessionStore(key)["visits"] == 0
    assert found().left().count == 1
    assert sum(found().batches()) == 1
    assert found().left().count == 0
    assert SessionStore(key)["visits"] == 0


def damage(engine: type[SessionBase], key: str, folder: Path) -> None:
    """Have something under a key that is no session of this site."""
    if issubclass(engine, FileSession):
        (folder / "files" / f"sessionid{key}").write_text("damaged")
        return
    Session.objects.filter(session_key=key).update(session_data="damaged")
    if engine.__module__.endswith("cache"):
        cache: Any = caches["default"]
        name = engine.cache_key_prefix + key  # type: ignore[attr-defined]
        client = client_of(cache)
        client.set(getattr(cache, "client", cache).make_key(name), b"damaged", keepttl=True)
    elif engine.__module__.endswith("cached_db"):
        caches["default"].clear()


def test_what_can_not_be_read_is_counted_and_blocks_nothing(
    engine: type[SessionBase], tmp_path: Path
) -> None:
    keys = sorted(log_in(engine, 5))
    damage(engine, keys[0], tmp_path)
    step = found().move_some(60)
    assert step == Moved(4, 1, ended=True)
    moving = found()
    assert sum(moving.batches()) == 0
    assert moving.stuck == 1


def test_steps_that_meet_nothing_else_end_in_time_and_each_goes_on_behind_the_last(
    engine: type[SessionBase], tmp_path: Path
) -> None:
    keys = log_in(engine, 35)
    listed = [key for key, _ends_at in found()._listed()]
    for key in listed[:25]:
        damage(engine, key, tmp_path)
    moving, steps = found(), []
    for _ in range(4):
        steps.append(moving.move_some(0))
        moving = replace(moving)  # the next process knows no more than ``passed``
    assert steps == [
        Moved(0, 35, ended=False),
        Moved(0, 35, ended=False),
        Moved(5, 30, ended=False),
        Moved(5, 25, ended=False),
    ]
    assert moving.move_some(60) == Moved(0, 25, ended=True)
    assert (moving.stuck, moving.passed) == (25, 0)
    assert sum(SessionStore(key).get("visits") is not None for key in keys) == 10


def test_an_empty_session_is_nothing_to_move_and_does_not_stay(engine: type[SessionBase]) -> None:
    [key] = log_in(engine, 1)
    session = engine(key)
    session["visits"] = 1
    del session["visits"]
    session.save()
    assert engine().exists(key)
    moving = found()
    assert moving.move_some(60) == Moved(0, 0, ended=True)
    assert moving.stuck == 0


def test_in_redis_a_look_costs_few_commands(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(Valkey)
    cache = {"BACKEND": DJANGO, "LOCATION": shared(Valkey).url, "KEY_PREFIX": tmp_path.name}
    adopt(settings, f"{BACKENDS}.cache", **cache)
    log_in(import_module(f"{BACKENDS}.cache").SessionStore, 200)
    client = client_of(caches["default"])
    asked = partial(calls, client)
    before, names = asked("pttl"), client.dbsize()
    shown = read_adoption(count=True)
    assert (shown and shown.left, asked("pttl") - before) == (Left(200, more=False, most=200), 0)
    before = asked("scan")
    read_adoption(count=True)
    assert asked("scan") == before, "the page asks again and again"
    sent: list[object] = []
    send: Any = AbstractConnection.send_packed_command

    def noted(*args: Any, **options: Any) -> None:
        sent.append(args)
        send(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(AbstractConnection, "send_packed_command", noted)
        assert len(list(found()._listed())) == 200
    assert 0 < len(sent) <= 2 * (names / leftovers.KEYS + 2), "the lives of a page are asked together"
    caches["default"].clear()


def calls(client: Any, command: str) -> int:
    """How often the server was asked for this."""
    count: int = client.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"]
    return count


def test_what_our_serializer_does_not_take_blocks_nothing(settings: Settings) -> None:
    require(Valkey)
    engine = import_module(f"{BACKENDS}.cache").SessionStore
    adopt(settings, f"{BACKENDS}.cache", BACKEND=DJANGO, LOCATION=shared(Valkey).url, KEY_PREFIX="pickled")
    log_in(engine, 1, since=timezone.now())  # a cache pickles whatever is in a session
    log_in(engine, 3)
    assert found().move_some(60) == Moved(3, 1, ended=True)
    caches["default"].clear()


def test_expired_sessions_are_neither_counted_nor_moved(settings: Settings) -> None:
    adopt(settings, f"{BACKENDS}.db")
    log_in(import_module(f"{BACKENDS}.db").SessionStore, 3)
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert found().move_some(60) == Moved(0, 0, ended=True)


def test_an_expired_file_is_not_replaced_by_a_new_one(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopt(settings, f"{BACKENDS}.file")
    monkeypatch.setattr(FileSession, "_storage_path", str(tmp_path), raising=False)
    log_in(FileSession, 1, _session_expiry=-1)
    assert found().move_some(60) == Moved(0, 0, ended=True)
    assert list(tmp_path.iterdir()) == []


def test_files_of_others_are_passed_over(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopt(settings, f"{BACKENDS}.file")
    monkeypatch.setattr(FileSession, "_storage_path", str(tmp_path), raising=False)
    for name in ("notes.txt", f"sessionid{'a' * 32}_out_x1y2", "sessionid-of-another"):
        (tmp_path / name).write_text("mine")
    assert found().move_some(60) == Moved(0, 0, ended=True)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    "cache",
    [
        {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
    ],
)
def test_an_engine_that_can_not_list_its_sessions_is_known_for_it(
    settings: Settings, cache: dict[str, Any]
) -> None:
    adopt(settings, f"{BACKENDS}.cache", **cache)
    assert not found().listable


@pytest.mark.parametrize("backend", [DJANGO_REDIS, DJANGO])
def test_a_cache_that_is_down_is_an_outage(settings: Settings, backend: str) -> None:
    adopt(settings, f"{BACKENDS}.cache", BACKEND=backend, LOCATION=f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailable):
        found().left()
    with pytest.raises(StoreUnavailable):
        next(found().batches())


def test_a_database_that_is_down_is_an_outage(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(engine: object) -> None:
        raise OperationalError("down")

    adopt(settings, f"{BACKENDS}.db")
    monkeypatch.setattr(leftovers, "live_rows", down)
    with pytest.raises(StoreUnavailable):
        found().left()
    with pytest.raises(StoreUnavailable):
        next(found().batches())
