"""Nobody who reads a store, a log or an error learns a session key or what a session says."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bson.codec_options import CodecOptions, DatetimeConversion
from django.contrib.sessions.backends.base import VALID_KEY_CHARS, CreateError, UpdateError
from pytest_django import DjangoDbBlocker, Settings

from sessionpersist import conf
from sessionpersist.engine import KEY_LENGTH, SessionStore, new_key
from sessionpersist.exceptions import SessionTooLarge, StoreUnavailable
from sessionpersist.handover import routing
from sessionpersist.models import StoredSession
from sessionpersist.testing import override_login_configuration
from tests.engine.behaviour.lifecycle import damage
from tests.engine.support import (
    extra_database,
    key_of,
    new_session,
    postgres_values,
    server_fields,
    sqlite_values,
)
from tests.servers import MongoDB, Postgres, Valkey, shared

SECRET = "the-secret-content"


def scenario() -> list[SessionStore]:
    """Sessions small, large, changed and moved to another key, all with the secret in them."""
    small, large = new_session(note=SECRET), new_session(note=SECRET * 500)
    changed, cycled = new_session(other=1), new_session(note=SECRET)
    changed["note"] = SECRET
    changed.save()
    cycled.cycle_key()
    return [small, large, changed, cycled]


def assert_tells_nothing(dump: bytes, sessions: list[SessionStore]) -> None:
    assert len(dump) > 500  # the sessions are in it
    assert SECRET.encode() not in dump
    for session in sessions:
        key = key_of(session)
        assert key.encode() not in dump
        assert key.encode().hex().encode() not in dump


def files_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_files_of_the_in_memory_store_tell_nothing(in_memory: None) -> None:
    sessions = scenario()
    assert_tells_nothing(files_below(conf.memory_dir()), sessions)


def test_folder_and_file_of_the_in_memory_store_are_for_its_user_alone(in_memory: None) -> None:
    scenario()
    below = list(conf.memory_dir().rglob("*"))
    assert below
    assert all(path.stat().st_mode & 0o077 == 0 for path in below)


def test_sqlite_file_tells_nothing(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> None:
    folder = tmp_path / "jdbc"
    folder.mkdir()
    with jdbc(django_db_blocker, sqlite_values(folder / "sessions.sqlite3")):
        sessions = scenario()
        assert_tells_nothing(files_below(folder), sessions)


def test_postgresql_table_tells_nothing(django_db_blocker: DjangoDbBlocker) -> None:
    with jdbc(django_db_blocker, postgres_values()):
        sessions = scenario()
        with shared(Postgres).connect() as connection:
            rows = connection.execute(f"SELECT * FROM {StoredSession._meta.db_table}").fetchall()  # noqa: S608
    assert_tells_nothing(repr(rows).encode(), sessions)


def test_valkey_database_tells_nothing() -> None:
    with override_login_configuration(**server_fields(Valkey)):
        sessions = scenario()
    with shared(Valkey).connect() as client:
        dump = [(name, client.get(name)) for name in client.keys("*")]
    assert_tells_nothing(repr(dump).encode(), sessions)


def test_mongodb_collection_tells_nothing() -> None:
    with override_login_configuration(**server_fields(MongoDB)):
        sessions = scenario()
    server = shared(MongoDB)
    with server.connect() as client:
        # Other tests leave records that are no text, and times after the year 9999.
        options = CodecOptions[dict[str, Any]](
            unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_MS
        )
        database = client.get_database(server.database, options)
        dump = [list(database[name].find()) for name in database.list_collection_names()]
    assert_tells_nothing(repr(dump).encode(), sessions)


def test_logs_tell_nothing(in_memory: None, caplog: pytest.LogCaptureFixture, settings: Settings) -> None:
    with caplog.at_level(logging.DEBUG):
        sessions = scenario()
        damage(sessions[0], b"damaged")
        SessionStore(key_of(sessions[0])).load()
        settings.SESSION_SERIALIZER = "tests.engine.serializers.TalkativeSerializer"
        SessionStore(key_of(sessions[2])).load()
    assert [each.name for each in caplog.records] == [
        "sessionpersist.audit",
        *["django.security.SuspiciousSession"] * 2,
    ]
    assert SECRET not in caplog.text
    assert all(key_of(session) not in caplog.text for session in sessions)


@pytest.mark.parametrize("error", [CreateError, UpdateError, SessionTooLarge, StoreUnavailable])
def test_errors_tell_nothing(
    in_memory: None, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = new_session(note=SECRET)
    session["note"] = SECRET * 2
    with pytest.raises(error) as caught:
        provoke(error, session, monkeypatch)
    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told
    assert key_of(session) not in told


def provoke(error: type[Exception], session: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the session meet this error."""
    if error is CreateError:
        session.save(must_create=True)
    elif error is UpdateError:
        SessionStore(key_of(session)).delete()
    elif error is SessionTooLarge:
        monkeypatch.setattr("sessionpersist.stores.base.MAX_PAYLOAD_BYTES", 10)
    else:
        monkeypatch.setattr(routing, "current_store", lambda: Broken())
    session.save()


class Broken:
    """A store whose server is down."""

    def __getattr__(self, name: str) -> Any:
        raise StoreUnavailable("The server is down.")


def test_text_of_a_session_and_of_a_row_is_no_key(in_memory: None) -> None:
    session = new_session(note=SECRET)
    assert key_of(session) not in f"{session!r} {session}"
    row = StoredSession(stored_key="f" * 64, payload=b"sealed", user_id="42")
    assert "f" * 64 not in f"{row!r} {row}"


def test_rows_of_sessions_are_not_in_the_admin() -> None:
    from django.contrib import admin

    assert not admin.site.is_registered(StoredSession)


@contextmanager
def jdbc(blocker: DjangoDbBlocker, values: dict[str, Any]) -> Iterator[None]:
    """Sessions live in a database of their own for a while."""
    with (
        blocker.unblock(),
        extra_database("secrecy", **values) as alias,
        override_login_configuration(persistence_type="JDBC", jdbc_database=alias),
    ):
        yield


def test_keys_favour_no_character_at_any_place() -> None:
    keys = [new_key() for _ in range(20_000)]
    expected = len(keys) / len(VALID_KEY_CHARS)
    for place in range(KEY_LENGTH):
        counts = Counter(key[place] for key in keys)
        assert counts.keys() == set(VALID_KEY_CHARS)
        # Of 32 * 36 counts none is further off than 6 standard deviations: by chance, once in 400,000 runs.
        assert all(abs(count - expected) < 6 * expected**0.5 for count in counts.values())
    assert len(set(keys)) == len(keys)
