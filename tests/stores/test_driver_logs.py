"""What drivers write to the log where the root logger is at DEBUG: never a session, sealed or not."""

from __future__ import annotations

import base64
import logging
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

import pytest
from pytest_django import DjangoDbBlocker

from sessionpersist.stores.base import Probed
from sessionpersist.stores.database.store import DatabaseStore
from sessionpersist.stores.settings import DatabaseSettings
from tests.servers import Postgres, Valkey, require, shared
from tests.stores.contract import a_key, a_record
from tests.stores.databases import added_database
from tests.stores.places import mongo_store, redis_store

PAYLOAD = b"sealed \xff\xfe " * 5


def writings(secret: bytes) -> set[str]:
    """How a log could show these bytes, or the beginning of them."""
    text = repr(secret)[2:-1]
    return {text, text.replace("\\", "\\\\"), secret.hex(), base64.b64encode(secret[:18]).decode()}


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Probed:
    make: Callable[[], Probed] = request.param
    return make()


def valkey() -> Probed:
    return redis_store(Valkey)


def use(store: Probed) -> str:
    """Do everything that a request can ask for, and return the key."""
    key, record = a_key(), a_record(PAYLOAD)
    store.prepare()
    assert store.create(key, record)
    assert store.get(key) == record
    assert store.touch(key, record.expires_at + 1)
    store.replace(key, record._replace(version=record.version + 1), record.version)
    assert store.delete(key)
    return key


@pytest.mark.parametrize("store", [valkey, mongo_store], indirect=True)
def test_no_driver_writes_a_payload_or_a_key_where_the_root_logger_is_at_debug(
    store: Probed, caplog: pytest.LogCaptureFixture
) -> None:
    """PyMongo wrote seven lines a read, with the answer among them."""
    caplog.set_level(logging.DEBUG)
    with closing(store):
        key = use(store)
    seen = "\n".join(f"{record.name} {record.getMessage()}" for record in caplog.records)
    assert not [each for each in (*writings(PAYLOAD), *writings(bytes.fromhex(key)), key) if each in seen]
    assert "pymongo." not in seen


def test_nor_does_that_of_a_database(
    caplog: pytest.LogCaptureFixture, django_db_blocker: DjangoDbBlocker
) -> None:
    require(Postgres)
    caplog.set_level(logging.DEBUG)
    url = shared(Postgres).create_database("logged")
    settings = DatabaseSettings(database="logged")
    with (
        django_db_blocker.unblock(),
        added_database("logged", url),
        closing(DatabaseStore(settings, timeout=5)) as store,
    ):
        key = use(store)
    assert not [each for each in (*writings(PAYLOAD), key) if each in caplog.text]


def test_level_that_somebody_has_set_stays() -> None:
    """A project that wants to read what PyMongo does says so by name."""
    code = (
        "import logging; logging.getLogger('pymongo').setLevel('DEBUG'); "
        "import sessionpersist.stores.mongodb.client; print(logging.getLogger('pymongo').level)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == logging.DEBUG
