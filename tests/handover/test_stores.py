"""Sessions of real stores through a switch: the engine, the handover and the drain, for every ordered pair of types."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from pytest_django import Settings

from sessionpersist import engine
from sessionpersist.engine import SessionStore
from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.handover import routing, snapshot
from sessionpersist.models import LoginConfiguration, Revision, StoredSession
from sessionpersist.session.sealing import stored_key
from sessionpersist.stores import build_store
from sessionpersist.stores.base import ENDED, PLACE, new_version, now_ms
from sessionpersist.stores.settings import TYPES
from tests.load import stores
from tests.servers import MongoDB, Valkey
from tests.sizes import long_unless

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("switches_at_once")]


def fields(kind: str) -> dict[str, Any]:
    match kind:
        case "REDIS":
            return stores.fields_on(Valkey)
        case "MONGODB":
            return stores.fields_on(MongoDB)
        case "JDBC":
            return {"persistence_type": "JDBC", "jdbc_database": "default"}
        case "IN_MEMORY":
            return {"persistence_type": "IN_MEMORY"}
    pytest.fail(f"Say here which fields choose {kind}.")


def switch_later(kind: str) -> None:
    configuration = LoginConfiguration.get_solo()
    for name, value in fields(kind).items():
        setattr(configuration, name, value)
    configuration.save()


def switch(kind: str) -> None:
    switch_later(kind)
    assert routing.current_settings().type == kind


def is_stored(kind: str, session: SessionStore) -> bool:
    store = build_store(LoginConfiguration(**fields(kind)).store_settings())
    try:
        record = store.get(stored_key(str(session.session_key)))
        return record is not None and not record.ended
    finally:
        store.close()


def new_session(**data: Any) -> SessionStore:
    session = SessionStore()
    session.update(data)
    session.save()
    return session


FIRST, *OTHERS = TYPES
# Each is once the old store and once the new one.
RING = list(zip(TYPES, [*OTHERS, FIRST], strict=True))


@pytest.mark.parametrize(
    ("old", "new"),
    [pytest.param(*pair, marks=long_unless(pair in RING)) for pair in itertools.permutations(TYPES, 2)],
)
class TestOneSwitch:
    def test_a_session_follows_its_user(self, old: str, new: str) -> None:
        switch(old)
        session = new_session(visits=1)
        switch(new)
        again = SessionStore(session.session_key)
        assert again["visits"] == 1
        again["visits"] = 2
        again.save()
        wait_for_the_guard()
        assert SessionStore(session.session_key)["visits"] == 2
        assert is_stored(new, session)
        assert not is_stored(old, session)

    def test_a_logout_holds_in_both(self, old: str, new: str, caplog: pytest.LogCaptureFixture) -> None:
        switch(old)
        session = new_session(visits=1)
        switch(new)
        SessionStore(session.session_key).flush()
        assert not is_stored(new, session)
        assert not is_stored(old, session)
        assert SessionStore(session.session_key).get("visits") is None
        assert not SessionStore().exists(str(session.session_key))
        assert "could not be opened" not in caplog.text  # the mark of a logout is no damaged session

    def test_the_drain_moves_what_nobody_asked_for(self, old: str, new: str) -> None:
        switch(old)
        sessions = [new_session(number=number) for number in range(30)]
        switch(new)
        call_command("drain_sessions")
        for number, session in enumerate(sessions):
            assert not is_stored(old, session)
            assert SessionStore(session.session_key)["number"] == number

    def test_switching_back_brings_everything_back(self, old: str, new: str) -> None:
        switch(old)
        stayed, moved, ended = (new_session(name=name) for name in ("stayed", "moved", "ended"))
        switch(new)
        wait_for_the_guard()
        again = SessionStore(moved.session_key)
        again["saved"] = "there"
        again.save()
        SessionStore(ended.session_key).flush()
        switch(old)
        wait_for_the_guard()
        assert SessionStore(stayed.session_key)["name"] == "stayed"
        assert SessionStore(moved.session_key)["saved"] == "there"
        assert SessionStore(ended.session_key).get("name") is None


@pytest.mark.parametrize("verb", ["create", "replace"])
def test_what_was_stamped_just_before_a_switch_is_not_taken_for_a_leftover(
    verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is chosen again between the stamp of a save and the save itself."""
    switch("IN_MEMORY")
    session = new_session(visits=1) if verb == "replace" else SessionStore()

    def switched_afterwards(revision: int) -> int:
        monkeypatch.undo()
        stamp = new_version(revision)
        switch("JDBC")
        wait_for_the_guard()
        return stamp

    monkeypatch.setattr(engine, "new_version", switched_afterwards)
    session["visits"] = 2
    session.save()
    assert SessionStore(session.session_key)["visits"] == 2
    assert is_stored("JDBC", session)


def test_the_mark_of_a_logout_outlives_what_may_still_lie_in_the_old_store(settings: Settings) -> None:
    switch("IN_MEMORY")
    session = new_session(visits=1)
    switch("JDBC")
    SessionStore(session.session_key).flush()
    mark = StoredSession.objects.exclude(stored_key=PLACE).get(version=ENDED)
    assert mark.expires_at > now_ms() + (settings.SESSION_COOKIE_AGE - 60) * 1000


def test_a_chain_of_switches_keeps_every_session() -> None:
    sessions = []
    for kind in [*TYPES, *TYPES]:
        switch(kind)
        sessions.append(new_session(kind=kind))
    wait_for_the_guard()
    for session, kind in zip(sessions, [*TYPES, *TYPES], strict=True):
        assert SessionStore(session.session_key)["kind"] == kind
        assert is_stored([*TYPES][-1], session)


def test_a_session_in_a_store_that_is_down_is_not_told_as_logged_out(monkeypatch: pytest.MonkeyPatch) -> None:
    switch("REDIS")
    session = new_session(visits=1)
    switch("JDBC")
    down(monkeypatch)
    with pytest.raises(StoreUnavailable):
        SessionStore(session.session_key).get("visits")
    assert new_session(name="new")["name"] == "new", "new logins work at once"
    SessionStore(session.session_key).delete()
    assert SessionStore(session.session_key).get("visits") is None, "a logout holds in any case"


def test_an_abandoned_store_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    switch("REDIS")
    session = new_session(visits=1)
    switch("JDBC")
    down(monkeypatch)
    with pytest.raises(CommandError, match="abandon"):
        call_command("drain_sessions")
    call_command("drain_sessions", abandon=True, interactive=False)
    assert SessionStore(session.session_key).get("visits") is None


def test_what_was_forgotten_in_an_abandoned_store_does_not_come_back() -> None:
    switch("REDIS")
    session = new_session(visits=1)
    switch("JDBC")
    call_command("drain_sessions", abandon=True, interactive=False)
    switch("REDIS")
    wait_for_the_guard()
    assert is_stored("REDIS", session)
    assert SessionStore(session.session_key).get("visits") is None


def test_a_view_that_is_rolled_back_loses_no_session() -> None:
    session = left_in_redis()
    with transaction.atomic():
        assert SessionStore(session.session_key)["visits"] == 1
        transaction.set_rollback(True)
    assert SessionStore(session.session_key)["visits"] == 1


@pytest.mark.parametrize("change", ["save", "cycle_key"])
def test_a_change_that_is_rolled_back_loses_no_session(change: str) -> None:
    """The store used before takes part in no transaction: what is deleted there does not come back."""
    session = left_in_redis()
    with transaction.atomic():
        changed = SessionStore(session.session_key)
        changed["visits"] = 2
        getattr(changed, change)()
        transaction.set_rollback(True)
    assert SessionStore(session.session_key)["visits"] == 1


def test_a_session_that_lives_longer_than_most_is_not_forgotten(settings: Settings) -> None:
    """As with “remember me”, which gives some sessions a life of their own."""
    settings.SESSION_COOKIE_AGE = 1
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "LONGEST_LIFE_SECONDS": 3600}
    switch("IN_MEMORY")
    session = SessionStore()
    session.set_expiry(600)
    session["visits"] = 1
    session.save()
    switch("JDBC")
    time.sleep(1.1)
    snapshot.expire()
    assert SessionStore(session.session_key)["visits"] == 1


def test_a_change_that_is_committed_is_the_one_that_counts() -> None:
    session = left_in_redis()
    with transaction.atomic():
        changed = SessionStore(session.session_key)
        changed["visits"] = 2
        changed.save()
    assert SessionStore(session.session_key)["visits"] == 2
    call_command("drain_sessions")
    assert SessionStore(session.session_key)["visits"] == 2
    assert not is_stored("REDIS", session)


def test_a_drain_before_the_switch_says_so(settings: Settings) -> None:
    settings.SESSIONPERSIST = {**settings.SESSIONPERSIST, "ACTIVATION_SECONDS": 60}
    switch_later("REDIS")
    with pytest.raises(CommandError, match="not happened yet"):
        call_command("drain_sessions")


def test_a_drain_ends_the_handover(capsys: pytest.CaptureFixture[str]) -> None:
    switch("REDIS")
    new_session(visits=1)
    switch("JDBC")
    call_command("drain_sessions")
    assert "none is left" in capsys.readouterr().out
    revision = Revision.objects.get(persistence_type="REDIS")
    assert revision.drained_how == "drained"


def test_without_a_handover_there_is_nothing_to_drain(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("drain_sessions")
    assert "nothing to move" in capsys.readouterr().out


def left_in_redis() -> SessionStore:
    """A session that has not moved yet, and may by now, as the site has switched from REDIS to JDBC."""
    switch("REDIS")
    session = new_session(visits=1)
    switch("JDBC")
    wait_for_the_guard()
    return session


def wait_for_the_guard() -> None:
    import time

    while (seconds := routing.current_view().undecided()) > 0:
        time.sleep(seconds)


def down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have REDIS fail from now on, as this process sees it."""
    from sessionpersist.stores.redis.store import RedisStore

    def fail(self: RedisStore, *arguments: Any, **named: Any) -> Any:
        raise StoreUnavailable("REDIS is down, by command.", "port")

    for verb in ("get", "create", "replace", "touch", "delete", "count", "scan"):
        monkeypatch.setattr(RedisStore, verb, fail)
